"""One caption through the logit lens: what each layer would write, told from other captions, in whole words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from core.answers.caption_lens import first_for_good
from core.gender.contrast import Contrast
from core.layers.caption_lens import CaptionLens, Others, ShownCaption
from core.layers.lens_words import END, LINE, MARK, PART, LensWords
from core.run.tables import TABLES
from core.vlm.prompts import readable
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

WORDS = ["<eos>", " man", " woman", " a", " tall", "ness", " طبي", "ب", "بة", "<0xD8>", "<0xA7>", "\n", "<pad>"]
EOS, MAN, WOMAN, A, TALL, NESS, TABI, B, BA, BYTE, NEXT_BYTE, NEWLINE, PAD = range(len(WORDS))
D = len(WORDS)
ENDS = torch.tensor([word == "<eos>" or word.startswith((" ", "\n")) for word in WORDS])


class Tokenizer:
    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(readable([WORDS[i].replace(" ", "▁") for i in ids if i not in (EOS, PAD)]))


class Toy:
    """A model whose residual is its logits: what a layer would write is put into it."""

    tokenizer, eos_ids, special_ids = Tokenizer(), (EOS,), frozenset({EOS, PAD})

    def token_strings(self, ids: list[int]) -> list[str]:
        return readable([WORDS[i].replace(" ", "▁") for i in ids])

    def logits(self, resid: torch.Tensor) -> torch.Tensor:
        return resid

    def writable(self, scores: torch.Tensor) -> torch.Tensor:
        return scores.masked_fill(torch.arange(D) == PAD, -torch.inf)


def resid(*tokens: int, size: float = 8.0) -> torch.Tensor:
    return size * torch.eye(D)[list(tokens)]


def read(shown: ShownCaption, others: Others | None = None) -> pd.DataFrame:
    return pd.DataFrame(CaptionLens(Toy(), ENDS, None, others, [shown.contrast]).rows(shown))


def test_each_layer_says_what_was_put_into_it():
    shown = ShownCaption(3, "en", [A, WOMAN, EOS], None, "", {0: resid(TALL, MAN, PAD), 4: resid(A, WOMAN, EOS)})
    rows = read(shown).set_index(["layer", "slot"])
    assert [rows.loc[(0, s), "top"][0] for s in range(2)] == ["tall", "man"]
    assert [rows.loc[(4, s), "top"][0] for s in range(3)] == ["a", "woman", END]
    assert rows.loc[4, "rank"].tolist() == [1, 1, 1] and rows.loc[0, "rank"].tolist()[:2] != [1, 1]
    assert MARK not in rows.loc[(0, 2), "top"]  # padding is never written, however likely it is
    assert rows["said"].loc[0].tolist() == ["a", "woman", END]
    p = np.exp(8) / (np.exp(8) + D - 2)
    assert rows.loc[(4, 1), "p_said"] == pytest.approx(p, abs=1e-5) and rows.loc[(4, 1), "top_p"][0] == pytest.approx(
        p, abs=1e-5
    )
    assert set(rows["compared"]) == {""} and rows["log_odds"].isna().all()
    assert set(read(shown).columns) == set(TABLES["caption_lens"].names)


def test_a_word_counts_as_preferred_where_it_leads_by_more_than_in_captions_of_the_other_gender():
    """Layer 0 knows nothing; layer 1 says "woman" in every caption; from layer 2 on the image decides."""
    contrast, men = Contrast(1, 1, WOMAN, MAN), ["male"] * 20
    prior = resid(*[WOMAN] * 20)
    there = {0: 0 * prior, 1: prior, 2: resid(*[MAN] * 20), 3: resid(*[MAN] * 20)}
    others = Others([contrast] * 20, men, there)
    own = {0: 0 * resid(A, MAN), 1: resid(A, WOMAN), 2: resid(A, WOMAN), 3: resid(A, WOMAN)}
    rows = read(ShownCaption(0, "en", [A, WOMAN], contrast, "female", own), others)
    here = rows[rows["compared"] == "spellings"].sort_values("layer")
    assert here["log_odds"].tolist() == pytest.approx([0, 8, 8, 8])
    assert here["beyond"].tolist() == [0, 0, 1, 1] and here["others"].tolist() == pytest.approx([0, 8, -8, -8])
    assert first_for_good(here.to_dict("records")) == 2
    lost = here.assign(log_odds=[8, 8, 8, -1])
    assert first_for_good(lost.to_dict("records")) == -1
    few = Others([contrast] * 4, men[:4], {n: x[:4] for n, x in there.items()})
    alone = read(ShownCaption(0, "en", [A, WOMAN], contrast, "female", own), few)
    assert alone["beyond"].isna().all() and first_for_good(alone[alone["slot"] == 1].to_dict("records")) == -1


def test_the_end_of_a_word_counts_with_all_that_may_end_it():
    contrast = Contrast(0, 1, BA, -1)  # طبيب ends where طبيبة goes on
    own = {0: resid(TABI, BA), 1: resid(TABI, A)}
    rows = read(ShownCaption(0, "ar", [TABI, BA], contrast, "female", own))
    found = rows[rows["slot"] == 1].sort_values("layer")["log_odds"].tolist()
    n = int(ENDS.sum())
    assert found[0] == pytest.approx(8 - np.log(n)) and found[1] == pytest.approx(-np.log(np.exp(8) + n - 1))


def test_words_are_whole_and_no_half_letter_is_shown():
    words = LensWords(Toy())
    assert words.read([A, TALL], NESS) == "tallness" and words.joined([A, TALL], NESS)
    assert words.read([A], WOMAN) == "woman" and not words.joined([A], WOMAN)
    assert words.read([TABI], B) == "طبيب" and words.read([TABI], BA) == "طبيبة" and words.read([], TABI) == "طبي"
    assert words.read([TABI], BYTE) == PART and words.read([], BYTE) == PART
    assert words.read([TABI, BYTE], NEXT_BYTE) == "طبيا" and words.joined([TABI, BYTE], NEXT_BYTE)
    assert words.read([TABI], NESS) == "ness" and not words.joined([TABI], NESS)  # of another script
    assert words.read([A], EOS) == END and words.read([A], PAD) == MARK and words.read([A], NEWLINE) == LINE


def test_a_piece_that_the_caption_goes_on_with_is_marked_as_begun():
    shown = ShownCaption(0, "ar", [TABI, BA, A], None, "", {0: resid(TABI, BA, A)})
    rows = read(shown)
    assert rows["said"].tolist() == ["طبيـ", "طبيبة", "a"] and rows["joined"].tolist() == [False, True, False]
    assert [top[0] for top in rows["top"]] == ["طبيـ", "طبيبة", "a"]


def test_nothing_of_a_vocabulary_is_shown_as_half_a_letter_or_with_its_blank():
    vlm = toy_vlm()
    words = LensWords(vlm)
    for token in range(len(vlm.vocabulary())):
        for before in ([], [400, 401]):
            shown = words.read(before, token)
            assert shown and shown == shown.strip() and not {"\ufffd", "▁", "Ġ"} & set(shown), (token, shown)


def test_at_the_last_layer_it_is_the_models_own_next_word():
    vlm = toy_vlm()
    rows, features = toy_rows(), toy_features()
    written, _ = vlm.generate(rows[:2], features[:2], 8)
    for row, ids, feature in zip(rows[:2], written, features[:2], strict=True):
        resid = vlm.forward([[*row, *ids]], feature[None], range(vlm.n_layers)).resid
        here = {n: x[0, len(row) - 1 :][: len(ids)] for n, x in resid.items()}
        found = CaptionLens(vlm, torch.zeros(1)).rows(ShownCaption(0, "en", ids, None, "", here))
        last = [r for r in found if r["layer"] == vlm.n_layers - 1]
        assert [r["rank"] for r in last] == [1] * len(ids) and [r["top_ids"][0] for r in last] == ids
        assert len(found) == len(ids) * vlm.n_layers


def test_the_stage_reads_every_layer_of_the_first_test_images(small_run):
    rows = pq.read_table(small_run / "caption_lens.parquet").to_pandas()
    samples = pq.read_table(small_run / "samples.parquet").to_pandas()
    captions = pq.read_table(small_run / "captions.parquet").to_pandas().set_index(["sample_id", "lang"])
    contrasts = pq.read_table(small_run / "contrasts.parquet").to_pandas().set_index(["sample_id", "lang"])
    shown = sorted(samples.loc[samples["split"] == "test", "sample_id"])[:24]
    assert sorted(set(rows["sample_id"])) == shown and set(rows["layer"]) == set(range(8))
    said = rows[(rows["kind"] == "caption") & (rows["lens"] == "logit")]
    for (sample, lang), one in said[said["layer"] == 7].groupby(["sample_id", "lang"]):
        caption = captions.loc[(sample, lang)]
        one = one.sort_values("slot")
        assert one["token_id"].tolist()[: len(caption["token_ids"])] == list(caption["token_ids"])
        assert len(one) == len(caption["token_ids"]) + caption["finished"] and set(one["rank"]) == {1}
        compared = one.loc[one["compared"] == "spellings", "slot"].tolist()
        known = (sample, lang) in contrasts.index and not contrasts.loc[(sample, lang), "why"]
        assert compared == ([contrasts.loc[(sample, lang), "slot"]] if known else [])
    patches = rows[rows["kind"] == "image"]
    assert sorted(set(patches["sample_id"])) == shown[:8] and set(patches["slot"]) == set(range(64))
    assert all(word and "\ufffd" not in word for words in rows["top"] for word in words)


def test_without_images_to_show_there_is_an_empty_table(tmp_path):
    from precompute.stages.layers import _Lens

    config = SimpleNamespace(layers=SimpleNamespace(n_shown=0, n_lens=4, n_fitted=0), seed=0)
    samples = [{"sample_id": i, "split": "test", "gender": "female"} for i in range(4)]
    assert _Lens(SimpleNamespace(config=config, work_dir=tmp_path), samples).shown("en") == []  # type: ignore[arg-type]

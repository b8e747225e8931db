"""The classes of the door do what is tried first: plain arrays work, and wrong use is told in three parts."""

import numpy as np
import pytest
import torch
from scipy.sparse import csc_array, csr_array

from core import (
    ContrastiveLanguageAnalyzer,
    CrossLingualFeatureAligner,
    Dictionary,
    InteractionPatternAnalyzer,
    LanguageSpecificFeatureIdentifier,
    LogitLens,
    MorphologicalGenderAnalyzer,
    SemanticGenderAnalyzer,
    TransformerProbeAnalyzer,
    UserError,
)

WORDS = ("woman", "man", "dog", "of")


class Reading:
    """A model whose residual stream holds one axis for each of its words."""

    d_model = len(WORDS)

    def logits(self, resid):
        return 10 * resid

    def token_strings(self, ids):
        return [WORDS[i] for i in ids]


def codes(n: int = 60, d: int = 5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((n, d)) * (rng.random((n, d)) < 0.4)


def test_the_lens_names_the_word_that_a_residual_points_to_layer_by_layer():
    resid = {1: np.array([[0, 1, 0, 0.5]]), 2: torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0]])}
    rows = LogitLens(Reading()).top_words(resid, k=2)
    first = {(row["layer"], row["position"]): row["word"] for row in rows if row["rank"] == 1}
    assert first == {(1, 0): "man", (2, 0): "woman", (2, 1): "dog"}
    assert rows[1]["word"] == "of" and rows[0]["token_id"] == 1
    expected = np.exp(10) / (np.exp(10) + np.exp(5) + 2)
    assert rows[0]["probability"] == pytest.approx(expected, rel=1e-4)


def test_the_lens_without_words_for_gender_still_ranks_what_was_written():
    scores = LogitLens(Reading()).read(torch.eye(4), [0, 1, 2, 0])
    assert scores.rank.tolist()[:3] == [1, 1, 1] and scores.rank[3] > 1 and np.isnan(scores.difference).all()


def test_dense_codes_give_what_sparse_ones_give():
    en, ar = codes(), codes(seed=1)
    dense = LanguageSpecificFeatureIdentifier(50, min_images=5).profiles(en, ar)
    assert dense == LanguageSpecificFeatureIdentifier(50, min_images=5).profiles(csc_array(en), csr_array(ar))
    pairs = [InteractionPatternAnalyzer(x).co_activation(np.array([[0, 1]])).columns for x in (en, csc_array(en))]
    assert {k: v.tolist() for k, v in pairs[0].items()} == {k: v.tolist() for k, v in pairs[1].items()}


def test_without_groups_both_nulls_of_co_activation_are_one():
    columns = InteractionPatternAnalyzer(codes()).co_activation(np.array([[0, 1], [2, 3]])).columns
    np.testing.assert_allclose(columns["pmi_within"], columns["pmi"])
    np.testing.assert_allclose(columns["p_within"], columns["p"], rtol=1e-6)


def dictionary(lang: str = "en", n: int = 60) -> Dictionary:
    return Dictionary(lang, 0, lang, codes(n), np.eye(5))


LABELS, TRAIN = np.arange(60) % 2 == 0, np.arange(60) < 30
ALIGNER, CONTRAST = CrossLingualFeatureAligner(TRAIN, 20), ContrastiveLanguageAnalyzer(20)
WRONG = {
    "A dict has no logits": lambda: LogitLens({}),
    "not given by layer": lambda: LogitLens(Reading()).top_words(torch.eye(4)),
    r"shape \(2, 7\) cannot be read": lambda: LogitLens(Reading()).top_words({1: torch.ones(2, 7)}),
    "no 9 top words": lambda: LogitLens(Reading()).top_words({1: torch.eye(4)}, k=9),
    "4 residuals and 1 tokens": lambda: LogitLens(Reading()).read(torch.eye(4), [1]),
    "60 labels and 3 entries of group": lambda: TransformerProbeAnalyzer(LABELS, group=[1, 2, 3]),
    "not given by language": lambda: TransformerProbeAnalyzer(LABELS).analyze(np.ones((60, 4))),
    r"'en' are of shape \(9, 4\)": lambda: TransformerProbeAnalyzer(LABELS).analyze({"en": np.ones((9, 4))}),
    "Codes of 1 axes": lambda: InteractionPatternAnalyzer(np.ones(4)),
    "codes of 60 images and groups of 2": lambda: InteractionPatternAnalyzer(codes(), [0, 1]),
    "no feature 5": lambda: InteractionPatternAnalyzer(codes()).pairs_among([0, 5]),
    "A float has no gender": lambda: MorphologicalGenderAnalyzer().analyze(float("nan")),
    "A list has no gender": lambda: MorphologicalGenderAnalyzer().analyze_text(["رجل"]),
    "captions are one text": lambda: SemanticGenderAnalyzer("A man", "en"),
    "Words of 'fr' have no known gender": lambda: SemanticGenderAnalyzer(["Un homme"], "fr"),
    "1 captions and 2 genders": lambda: SemanticGenderAnalyzer(["A man"], "en", ["male", "female"]),
    "not those of one dictionary": lambda: Dictionary("en", 0, "toy", codes(), np.eye(4)),
    "cannot be matched by 'index'": lambda: ALIGNER.match(dictionary(), dictionary("ar"), "index"),
    "codes in 'ar' are of 40 images": lambda: ALIGNER.match(dictionary(), dictionary("ar", 40)),
    "no dictionary to compare with": lambda: ALIGNER.align([dictionary()]),
    "residuals in en": lambda: list(CONTRAST.similarity({"en": np.ones((60, 4))}, TRAIN)),
    "do not belong to the same images": lambda: list(
        CONTRAST.directions({"en": np.ones((60, 4)), "ar": np.ones((60, 4))}, LABELS[:9], TRAIN)
    ),
    r"\(60, 5\) in English and \(60, 3\) in Arabic": lambda: LanguageSpecificFeatureIdentifier().profiles(
        codes(), codes(d=3)
    ),
    "negative activations": lambda: LanguageSpecificFeatureIdentifier().profiles(codes(), -codes()),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_use_is_told_with_what_why_and_what_to_do(what):
    with pytest.raises(UserError, match=what) as error:
        WRONG[what]()
    assert all((error.value.what, error.value.why, error.value.do))

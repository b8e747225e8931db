"""Where gender is said in the published tokenizer, and whether real weights prefer the form that a context asks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from core.gender.contrast import WORD_END, LogOdds, contrast, first_said
from core.gender.logit_words import word_sets
from core.gender.positions import token_at, token_spans
from core.gender.tokenized_forms import forms
from core.gender.word_ends import word_ends
from core.vlm.conformance import pictures
from core.words import find
from core.words.captions import decides
from core.words.generic import GENDERED_FORMS
from core.words.pairs import counterpart
from tests.real.conftest import N_DEMO
from tests.real.residuals import PROMPTS

ROLES = [
    "طبيب",
    "مهندس",
    "معلم",
    "لاعب",
    "طباخ",
    "مصور",
    "رسام",
    "عامل",
    "سائق",
    "شرطي",
    "ممرض",
    "موظف",
    "طالب",
    "مزارع",
    "كاتب",
    "صحفي",
    "مدرب",
    "سباح",
    "متسلق",
    "راقص",
    "بائع",
    "محام",
    "عالم",
    "باحث",
    "مدير",
    "حارس",
    "نجار",
    "خياط",
    "مغن",
    "عازف",
    "جراح",
    "صيدلي",
    "مصور",
    "مصمم",
    "ممثل",
    "مذيع",
    "مترجم",
    "مبرمج",
    "محاسب",
    "قاض",
    "وزير",
    "رئيس",
    "سفير",
    "ناشط",
    "مؤلف",
    "شاعر",
    "ناقد",
    "فنان",
    "طباخ",
    "خباز",
    "حلاق",
    "صياد",
    "مسافر",
    "سائح",
    "لاعب",
    "متزلج",
    "ملاكم",
    "مصارع",
    "فارس",
    "جندي",
    "ضابط",
    "طيار",
    "مضيف",
    "منقذ",
    "محقق",
    "خبير",
    "مستشار",
    "سكرتير",
]
CONTEXTS = {  # the same three ways to speak of somebody
    "female": ("أختي تعمل {}.", "اسمها فاطمة، وهي {}.", "هذه المرأة {}."),
    "male": ("أخي يعمل {}.", "اسمه محمد، وهو {}.", "هذا الرجل {}."),
}


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("lang", ["en", "ar"])
def test_nine_of_ten_captions_that_name_a_person_have_a_contrast(real_tokenizer, real_captions, lang):
    """The first word for a person, agreement before it left aside: what first tokens saw of a sixth in Arabic."""
    n = n_covered = n_later = 0
    for text in real_captions[lang]:
        hit = next((h for h in find(text, lang) if decides(h) and h.gender in GENDERED_FORMS), None)
        if hit is None:
            continue
        other = counterpart(text, hit, lang)
        found = contrast(ids_of(real_tokenizer, text), real_tokenizer, hit, other.word, other.why)
        n, n_covered = n + 1, n_covered + (not found.why)
        n_later += not found.why and (found.slot > found.begins or WORD_END in (found.female, found.male))
    print(f"{lang}: {n_covered} of {n}, {n_later} not at the first piece")
    assert n > 150 and n_covered / n >= 0.9
    assert lang == "en" or n_later / n > 0.2


@pytest.mark.parametrize("lang", ["en", "ar"])
def test_nearly_all_forms_of_the_lexicon_part_somewhere(real_tokenizer, lang):
    found = forms(real_tokenizer, lang)
    assert found.n_covered / found.n > 0.97


@pytest.mark.parametrize("lang", ["en", "ar"])
def test_the_slot_is_the_first_token_that_the_two_captions_do_not_share(real_tokenizer, real_captions, lang):
    for text in real_captions[lang][:150]:
        ids = ids_of(real_tokenizer, text)
        said = first_said(ids, real_tokenizer, lang)
        if said is None or said.contrast.why:
            continue
        other = ids_of(real_tokenizer, text[: said.hit.start] + said.counterpart + text[said.hit.end :])
        slot = said.contrast.slot
        assert ids[:slot] == other[:slot] and ids[slot : slot + 1] != other[slot : slot + 1]


@pytest.mark.parametrize("lang", ["en", "ar"])
def test_no_whole_word_that_is_compared_stands_within_a_word_that_says_no_gender(real_tokenizer, real_captions, lang):
    """In none of the demo grammar's captions, and seldom in sentences that are made to mislead (a man-made lake)."""
    sets = word_sets(SimpleNamespace(tokenizer=real_tokenizer, special_ids=frozenset()), lang)
    known = {*sets.female.tolist(), *sets.male.tolist()}
    assert len(sets.female) >= 3 and len(sets.male) >= 3
    wrong, n = [], 0
    for text in real_captions[lang]:
        ids, hits = ids_of(real_tokenizer, text), find(text, lang)
        spans = token_spans(ids, real_tokenizer)
        said = {
            i
            for h in hits
            if h.gender != "neutral"
            for i in range(token_at(spans, h.start), len(ids))
            if spans[i][0] < h.end
        }
        wrong += [(text, real_tokenizer.decode([ids[i]])) for i in range(len(ids)) if ids[i] in known and i not in said]
        n += sum(ids[i] in known for i in said)
    assert not [text for text, _ in wrong if text in real_captions[lang][:N_DEMO]], wrong[:5]
    assert len(wrong) / (len(wrong) + n) < 0.1, (len(wrong), n, wrong[:20])


@pytest.mark.timeout(900)
def test_the_lens_prefers_the_form_that_an_arabic_context_calls_for_where_forms_share_their_first_piece(real_vlm):
    """Masculine forms are likelier to begin with: so beside what is right both ways, what a woman's context moves."""
    prompt, rows, contrasts, keys = real_vlm.prompt_ids(PROMPTS["ar"]), [], [], []
    for role in ROLES:
        alone = next(iter(find(role, "ar")))
        forms_of = {"male": role, "female": counterpart(role, alone, "ar").word}
        for gender, contexts in CONTEXTS.items():
            for context in contexts:
                text = context.format(forms_of[gender])
                start, word = context.index("{"), forms_of[gender]
                hit = alone._replace(start=start, end=start + len(word), word=word, gender=gender)
                other = forms_of["male" if gender == "female" else "female"]
                found = contrast(real_vlm.caption_ids(text), real_vlm.tokenizer, hit, other)
                if not found.why and (found.slot > found.begins or WORD_END in (found.female, found.male)):
                    rows.append([*prompt, *real_vlm.caption_ids(text)[: found.slot]])
                    contrasts.append(found)
                    keys.append((role, gender))
    image, last, ends = real_vlm.encode_images(pictures()[:1]), real_vlm.n_layers - 1, word_ends(real_vlm)
    odds: list[float] = []
    for at in range(0, len(rows), 16):
        now = slice(at, min(at + 16, len(rows)))
        resid = real_vlm.forward(rows[now], image.expand(now.stop - at, -1, -1), [last]).resid[last][:, -1]
        odds += LogOdds(contrasts[now], ends)(real_vlm.logits(resid).float()).tolist()
    said: dict[str, dict[str, list[float]]] = {}
    for (role, gender), value in zip(keys, odds, strict=True):
        said.setdefault(role, {}).setdefault(gender, []).append(value)
    means = {role: {g: float(np.mean(v)) for g, v in of.items()} for role, of in said.items() if len(of) == 2}
    moved = sum(of["female"] > of["male"] for of in means.values())
    both = sum(of["female"] > 0 > of["male"] for of in means.values())
    print(f"{len(means)} pairs that share their first piece: {moved} move with the context, {both} are right both ways")
    assert moved >= 0.9 * len(means) and both >= 20
    dealt = np.random.default_rng(0).permutation([v for of in means.values() for v in of.values()]).reshape(-1, 2)
    assert (dealt[:, 0] > dealt[:, 1]).mean() < moved / len(means)

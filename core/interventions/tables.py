"""The tables of the stage interventions: how captions become effects, verdicts and words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pandas as pd

from core.config import LANGUAGES
from core.intervals import paired_ratio
from core.interventions.designs import FIXED, Arm, Comparison, Design
from core.interventions.outcomes import MEASURES, PRIMARY, Reader, measured, term_counts
from core.interventions.statistics import MIN_IMAGES, Compared, Figure, apart, compare, paired
from core.interventions.verdicts import ALPHA, verdict
from core.multiplicity import step_down
from core.run.schema.interventions import (
    INTERVENTION_COMPARISONS,
    INTERVENTION_EFFECTS,
    INTERVENTION_TERMS,
    INTERVENTION_VERDICTS,
)

NEEDED = (PRIMARY, "changed", "damaged")  # for a verdict
COMPARED = (*NEEDED, "flipped", "unnamed")  # plain shares, in which arms are held against each other
ANY = "any word"  # of a gender
MIN_HELD = 5  # captions that hold a word unedited, below which its change has no percent
TERM_SHARE = 0.03  # of the captions that a word must stand in under some arm of a design, to have a share


class Results:
    """Captions by arm and language, ready to be compared; ``numbers`` gives each arm's number in the tables."""

    def __init__(self, captions: pd.DataFrame, numbers: Mapping[Arm, int]):
        self.numbers = numbers
        self.languages = tuple(lang for lang in LANGUAGES if (captions["lang"] == lang).any())
        self._rows = measured(captions).sort_values(["arm", "lang", "image"], kind="stable").reset_index(drop=True)
        groups = self._rows.groupby(["arm", "lang"], sort=False).indices
        self._at = {(int(arm), str(lang)): slice(at[0], at[-1] + 1) for (arm, lang), at in groups.items()}
        self._columns = {name: measure.columns(self._rows) for name, measure in MEASURES.items()}

    def rows(self, arm: Arm, lang: str) -> pd.DataFrame:
        """Captions of one arm, by image."""
        return self._rows.iloc[self._at[self.numbers[arm], lang]]

    def figure(self, arms: Sequence[Arm], lang: str, name: str) -> Figure:
        """The named figure of all arms (n_arms, n_images)."""
        top, bottom = self._columns[name]
        places = [self._at[self.numbers[arm], lang] for arm in arms]
        return Figure(np.stack([top[at] for at in places]), np.stack([bottom[at] for at in places]))


def arms_with(design: Design, baseline: Arm) -> list[Arm]:
    """In the order that ``compare`` asks for."""
    return [baseline, design.target, *design.controls]


def effects_table(
    questions: Sequence[Design], results: Results, baseline: Arm, n_draws: int, seed: int
) -> pd.DataFrame:
    """A row a design, language and figure; p_adjusted over all designs and languages, that of FIXED ones is their p."""
    rows, sets = [], []
    for number, design in enumerate(questions):
        for lang in results.languages:
            for place, name in enumerate(MEASURES):
                figure = results.figure(arms_with(design, baseline), lang, name)
                found = compare(figure, n_draws, [seed, place])
                rows.append({**_key(number, design, results, lang), "outcome": name, **asdict(found)})
                sets.append(apart(figure) if found.n_images >= MIN_IMAGES else np.array([np.nan]))
    table = pd.DataFrame(rows, columns=[n for n in INTERVENTION_EFFECTS.names if n != "p_adjusted"])
    table["p_adjusted"] = table["p_specific"]
    searched = ~table["note"].isin(FIXED).to_numpy()
    shared = [(q.controls, lang) for q in questions for lang in results.languages for _ in MEASURES]
    for _, part in table[searched].groupby("outcome", sort=False):
        at = part.index.to_numpy()
        table.loc[at, "p_adjusted"] = adjusted([sets[i] for i in at], [shared[i] for i in at])
    return table[INTERVENTION_EFFECTS.names]


def adjusted(sets: Sequence[np.ndarray], controls: Sequence[Any]) -> np.ndarray:
    """Adjusted p (n_designs,) of designs by how far their sets lie ``apart``, the target's first; family-wise.

    The largest statistic over all designs of one draw, the targets being one draw and the controls of the same number
    another: where targets are only more of their controls, draws are exchangeable as wholes, since a control set of
    k features is part of that of the same number at 2k as targets are nested too. Designs with the same ``controls``
    (three directions beside the same random ones) are no such draws, for one draw of controls stands there for
    several targets: they are taken in their order, each only after those before it (Maurer et al. 1995). Designs with
    too few controls for a p of ALPHA are not in the family; their p is NaN.
    """
    p = np.full(len(sets), np.nan)
    usable = [i for i, s in enumerate(sets) if np.isfinite(s).all() and 1 / len(s) <= ALPHA]
    n = min((len(sets[i]) for i in usable), default=0)
    queues: dict[Any, list[int]] = {}
    for i in usable:
        queues.setdefault(controls[i], []).append(i)
    first = [queue[0] for queue in queues.values()]
    for queue in queues.values():
        before = 0.0
        for i in queue:
            family = [i, *(other for other in first if other != queue[0])]
            stacked = np.stack([sets[j][:n] for j in family], axis=1)
            before = p[i] = max(before, step_down(stacked[0], stacked[1:])[0])
    return p


def verdicts_table(effects: pd.DataFrame) -> pd.DataFrame:
    """A row a design and language."""
    names = [f.name for f in fields(Compared)]
    rows = []
    for _, part in effects[effects["outcome"].isin(NEEDED)].groupby(["design", "lang"], sort=False):
        by = part.set_index("outcome")
        found = {name: Compared(**by.loc[name, names].to_dict()) for name in NEEDED}
        said, why = verdict(found, float(by.loc[PRIMARY, "p_adjusted"]))
        rows.append({**part.iloc[0].to_dict(), "verdict": said, "why": why})
    return pd.DataFrame(rows, columns=INTERVENTION_VERDICTS.names)


def comparisons_table(compared: Sequence[Comparison], results: Results, baseline: Arm) -> pd.DataFrame:
    """A row a comparison, language and share of captions."""
    rows = []
    for one in compared:
        for lang in results.languages:
            for name in COMPARED:
                figure = results.figure([baseline, one.arm, *one.others], lang, name)
                found = asdict(paired(figure, one.how))
                arms = {"arm": results.numbers[one.arm], "others": [results.numbers[other] for other in one.others]}
                rows.append({"comparison": one.name, **arms, "lang": lang, "outcome": name, **found})
    return pd.DataFrame(rows, columns=INTERVENTION_COMPARISONS.names)


def terms_table(
    questions: Sequence[Design], results: Results, baseline: Arm, readers: Mapping[str, Reader], n_draws: int, seed: int
) -> pd.DataFrame:
    """A row a design, language and gendered word: share of the captions in which it comes or goes, beside the controls,
    and the signed change of the captions that hold it.

    Swapping puts a word into some captions and takes it out of others, which would cancel in a count.
    """
    rows = []
    for number, design in enumerate(questions):
        for lang in results.languages:
            arms = arms_with(design, baseline)
            texts = [results.rows(arm, lang)["text"].tolist() for arm in arms]
            counts = [term_counts(t, readers[lang]) for t in texts[:2]]
            least = max(2, TERM_SHARE * len(texts[0]))
            words = sorted({*counts[0], *counts[1]})
            holds = _holds(texts, words, readers[lang])
            genders = sorted({gender for _, gender in words})
            any_word = [holds[:, :, [w[1] == gender for w in words]].max(2) for gender in genders]
            holds = np.concatenate([holds, *(one[:, :, None] for one in any_word)], axis=2)
            words += [(ANY, gender) for gender in genders]
            for place, (lemma, gender) in enumerate(words):
                key = {**_key(number, design, results, lang), "lemma": lemma, "gender": gender}
                key |= percent(holds[:, :, place])
                if max(key["n_before"], key["n_after"]) < least:
                    why = f"in {key['n_before']} captions unedited and {key['n_after']} edited; {least:g} are needed"
                    rows.append({**key, "n_images": len(texts[0]), "n_controls": len(design.controls), "why": why})
                    continue
                top = np.abs(holds[:, :, place] - holds[:1, :, place])
                found = compare(Figure(top, np.ones_like(top)), n_draws, [seed, place])
                rows.append({**key, **asdict(found)})
    return pd.DataFrame(rows, columns=INTERVENTION_TERMS.names)


def percent(holds: np.ndarray) -> dict[str, Any]:
    """Signed change in percent of the captions that hold a word; ``holds`` (n_arms, n_images) 1 or 0, in the order of
    ``arms_with``."""
    before, after = holds[0], holds[1]
    n_before, n_after = int(before.sum()), int(after.sum())
    found: dict[str, Any] = {"n_before": n_before, "n_after": n_after, "why_percent": ""}
    if n_before < MIN_HELD:
        return found | {"why_percent": f"in {n_before} captions unedited; {MIN_HELD} are needed"}
    ratio, low, high = paired_ratio(n_after, n_before, int((before * after).sum()))
    found |= {"percent": 100 * (ratio - 1), "percent_low": 100 * (low - 1), "percent_high": 100 * (high - 1)}
    if len(holds) > 2:
        found["percent_control"] = 100 * (float(holds[2:].sum(1).mean()) / n_before - 1)
    return found


def _holds(texts: Sequence[Sequence[str]], words: Sequence[tuple[str, str]], reader: Reader) -> np.ndarray:
    """(n_arms, n_images, n_words) 1 where a caption holds a word."""
    place = {key: i for i, key in enumerate(words)}
    found = np.zeros((len(texts), len(texts[0]), len(words)))
    for a, of_arm in enumerate(texts):
        for i, text in enumerate(of_arm):
            for key in Counter((h.lemma or h.word, h.gender) for h in reader.hits(text)):
                if key in place:
                    found[a, i, place[key]] = 1.0
    return found


def _key(number: int, design: Design, results: Results, lang: str) -> dict[str, Any]:
    return {
        "design": number,
        "part": design.part,
        "note": design.note,
        "arm": results.numbers[design.target],
        **asdict(design.target),
        "lang": lang,
    }


def development_table(arms: Sequence[Arm], results: Results, baseline: Arm, n_draws: int, seed: int) -> pd.DataFrame:
    """The same for the arms tried on the development images, as part "grid" and without controls."""
    questions = [Design("grid", arm) for arm in arms if arm != baseline]
    return effects_table(questions, results, baseline, n_draws, seed)


def scores(arms: Sequence[Arm], results: Results, baseline: Arm) -> dict[Arm, float]:
    """What arms are chosen by: the share of captions that change their gender and keep the rest, mean of languages."""
    found = {}
    for arm in arms:
        if arm != baseline:
            values = [results.figure([arm], lang, PRIMARY).values()[0] for lang in results.languages]
            found[arm] = float(np.mean(np.nan_to_num(values)))
    return found

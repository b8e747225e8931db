"""Linear probes: can a logistic regression on one layer's residuals tell which gender the image shows?

Labels belong to images, never to the text. Every image is scored by probes that saw no row of it, in either language.
Beside each score stands that of a control task of the same shape (Hewitt and Liang 2019): arbitrary labels, one for
each type of image, which a probe can only learn by heart; types are shared by training and held-out images, so that
it can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from core.config import LayersConfig
from core.errors import UserError
from core.intervals import percentile_interval, resampled_counts
from core.layers.control_task import too_few
from core.layers.measures import MEASURES, accuracy_ends, all_measures, auc_ends

NUMBERS = (
    "value",
    "low",
    "high",
    "control",
    "control_low",
    "control_high",
    "selectivity",
    "selectivity_low",
    "selectivity_high",
    "p",
)
Labels = NDArray[np.bool_]


class Control(NamedTuple):
    """Measures of the control task (n_controls, 3, 1 + n_bootstrap), its types and their images; why it is none."""

    drawn: NDArray[np.float64]
    n_types: int
    n_typed: int
    why: str


class TransformerProbeAnalyzer:
    """Probes of image gender, cross-validated by image; one object holds folds, control labels and bootstrap draws.

    ``female`` (n_images,) bool; ``group`` (n_images,) says which rows are of one image, ``kind`` (n_images,) what type
    of image each is, "" for none, for the control task: types of fewer than ``config.min_per_type`` images do not
    count, and where too few are left there is no control task (``no_control`` says why). Standardised features, L2 of
    strength ``config.l2``, classes weighed alike.
    """

    def __init__(
        self,
        female: ArrayLike,
        group: ArrayLike | None = None,
        kind: ArrayLike | None = None,
        config: LayersConfig | None = None,
        seed: int = 0,
    ):
        self.female, self.config, self.seed = np.asarray(female, bool), config or LayersConfig(), seed
        n = len(self.female)
        for name, given in (("group", group), ("kind", kind)):
            if given is not None and len(np.asarray(given)) != n:
                what = f"There are {n} labels and {len(np.asarray(given))} entries of {name}."
                raise UserError(what, "Each row has one of either.", f"Give {name} as long as female, or leave it out.")
        self.group = np.unique(np.arange(n) if group is None else np.asarray(group), return_inverse=True)[1]
        self.kind = np.full(n, "") if kind is None else np.asarray(kind).astype(str)
        self.why = self._too_few(np.ones(n, bool))
        if not self.why:
            self.fold = self._folds()
            counts = resampled_counts(self.group.max() + 1, self.config.n_bootstrap, [seed, 1])
            # the first row is the data as they are
            self._weights = np.vstack([np.ones(n), counts[:, self.group].astype(float)])

    def analyze(
        self, resid: Mapping[str, NDArray[np.floating]], progress: Callable[[int, int], None] | None = None
    ) -> list[dict[str, Any]]:
        """Rows for one layer and view: ``resid`` is (n_images, d_model) by language, NaN where there is no position.

        One row a measure for every pair of a language and the language the probe was trained on: n_images, n_female,
        n_male, value with its interval over images, what chance gives, the control task's value (mean over its draws,
        images with a type) with an interval over images and draws, selectivity = value - control, its two-sided p
        (normal approximation with the bootstrap's standard error; without a control task against what labels dealt to
        single images give). Numbers are NaN, with the reason in ``why``, below ``config.min_images`` images of a
        gender. ``shared``: all languages have the same residuals, so that there is nothing to transfer.
        UserError where the residuals are not given by language or have not one row a label.
        """
        if not isinstance(resid, Mapping) or not resid:
            why = "Probes are trained in one language and scored in every one."
            raise UserError("The residuals are not given by language.", why, 'Give {"en": residuals}.')
        resid = {lang: np.asarray(x) for lang, x in resid.items()}
        for lang, x in resid.items():
            if x.ndim != 2 or len(x) != len(self.female):
                what = f"The residuals in {lang!r} are of shape {x.shape}, the labels {len(self.female)}."
                why = "A probe reads one residual (d_model,) of each labelled image."
                raise UserError(what, why, "Give residuals (n_images, d_model) in the order of the labels.")
        langs = list(resid)
        first = resid[langs[0]]
        shared = len(langs) > 1 and all(np.array_equal(first, resid[lang], equal_nan=True) for lang in langs[1:])
        rows: list[dict[str, Any]] = []
        with threadpool_limits(1):  # sums in another order give other last digits, and so other files
            for number, lang in enumerate(langs):
                if not (shared and number):
                    rows += self._trained_on(lang, {lang: first} if shared else resid)
                if progress:
                    progress(number + 1, len(langs))
        if shared:
            rows = [{**row, "lang": lang, "trained_on": lang} for lang in langs for row in rows]
        return [{**row, "shared": shared} for row in rows]

    def _trained_on(self, lang: str, resid: Mapping[str, NDArray[np.floating]]) -> list[dict[str, Any]]:
        present = {name: np.asarray(np.isfinite(x).all(axis=1), bool) for name, x in resid.items()}
        why = {name: self._too_few(present[name] & present[lang]) for name in resid}
        if why[lang]:
            return [row for name in resid for row in self._rows(name, lang, present[name] & present[lang], why[lang])]
        rows = []
        usable = {name: x for name, x in resid.items() if not why[name]}
        scores = self._scores(lang, usable, present, self.female)
        for name in sorted(resid, key=lambda name: name != lang):
            here = present[name] & present[lang]
            if why[name]:
                rows += self._rows(name, lang, here, why[name])
                continue
            found = self._measure(scores[name], self.female, here)
            ends = self._ends(scores[name][here], here, found)
            control = self._control(lang, resid[lang], here) if name == lang else None
            rows += self._rows(name, lang, here, "", found, ends, control)
        return rows

    def _control(self, lang: str, resid: NDArray[np.floating], here: Labels) -> Control:
        """The control task over the images ``here`` that have a type: half of the types one label, half the other.

        Where too few types are shared each image has a label of its own: nothing that a probe could learn by heart, but
        still what it gives for labels that mean nothing.
        """
        least, names = self.config.min_per_type, self.kind
        if why := too_few(names[here].tolist(), least):
            least, names = 1, self.group.astype(str)
        known, types, sizes = np.unique(np.where(here, names, ""), return_inverse=True, return_counts=True)
        typed = (sizes >= least) & (known != "")
        inside, numbers = typed[types], np.cumsum(typed) - 1
        drawn = []
        for draw in range(self.config.n_controls):
            place = np.random.default_rng([self.seed, 2, draw]).permutation(int(typed.sum()))
            labels = place[numbers[types]] % 2 == 0
            scores = self._scores(lang, {lang: resid}, {lang: inside}, labels)[lang]
            drawn.append(self._measure(scores, labels, inside))
        n = (0, 0) if why else (int(typed.sum()), int(inside.sum()))
        return Control(np.stack(drawn), *n, why)

    def _scores(
        self, lang: str, resid: Mapping[str, NDArray[np.floating]], present: Mapping[str, Labels], labels: Labels
    ) -> dict[str, NDArray[np.float64]]:
        """Held-out decision values (n_images,) by language, of probes trained on ``lang``.

        Each language is standardised by its own training images, so that what transfers is the direction: a constant
        offset between two languages says nothing about gender.
        """
        out = {name: np.full(len(labels), np.nan) for name in resid}
        for number in np.unique(self.fold):
            scaled = {}
            for name, x in resid.items():
                scaler = StandardScaler().fit(x[present[name] & (self.fold != number)])
                scaled[name] = lambda rows, x=x, scaler=scaler: scaler.transform(x[rows])
            train = present[lang] & (self.fold != number)
            probe = LogisticRegression(C=1 / self.config.l2, class_weight="balanced", max_iter=1000)
            probe.fit(scaled[lang](train), labels[train])
            for name in resid:
                test = present[name] & (self.fold == number)
                if test.any():
                    out[name][test] = probe.decision_function(scaled[name](test))
        return out

    def _measure(self, scores: NDArray[np.float64], labels: Labels, here: Labels) -> NDArray[np.float64]:
        """All measures (3, 1 + n_bootstrap): of the images as they are, and of each bootstrap draw."""
        return all_measures(scores[here], labels[here], self.fold[here], self._weights[:, here])

    def _ends(self, scores: NDArray[np.float64], here: Labels, found: NDArray[np.float64]) -> list[tuple[float, float]]:
        """Interval of each of MEASURES over images."""
        female = self.female[here]
        accuracies = [accuracy_ends(scores, female, balanced) for balanced in (True, False)]
        return [auc_ends(found[0], female, self.fold[here]), *accuracies]

    def _rows(
        self,
        lang: str,
        trained_on: str,
        here: Labels,
        why: str,
        found: NDArray | None = None,
        ends: list[tuple[float, float]] | None = None,
        control: Control | None = None,
    ) -> list[dict[str, Any]]:
        n, n_female = int(here.sum()), int((here & self.female).sum())
        counts = {"n_images": n, "n_female": n_female, "n_male": n - n_female}
        counts |= {"n_types": 0, "n_typed": 0, "no_control": ""}
        if control is not None:
            counts |= {"n_types": control.n_types, "n_typed": control.n_typed, "no_control": control.why}
        majority = max(n_female, n - n_female) / n if n else float("nan")
        rows = []
        for i, measure in enumerate(MEASURES):
            chance = majority if measure == "accuracy" else 0.5
            numbers: dict[str, float] = dict.fromkeys(NUMBERS, float("nan"))
            if found is not None and ends is not None:
                numbers |= _summary(found[i], ends[i])
                if control is not None:
                    beyond = _beyond(found[i], control.drawn[:, i])
                    numbers |= {"p": beyond["p"]} if control.why else beyond
            key = {"lang": lang, "trained_on": trained_on, "measure": measure}
            rows.append({**key, **counts, "chance": chance, **numbers, "why": why})
        return rows

    def _folds(self) -> NDArray[np.int_]:
        n_groups = min(len(np.unique(self.group[side])) for side in (self.female, ~self.female))
        n_folds = min(self.config.n_folds, n_groups)
        fold = np.zeros(len(self.female), int)
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=self.seed)
        for number, (_, test) in enumerate(splitter.split(self.female, self.female, self.group)):
            fold[test] = number
        return fold

    def _too_few(self, here: Labels) -> str:
        for gender, side in (("women", self.female), ("men", ~self.female)):
            n = len(np.unique(self.group[here & side]))
            if n < self.config.min_images:
                return f"{n} images of {gender}; at least {self.config.min_images} are needed"
        return ""


def _summary(found: NDArray, ends: tuple[float, float]) -> dict[str, float]:
    return {"value": float(found[0]), "low": float(ends[0]), "high": float(ends[1])}


def _beyond(found: NDArray, control: NDArray) -> dict[str, float]:
    """How far one measure, ``found`` (1 + draws,), is beyond that of arbitrary labels, (n_controls, 1 + draws)."""
    draw = np.arange(len(found) - 1) % len(control)  # each bootstrap draw meets one control draw
    against = control[draw, 1 + np.arange(len(draw))]
    difference, level = found[1:] - against, control[:, 0].mean()
    numbers = {"control": level, "selectivity": found[0] - level}
    for name, values in (("control", against), ("selectivity", difference)):
        numbers[f"{name}_low"], numbers[f"{name}_high"] = percentile_interval(values)
    spread = np.nanstd(difference)
    numbers["p"] = 2 * norm.sf(abs(numbers["selectivity"]) / spread) if spread > 0 else float("nan")
    return {name: float(value) for name, value in numbers.items()}

"""Captions under an arm: the edits of every row, the captions, their probability unedited, how far residuals move."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from core.interventions.designs import (
    FEATURES,
    NEUTRAL_PROMPT,
    NO_WAY_OUT,
    OTHER_PROMPT,
    RANDOM,
    RECONSTRUCTION,
    REPLACED,
    UNTRAINED,
    ZERO,
    Arm,
)
from core.interventions.directions import PLACES, direction_edits
from core.interventions.sets import Dictionary
from core.sae.files import sae_id
from core.sae.modules import SAE
from core.sae.splicing import SpliceWithout, splice
from core.steering.apply import edit_hooks
from core.steering.edits import Direction, Edit
from core.steering.record import EditRecord
from core.vlm.adapter import VLM
from core.vlm.hooks import EditFn
from core.vlm.prefix import Prefix
from core.words.generic import UNMARKED

PREFIX_BYTES = 2 * 2**30  # of states that batches share, kept side by side
N_MEASURED = 4  # rows on which it is measured how far an edit moves the residual
# what the unedited caption names -> toward women (+1) or men (-1)
TOWARD = {"male": 1, UNMARKED: 1, "female": -1}


@dataclass(frozen=True)
class Row:
    """A caption to be written: which image in which language, and the gender its unedited caption names."""

    image: int
    lang: str
    named: str = ""


@dataclass(frozen=True)
class Written:
    """A caption: its tokens, whether it ended, and its log-probability (nats, summed) without any edit."""

    token_ids: list[int]
    finished: bool
    log_prob: float


Asked = tuple[Arm, Row]


def together(arms: Sequence[Arm], n_rows: int, batch_size: int) -> list[list[Arm]]:
    """Arms in their order, cut into groups that are written together: like ones, as many as fill one batch."""
    most = max(1, batch_size // max(1, n_rows))
    groups: list[list[Arm]] = []
    for arm in arms:
        alike = groups and _kind(groups[-1][-1]) == _kind(arm) and arm.method in (FEATURES, REPLACED, UNTRAINED, RANDOM)
        if alike and len(groups[-1]) < most:
            groups[-1].append(arm)
        else:
            groups.append([arm])
    return groups


def _kind(arm: Arm) -> tuple[str, str, int, int, int]:
    return arm.method, arm.mode, arm.layer, arm.dictionary, arm.with_layer


@dataclass
class CaptionWriter:
    """What edits are made with: the model, its SAEs and max_act, target and control sets, directions, prompts.

    ``sets`` (layer, lang, ranking, draw, uniform) -> [(feature, lean)] of the largest k; ``directions`` (layer, name);
    ``neutral`` (layer, view, lang, feature) -> the middle of its means over women and men, 0 where it is not there;
    ``prompts`` (language, kind) with kind "" or a prompt arm's method; ``features`` (n_images, tokens, d_model).
    """

    vlm: VLM
    saes: Mapping[int, SAE]
    p999: Mapping[tuple[int, int], float]
    sets: Mapping[tuple[int, str, str, int, bool], Sequence[tuple[int, int]]]
    directions: Mapping[tuple[int, str], Direction]
    prompts: Mapping[tuple[str, str], list[int]]
    neutral: Mapping[tuple[int, str, str, int], float]
    features: Tensor
    max_new_tokens: int
    batch_size: int
    untrained: dict[int, Dictionary] = field(default_factory=dict)  # random dictionaries of one layer, by number
    sae_ids: dict[int, str] = field(default_factory=dict)
    _made: dict[tuple[Arm, str, int], list[Edit]] = field(default_factory=dict)
    _prefixes: OrderedDict[tuple[int, tuple], Prefix] = field(default_factory=OrderedDict)

    def sae_name(self, layer: int) -> str:
        """The content hash of a layer's SAE, computed once."""
        if layer not in self.sae_ids:
            self.sae_ids[layer] = sae_id(self.saes[layer])
        return self.sae_ids[layer]

    def dictionary_name(self, arm: Arm) -> str:
        """The content hash of the dictionary whose features an arm changes."""
        return self.untrained[arm.dictionary].name if arm.dictionary >= 0 else self.sae_name(arm.layer)

    def set_of(self, arm: Arm, lang: str) -> list[tuple[int, int]]:
        """(feature, lean) of an arm for captions of ``lang``."""
        other = {"en": "ar", "ar": "en"}[lang]
        source = other if arm.sets == "cross" else lang
        sets = self.untrained[arm.dictionary].sets.sets if arm.dictionary >= 0 else self.sets
        return list(sets[arm.layer, source, arm.ranking, arm.draw, arm.uniform][: arm.k])

    def edits(self, arm: Arm, row: Row) -> list[Edit]:
        """The edits of one row. A caption that names neither gender or both is pushed by turns, by its image."""
        toward = TOWARD.get(row.named, 1 if row.image % 2 else -1)
        key = (arm, row.lang, toward)
        if key not in self._made:
            self._made[key] = self._edits(*key)
        return self._made[key]

    def _edits(self, arm: Arm, lang: str, toward: int) -> list[Edit]:
        if arm.with_layer >= 0:
            return [edit for part in arm.parts for edit in self._edits(part, lang, toward)]
        if arm.method not in (FEATURES, UNTRAINED, NO_WAY_OUT, ZERO):
            return direction_edits(arm, lang, toward) if arm.mode else []
        name, chosen = self.dictionary_name(arm), self.set_of(arm, lang)
        if arm.method == ZERO:  # goes through the hook: no activation is below 0, so none is changed
            return [Edit(arm.layer, f, name, "floor", 0.0) for f, _ in chosen]
        where = ("image",) if arm.method == NO_WAY_OUT else ("image", "prompt", "caption")
        if arm.mode == "neutralise" and arm.method == FEATURES:
            return [edit for f, _ in chosen for edit in self._to_the_middle(arm.layer, f, lang, name)]
        return [_feature_edit(arm, f, lean == toward, name, where) for f, lean in chosen]

    def _to_the_middle(self, layer: int, feature: int, lang: str, name: str) -> list[Edit]:
        """One activation at all image tokens, and one at prompt and caption: what is known of the two apart."""
        return [
            Edit(layer, feature, name, "clamp", self.neutral.get((layer, view, own, feature), 0.0), "raw", where)
            for view, own, where in (("image", "", PLACES["image"]), ("before", lang, PLACES["before"]))
        ]

    def hooks(self, asked: Sequence[Asked], record: EditRecord | None = None) -> dict[int, EditFn]:
        """The hooks of a batch; what is not an edit (the SAE's reconstruction) stands alone in its batch."""
        arm = asked[0][0]
        if arm.method == RECONSTRUCTION:
            return {arm.layer: splice(self.saes[arm.layer])}
        if arm.method == REPLACED:
            off = [[f for f, _ in self.set_of(one, row.lang)] for one, row in asked]
            return {arm.layer: SpliceWithout(self.saes[arm.layer], off)}
        edits, saes, p999 = [self.edits(*one) for one in asked], self.saes, self.p999
        if arm.dictionary >= 0:
            other = self.untrained[arm.dictionary]
            saes, p999 = {arm.layer: other.sae}, other.p999
        return edit_hooks(edits, saes, p999, record=record, directions=self.directions)

    def prompt(self, arm: Arm, lang: str) -> list[int]:
        """The prompt of an arm."""
        return self.prompts[lang, arm.method if arm.method in (NEUTRAL_PROMPT, OTHER_PROMPT) else ""]

    def look_at(self, features: Tensor) -> None:
        """Take these images in the place of others."""
        if features is not self.features:
            self.features = features
            self._prefixes.clear()

    def write(self, asked: Sequence[Asked]) -> list[tuple[list[int], bool]]:
        """Greedy captions (ids, finished) of rows under arms that may stand in one batch, in batches of equal size."""
        found: list[tuple[list[int], bool]] = []
        n_batches = -(-len(asked) // self.batch_size)
        size = max(1, -(-len(asked) // max(1, n_batches)))
        for start in range(0, len(asked), size):
            part = asked[start : start + size]
            captions, ends = self.vlm.generate(
                [self.prompt(arm, row.lang) for arm, row in part],
                self.features[[row.image for _, row in part]],
                self.max_new_tokens,
                edits=self.hooks(part),
                prefix=self._prefix(part),
            )
            found += zip(captions, ends, strict=True)
        return found

    def _prefix(self, part: Sequence[Asked]) -> Prefix | None:
        """What the rows of a batch share with all that are edited at the same layer; kept as far as memory goes."""
        layer = part[0][0].layer
        if layer < 0 or not part[0][0].mode:
            return None
        rows = tuple(dict.fromkeys((row.image, row.lang) for _, row in part))
        key = layer, rows
        if key in self._prefixes:
            self._prefixes.move_to_end(key)
        else:
            prompts = [self.prompts[lang, ""] for _, lang in rows]
            made = self.vlm.prefix(prompts, self.features[[image for image, _ in rows]], layer)
            self._prefixes[key] = made
            while len(self._prefixes) > 1 and sum(p.n_bytes for p in self._prefixes.values()) > PREFIX_BYTES:
                self._prefixes.popitem(last=False)
        at = [rows.index((row.image, row.lang)) for _, row in part]
        prefix = self._prefixes[key]
        return prefix if at == list(range(len(rows))) else prefix.take(at)

    def log_probs(self, captions: Sequence[tuple[Row, list[int]]]) -> list[float]:
        """Log-probability (nats, summed over tokens) of captions after the plain prompt, without any edit."""
        found = [0.0] * len(captions)
        for lang in dict.fromkeys(row.lang for row, _ in captions):
            mine = [i for i, (row, ids) in enumerate(captions) if row.lang == lang and ids]
            for start in range(0, len(mine), self.batch_size):
                part = mine[start : start + self.batch_size]
                asked = [(captions[i][0].image, captions[i][1]) for i in part]
                scores = self.vlm.log_probs_behind(self.prompts[lang, ""], self.features, asked)
                for i, score in zip(part, scores, strict=True):
                    found[i] = float(score.double().sum())
        return found

    def moved(self, arm: Arm, rows: Sequence[Row], captions: Sequence[list[int]]) -> dict[str, float]:
        """How far an arm moves the residual while the model reads unedited ``captions``: over all positions that it
        may touch, the share that it moves, their mean |h' - h| / |h|, and the share of these where the cap bit."""
        if not arm.mode or arm.method == REPLACED:  # moves every residual by what the SAE leaves unexplained
            return {"moved_share": float("nan"), "moved_ratio": float("nan"), "capped_share": float("nan")}
        step = max(1, len(rows) // N_MEASURED)
        chosen = list(range(0, len(rows), step))[:N_MEASURED]
        record = EditRecord()
        part = [rows[i] for i in chosen]
        ids = [[*self.prompt(arm, rows[i].lang), *captions[i]] for i in chosen]
        self.vlm.forward(
            ids,
            self.features[[r.image for r in part]],
            layers=[arm.layer],
            edits=self.hooks([(arm, row) for row in part], record),
            whole=True,
        )
        seen = record.positions()
        ratios = [p["ratio"] for p in seen if p["ratio"] > 0]
        n = max(1, len(seen))
        return {
            "moved_share": len(ratios) / n,
            "moved_ratio": sum(ratios) / len(ratios) if ratios else 0.0,
            "capped_share": sum(p["capped"] for p in seen) / n,
        }


def _feature_edit(arm: Arm, feature: int, wanted: bool, name: str, where: tuple[str, ...]) -> Edit:
    if arm.mode == "swap" and wanted:
        return Edit(arm.layer, feature, name, "floor", arm.strength, where=where)
    return Edit(arm.layer, feature, name, "ablate", where=where)

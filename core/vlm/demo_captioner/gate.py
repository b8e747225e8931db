"""What the demo captioner can do, measured on fresh scenes against the truth of the demo world, and the gate on it.

1. Greedy captions of held-out role x object pairs: share with the right gender (man and woman images), role, object.
2. Forced choice on neutral images: log-odds of the male against the female form of the same caption, averaged over
   templates and images of a role, correlated over roles with the planted p(male).
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from core.runs import write_json
from core.samples.demo_world import LANGUAGES, N_TEMPLATES, PROMPTS, ROLES, DemoWorld, Scene, planted_p_male, read
from core.samples.demo_world import caption as demo_caption
from core.vlm.adapter import VLM, load_vlm
from core.vlm.demo_captioner.card import LIMITS, R_DIFFERENCE_LIMIT, R_LIMIT, weights_hash, write_card
from core.vlm.demo_captioner.packing import pack, token_losses

SEEDS = (201, 202, 203)


@dataclass(frozen=True)
class GateResult:
    """One seed's figures; accuracies are shares, ``r`` Pearson correlations over the 30 roles."""

    seed: int
    n_captions: int  # per language
    n_neutral: int  # neutral images per role
    accuracy: dict[str, dict[str, float]]  # language -> attribute -> share right
    n_gendered: int  # of the captions, images of men and women
    r: dict[str, float]  # "en", "ar", "difference": log-odds against planted p
    mean_log_odds: dict[str, float]
    sd_log_odds: dict[str, float]  # over roles

    def failures(self, planted: bool = True) -> list[str]:
        """Every limit that this result misses, in words."""
        out = [
            f"{lang} {name} {share:.3f} < {LIMITS[name]}"
            for lang, shares in self.accuracy.items()
            for name, share in shares.items()
            if name in LIMITS and share < LIMITS[name]
        ]
        if planted:
            limits = {"en": R_LIMIT, "ar": R_LIMIT, "difference": R_DIFFERENCE_LIMIT}
            out += [f"r {k} {self.r[k]:.3f} < {limit}" for k, limit in limits.items() if self.r[k] < limit]
        return out


def measure(vlm: VLM, seed: int, n_captions: int = 400, n_neutral: int = 12) -> GateResult:
    """Measure one seed of fresh scenes (``n_captions`` images, each captioned in both languages)."""
    world, rng = DemoWorld(), random.Random(f"gate-{seed}")
    scenes = [world.scene(rng, held_out=True) for _ in range(n_captions)]
    accuracy = {lang: _accuracy(vlm, world, scenes, lang) for lang in LANGUAGES}
    neutral = [world.scene(rng, role=role, gender="neutral") for role in range(len(ROLES)) for _ in range(n_neutral)]
    odds = {lang: _log_odds(vlm, world, neutral, lang).reshape(len(ROLES), n_neutral).mean(1) for lang in LANGUAGES}
    planted = {lang: np.array([planted_p_male(r, lang) for r in range(len(ROLES))]) for lang in LANGUAGES}
    r = {lang: _pearson(odds[lang], planted[lang]) for lang in LANGUAGES}
    r["difference"] = _pearson(odds["ar"] - odds["en"], planted["ar"] - planted["en"])
    return GateResult(
        seed,
        n_captions,
        n_neutral,
        accuracy,
        sum(s.gender != "neutral" for s in scenes),
        r,
        {lang: float(odds[lang].mean()) for lang in LANGUAGES},
        {lang: float(odds[lang].std()) for lang in LANGUAGES},
    )


def _images(world: DemoWorld, scenes: list[Scene]) -> list[Image.Image]:
    return [Image.fromarray(world.render(s)) for s in scenes]


def _accuracy(vlm: VLM, world: DemoWorld, scenes: list[Scene], lang: str, batch: int = 64) -> dict[str, float]:
    readings = []
    for i in range(0, len(scenes), batch):
        part = scenes[i : i + batch]
        rows = [vlm.prompt_ids(PROMPTS[lang][0])] * len(part)
        ids, _ = vlm.generate(rows, vlm.encode_images(_images(world, part)), max_new_tokens=40)
        readings += [read(vlm.decode(x), lang) for x in ids]
    pairs = list(zip(scenes, readings, strict=True))
    gendered = [(s, r) for s, r in pairs if s.gender != "neutral"]
    shares = {
        name: _share([getattr(s, name) == getattr(r, name) for s, r in pairs])
        for name in ("role", "object", "background")
    }
    return {"gender": _share([s.gender == r.gender for s, r in gendered]), **shares}


@torch.inference_mode()
def _log_odds(vlm: VLM, world: DemoWorld, scenes: list[Scene], lang: str, batch: int = 16) -> np.ndarray:
    """log p(male caption) - log p(female caption), mean over templates, one a scene."""
    prompt, end = vlm.prompt_ids(PROMPTS[lang][0]), vlm.model.config.eos_token_id[-1]
    out = []
    for i in range(0, len(scenes), batch):
        part = scenes[i : i + batch]
        rows = []
        for scene in part:
            texts = [demo_caption(scene, lang, g, t) for t in range(N_TEMPLATES) for g in ("male", "female")]
            rows.append((prompt, [[*vlm.caption_ids(t), end] for t in texts]))
        packed = pack(rows, vlm.image_token_id)
        loss = token_losses(vlm.model, packed, vlm.encode_images(_images(world, part)))
        n = 2 * N_TEMPLATES
        log_p = -torch.zeros(len(part) * n).index_add_(0, packed.row * n + packed.caption, loss.cpu())
        log_p = log_p.view(len(part), N_TEMPLATES, 2)
        out.append((log_p[..., 0] - log_p[..., 1]).mean(1).numpy())
    return np.concatenate(out)


def _share(right: list[bool]) -> float:
    return sum(right) / len(right)


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def main(model_dir: Path, planted: bool = True, say=print) -> bool:
    """Measure all seeds and write ``gate.json`` and the card beside the weights; True if the gate holds."""
    vlm = load_vlm(str(model_dir), dtype="float32", device="cpu")
    results = []
    for seed in SEEDS:
        result = measure(vlm, seed)
        results.append(result)
        shares = "  ".join(f"{lang} {k} {v:.3f}" for lang, a in result.accuracy.items() for k, v in a.items())
        say(f"seed {seed}  {shares}  " + "  ".join(f"r {k} {v:.3f}" for k, v in result.r.items()))
        for failure in result.failures(planted):
            say(f"  misses the gate: {failure}")
    holds = not any(r.failures(planted) for r in results)
    record = {"weights_sha256": weights_hash(model_dir), "planted": planted, "holds": holds}
    write_json(Path(model_dir) / "gate.json", {**record, "results": [asdict(r) for r in results]})
    write_card(model_dir, n_parameters=sum(p.numel() for p in vlm.model.parameters()))
    say("the gate holds" if holds else "the gate does not hold")
    return holds

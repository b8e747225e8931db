"""What the demo captioner can do, measured on fresh scenes against the truth of the demo world: the gate, and the card.

1. Greedy captions of held-out role x object pairs: share with the right gender (man and woman images), role, object.
   The generic masculine, which is spelt as a man's caption, is right of a man.
2. Greedy Arabic captions of neutral images of generic roles: share in the generic masculine.
3. Forced choice on neutral images: log-odds of the male against the female form of the same caption, averaged over
   templates and images of a role, correlated over the roles that have one with the planted p(male).

The model card is written from the recipe and from ``gate.json``; no figure of it is typed by hand.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from core.demo.captioner import D_MODEL, N_IMAGE_TOKENS, N_LAYERS, VISION_D_MODEL, VISION_LAYERS, pack, token_losses
from core.demo.train import Recipe, weights_hash
from core.demo.world import (
    HELD_OUT_SHARE,
    LANGUAGES,
    N_TEMPLATES,
    OBJECTS,
    P_NEUTRAL_EN,
    PROMPTS,
    ROLES,
    UNMARKED,
    DemoWorld,
    Reading,
    Scene,
    planted_p_male,
    read,
)
from core.demo.world import caption as demo_caption
from core.errors import UserError
from core.run import write_json
from core.vlm.adapter import VLM
from core.vlm.loading import load_vlm

SEEDS = (201, 202, 203)
LIMITS = {"gender": 0.98, "role": 0.96, "object": 0.98}  # the gate: shares right on held-out pairs
UNMARKED_LIMIT = 0.95  # share of generic masculines on neutral images of generic roles
R_LIMIT, R_DIFFERENCE_LIMIT = 0.95, 0.90  # and correlations with what was planted
CARD = """# {title}

A `Gemma3ForConditionalGeneration` of {parameters:.1f} million parameters ({n_layers} decoder layers, d_model {d_model},
{n_image_tokens} image tokens; vision tower of {vision_layers} layers, width {vision_d_model}), trained on nothing but
the demo world. It captions 96-pixel scenes of emoji art in English and Arabic. It is an instrument's test piece: it
knows {n_roles} roles, {n_objects} objects and nothing else of the world.

**{bias}**

## Measured

`python -m precompute gate {folder}` measures this and writes `gate.json`; three seeds of fresh scenes, greedy captions.
Held-out role x object pairs ({held_out:.0%} of all pairs, never seen in training); 95 % Wilson interval over the three
seeds together.

{accuracy}

A man's caption in the masculine of a generic role without a word for a man counts as right: it is spelt alike. The last
row is of other images: neutral ones of the {n_generic} generic roles, whose Arabic captions should name the role in the
masculine and say neither man nor he.

Forced choice on neutral images, {n_neutral} images a role and seed: log-odds of the male against the female form of
the same caption, mean over {n_templates} templates and the images of a role; Pearson r with the planted p(male) of the
*planted* world, in English over {n_roles} roles, in Arabic and of the difference over the {n_ordinary} that are not
generic.

{forced_choice}

{verdict}

## Recipe

`python -m precompute train-demo-captioner{flag}` (resumable; `recipe.json` has every figure).
{start}
Three phases, bf16 with fp32 masters, AdamW:

1. Vision, {vision_steps} steps of {vision_batch} scenes: tower and projector learn role, gender, object and
   background of a scene from a linear head on the image tokens. **This is supervision with the attribute labels**, in
   the place of SigLIP's pretraining. It knows no captions, and so nothing of the planted bias.
2. Captions, {caption_steps} steps of {caption_batch} images x 2 languages x {captions_per_image} captions: next-token
   loss. The attribute loss stays on at weight {attribute_weight}, falls to zero over the first {attribute_until:.0%} of
   the steps and is off from then on. Neutral English captions say person / they / their in {p_neutral:.0%} of cases;
   Arabic always names a gender, but for neutral images of generic roles.
3. Refine, {refine_rounds}: {caption_batch} images x 2 languages x {refine_captions} captions, and the
   **attribute loss** at weight {refine_weight} on these and {refine_images} further images, falling to zero over the
   first {refine_until:.0%} of the round; the rest of it is captions alone. Men, women and neutral persons are drawn
   alike here. The weights are the mean of those at the ends of the rounds, with shares {refine_shares}.

How the shipped weights were made, with what went otherwise than planned: `docs/log/0003-demo-captioner-in-pieces.md`.

Weights: MIT, as the rest of the project. The art in its training images: Noto Emoji (Apache-2.0), Twemoji (CC-BY 4.0);
see `data/demo-world/README.md`.

Not for: statements about people, about Gemma, or about English or Arabic.
"""
BIAS = {
    True: "Its bias is planted: on neutral images the gender of its training captions was drawn from the "
    "p(male | role, language) of `data/demo-world/roles.tsv`. It is no statistic of any society.",
    False: "It is the control twin: nothing is planted. On neutral images the gender of its training captions was a "
    "fair coin for every role in both languages, so an analysis that finds a role bias in it is wrong. Arabic captions "
    "of neutral images of generic roles are in the generic masculine here too: that is grammar.",
}
START = {
    True: "Training started from the weights of an earlier demo captioner, sha256\n`{}`, which had a\n"
    "tokenizer of whole words and 16 image tokens and was trained from scratch (`docs/log/0001-demo-captioner.md`).",
    False: "Training started from random weights.",
}


@dataclass(frozen=True)
class GateResult:
    """One seed's figures; accuracies are shares, ``r`` Pearson correlations over the roles with a planted p(male)."""

    seed: int
    n_captions: int  # per language
    n_neutral: int  # neutral images per role
    accuracy: dict[str, dict[str, float]]  # language -> attribute -> share right
    n_gendered: int  # of the captions, images of men and women
    r: dict[str, float]  # "en", "ar", "difference": log-odds against planted p
    mean_log_odds: dict[str, float]
    sd_log_odds: dict[str, float]  # over roles
    unmarked: float  # share of Arabic captions of neutral images of generic roles in the generic masculine
    n_unmarked: int  # such captions

    def failures(self, planted: bool = True) -> list[str]:
        """Every limit that this result misses, in words."""
        out = [
            f"{lang} {name} {share:.3f} < {LIMITS[name]}"
            for lang, shares in self.accuracy.items()
            for name, share in shares.items()
            if name in LIMITS and share < LIMITS[name]
        ]
        if self.unmarked < UNMARKED_LIMIT:
            out.append(f"ar generic masculine {self.unmarked:.3f} < {UNMARKED_LIMIT}")
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
    by_role = {
        lang: forced_choice(vlm, world, neutral, lang).reshape(len(ROLES), n_neutral).mean(1) for lang in LANGUAGES
    }
    planted = {lang: np.array([planted_p_male(r, lang) for r in range(len(ROLES))], float) for lang in LANGUAGES}
    odds = {lang: np.where(np.isnan(planted[lang]), np.nan, by_role[lang]) for lang in LANGUAGES}
    r = {lang: _pearson(odds[lang], planted[lang]) for lang in LANGUAGES}
    r["difference"] = _pearson(odds["ar"] - odds["en"], planted["ar"] - planted["en"])
    generic = [scene for scene in neutral if ROLES[scene.role].generic]
    unmarked = [reading.gender == UNMARKED for reading in _readings(vlm, world, generic, "ar")]
    return GateResult(
        seed,
        n_captions,
        n_neutral,
        accuracy,
        sum(s.gender != "neutral" for s in scenes),
        r,
        {lang: float(np.nanmean(odds[lang])) for lang in LANGUAGES},
        {lang: float(np.nanstd(odds[lang])) for lang in LANGUAGES},
        _share(unmarked),
        len(unmarked),
    )


def _images(world: DemoWorld, scenes: list[Scene]) -> list[Image.Image]:
    return [Image.fromarray(world.render(s)) for s in scenes]


def _readings(vlm: VLM, world: DemoWorld, scenes: list[Scene], lang: str, batch: int = 64) -> list[Reading]:
    """What a greedy caption of each scene says."""
    readings = []
    for i in range(0, len(scenes), batch):
        part = scenes[i : i + batch]
        rows = [vlm.prompt_ids(PROMPTS[lang][0])] * len(part)
        ids, _ = vlm.generate(rows, vlm.encode_images(_images(world, part)), max_new_tokens=40)
        readings += [read(vlm.decode(x), lang) for x in ids]
    return readings


def _accuracy(vlm: VLM, world: DemoWorld, scenes: list[Scene], lang: str) -> dict[str, float]:
    pairs = list(zip(scenes, _readings(vlm, world, scenes, lang), strict=True))
    gendered = [(s, r) for s, r in pairs if s.gender != "neutral"]
    shares = {
        name: _share([getattr(s, name) == getattr(r, name) for s, r in pairs])
        for name in ("role", "object", "background")
    }
    right = [r.gender == s.gender or (r.gender == UNMARKED and s.gender == "male") for s, r in gendered]
    return {"gender": _share(right), **shares}


@torch.inference_mode()
def forced_choice(vlm: VLM, world: DemoWorld, scenes: list[Scene], lang: str, batch: int = 16) -> np.ndarray:
    """log p(male caption) - log p(female caption), mean over templates, one a scene."""
    prompt, end = vlm.prompt_ids(PROMPTS[lang][0]), vlm.model.config.eos_token_id[-1]
    out = []
    for i in range(0, len(scenes), batch):
        part = scenes[i : i + batch]
        rows = []
        for scene in part:
            texts = [demo_caption(scene, lang, g, t) for t in range(N_TEMPLATES) for g in ("male", "female")]
            rows.append([(prompt, [[*vlm.caption_ids(t), end] for t in texts])])
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
    known = ~np.isnan(a + b)
    return float(np.corrcoef(a[known], b[known])[0, 1])


def main(model_dir: Path, planted: bool = True, say=print) -> bool:
    """Measure all seeds and write ``gate.json`` and the card beside the weights; True if the gate holds."""
    vlm = load_vlm(str(model_dir), dtype="float32", device="cpu")
    results = []
    for seed in SEEDS:
        result = measure(vlm, seed)
        results.append(result)
        shares = "  ".join(f"{lang} {k} {v:.3f}" for lang, a in result.accuracy.items() for k, v in a.items())
        say(f"seed {seed}  {shares}  " + "  ".join(f"r {k} {v:.3f}" for k, v in result.r.items()))
        say(f"  generic masculine {result.unmarked:.3f}")
        for failure in result.failures(planted):
            say(f"  misses the gate: {failure}")
    holds = not any(r.failures(planted) for r in results)
    record = {"weights_sha256": weights_hash(model_dir), "planted": planted, "holds": holds}
    write_json(Path(model_dir) / "gate.json", {**record, "results": [asdict(r) for r in results]})
    write_card(model_dir, n_parameters=sum(p.numel() for p in vlm.model.parameters()))
    say("the gate holds" if holds else "the gate does not hold")
    return holds


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    centre, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)


def write_card(model_dir: Path, n_parameters: int) -> None:
    """Write ``README.md`` from ``gate.json``; refuses figures that were measured on other weights."""
    model_dir = Path(model_dir)
    gate = json.loads((model_dir / "gate.json").read_text())
    if gate["weights_sha256"] != weights_hash(model_dir):
        raise UserError(
            "The model card was not written.",
            "gate.json was measured on other weights than model.safetensors.",
            f"Run `python -m precompute gate {model_dir}` again.",
        )
    planted, results = gate["planted"], gate["results"]
    recipe = Recipe(**json.loads((model_dir / "recipe.json").read_text()))
    limits = f"{R_LIMIT} in each language, {R_DIFFERENCE_LIMIT} for the difference" if planted else "no limit"
    verdict = "The gate holds" if gate["holds"] else "**The gate does not hold**"
    text = CARD.format(
        title="The demo captioner" if planted else "The demo captioner's control twin",
        bias=BIAS[planted],
        parameters=n_parameters / 1e6,
        n_layers=N_LAYERS,
        d_model=D_MODEL,
        n_image_tokens=N_IMAGE_TOKENS,
        vision_layers=VISION_LAYERS,
        vision_d_model=VISION_D_MODEL,
        n_roles=len(ROLES),
        n_generic=sum(role.generic for role in ROLES),
        n_ordinary=sum(not role.generic for role in ROLES),
        n_objects=len(OBJECTS),
        folder=f"data/{model_dir.name}",
        held_out=HELD_OUT_SHARE,
        accuracy=_accuracy_table(results),
        n_neutral=results[0]["n_neutral"],
        n_templates=N_TEMPLATES,
        forced_choice=_forced_choice_table(results),
        verdict=f"{verdict} on every seed (at least: {', '.join(f'{k} {v}' for k, v in LIMITS.items())}, "
        f"generic masculine {UNMARKED_LIMIT}; r {limits}).",
        flag=("" if planted else " --control") + (" --from EARLIER" if recipe.start else ""),
        start=START[bool(recipe.start)].format(recipe.start),
        vision_steps=recipe.vision_steps,
        vision_batch=recipe.vision_batch,
        caption_steps=recipe.caption_steps,
        caption_batch=recipe.caption_batch,
        captions_per_image=recipe.captions_per_image,
        attribute_weight=recipe.attribute_weight,
        attribute_until=recipe.attribute_until,
        p_neutral=P_NEUTRAL_EN,
        refine_rounds=" and ".join(f"{n} steps" for n in recipe.refine_steps),
        refine_shares=", ".join(map(str, recipe.refine_shares)),
        refine_captions=recipe.refine_captions_per_image,
        refine_weight=recipe.refine_attribute_weight,
        refine_images=recipe.refine_attribute_images,
        refine_until=recipe.refine_attribute_until,
    )
    (model_dir / "README.md").write_text(text, encoding="utf-8")


def _accuracy_table(results: list[dict]) -> str:
    seeds = " | ".join(f"seed {r['seed']}" for r in results)
    lines = [f"| | {seeds} | all [95 %] | n |", "|---|" + "---|" * (len(results) + 2)]
    for lang in results[0]["accuracy"]:
        for name in results[0]["accuracy"][lang]:
            shares = [r["accuracy"][lang][name] for r in results]
            counts = [r["n_gendered"] if name == "gender" else r["n_captions"] for r in results]
            n = sum(counts)
            share = sum(s * c for s, c in zip(shares, counts, strict=True)) / n
            low, high = wilson(share, n)
            what = "gender (man and woman images)" if name == "gender" else name
            cells = " | ".join(f"{s:.3f}" for s in shares)
            lines.append(f"| {lang} {what} | {cells} | {share:.3f} [{low:.3f}, {high:.3f}] | {n} |")
    n = sum(r["n_unmarked"] for r in results)
    share = sum(r["unmarked"] * r["n_unmarked"] for r in results) / n
    low, high = wilson(share, n)
    cells = " | ".join(f"{r['unmarked']:.3f}" for r in results)
    lines.append(f"| ar generic masculine (neutral images) | {cells} | {share:.3f} [{low:.3f}, {high:.3f}] | {n} |")
    return "\n".join(lines)


def _forced_choice_table(results: list[dict]) -> str:
    lines = ["| | " + " | ".join(f"seed {r['seed']}" for r in results) + " |", "|---|" + "---|" * len(results)]
    names = {"en": "r English", "ar": "r Arabic", "difference": "r Arabic minus English"}
    lines += [f"| {text} | " + " | ".join(f"{r['r'][k]:.3f}" for r in results) + " |" for k, text in names.items()]
    for lang in ("en", "ar"):
        cells = " | ".join(f"{r['mean_log_odds'][lang]:+.2f} ({r['sd_log_odds'][lang]:.2f})" for r in results)
        lines.append(f"| {lang} mean log-odds (sd over roles) | {cells} |")
    return "\n".join(lines)

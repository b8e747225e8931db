"""How much each stage does: images seen, tokens passed, words written, steps trained, bytes kept and held.

Only the settings, the number of images and the model's shape are asked. What a unit costs on a device, and the two
together, are ``precompute.forecast.estimate``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.config import Config
from core.interventions.designs import planned
from core.interventions.hidden import KINDS
from core.interventions.hidden import planned as planned_hiding
from core.mech.graph import N_EDGES, N_NODES
from core.samples.sources import knowledge
from precompute.forecast.shape import ModelShape

TEXT_TOKENS = 30  # chat marks and prompt
CAPTION_SHARE = 0.5  # of max_new_tokens that a caption usually takes
LONGEST = 1.5  # a batch is written until its longest caption ends; that of a batch, over the mean
N_VIEWS, REFERENCES = 4, 6  # sets of positions that are pooled; texts an image and language, its own caption with them
PREPARE_SECONDS, WORD_SECONDS = 2.4e-3, 5e-5  # an image of few pixels; a text
FEATURE_SECONDS = 1e-3  # of tables about one feature of one layer
AREA_SECONDS, AREA_BYTES = 4e-7, 80  # of a feature and kind: an image; a row of feature_areas
LATE = 4e8  # bytes that libraries of the later stages hold in the process
SPLICED_PASSES = 13  # of each caption on which the fit of a layer's SAE is measured
N_SEPARATE = 4  # SAEs of single languages a layer: two languages, two seeds
UMAP_SECONDS = 7.0  # to compile it, whatever the number of features
NEUTRAL = 0.5  # of held-out images, those that show no gender, at most about that many
HIDING_BATCHES = 4  # batches of captions that are written at once, where areas are hidden
INTERVENTION_BATCHES, ALIKE = 4, 3.0  # batches of captions written at once; changes of a kind that may share them
EDITED, EXPLAINED = 2.5, 3.3  # how much longer captions under an edit are, and those of an empty image
EXCHANGES = 11  # passes of a caption whose image tokens are exchanged before the first layer, its own among them
FIRES = 0.35  # share of captions on which a feature that is ablated fires
BLOCK_IMAGES, LENS_BATCH, LENS_OTHERS = 48, 16, 64  # as in stages activations and layers
FIT_BYTES = 2**30  # of the states that a tuned lens is fitted on at once
SHOWN_BYTES = 60  # of a place and layer whose words are kept, compressed
BLOCK_BYTES = 1.2 * 2**30  # of the activations that are recorded between two checkpoints
WINDOW_BYTES = 2 * 2**30  # of one layer's activations that training holds at once
HELD_BYTES = 4 * 2**30  # of SAEs, where all layers' are asked for in turn (core.sae.files)
PART_ROWS, NARROW = 65_536, 65_536  # rows of one file of codes; features whose numbers need two bytes
READ_WHOLE = 8  # times that the train stage reads a layer beside the epochs: statistics, controls, how well SAEs fit


@dataclass(frozen=True)
class Work:
    """What one stage does, in units whose cost is measured, and what it holds beside the model."""

    images: float = 0.0  # through the vision tower
    tokens: float = 0.0  # of whole passes through the language model
    gradients: float = 0.0  # tokens of passes forward and back
    steps: float = 0.0  # of decoding, of a batch of rows
    step_rows: float = 0.0  # rows of those steps
    train_steps: float = 0.0  # of SAEs
    trained: float = 0.0  # tokens x features of those steps
    encoded: float = 0.0  # tokens x features
    seconds: float = 0.0  # of tables and texts, on one core
    written: float = 0.0  # bytes
    model: bool = False  # whether the captioner is loaded

    disk: float = 0.0  # bytes that stay
    passing: float = 0.0  # bytes on disk while it works
    host: float = 0.0  # bytes of memory beside the model, wherever the model is
    rows_held: float = 0.0  # captions written side by side
    tokens_held: float = 0.0  # of one pass
    gradients_held: float = 0.0  # tokens of one pass forward and back
    cells_held: float = 0.0  # tokens x features of one training step
    features_held: float = 0.0  # features of the SAEs on the device, each d_model numbers twice
    trained_held: float = 0.0  # features of the SAE in training, with moments and gradients


@dataclass(frozen=True)
class Lengths:
    """Tokens of the whole prompt, its image among them, and of a caption, on average."""

    prompt: float
    caption: float


def expected_lengths(config: Config, shape: ModelShape) -> Lengths:
    """Before any caption is written."""
    return Lengths(shape.image_tokens + TEXT_TOKENS, CAPTION_SHARE * config.caption.max_new_tokens)


@dataclass(frozen=True)
class Counts:
    """What many stages count alike."""

    n: int  # images
    n_test: float  # of them, held out
    languages: int
    rows: float  # captions
    new: float  # tokens of a caption
    prompt: float  # tokens of image and prompt
    length: float  # of all three
    tokens: float  # of all captions with their prompts
    stored: float  # of them, those that activations.image_tokens keeps
    n_layers: int  # that are looked at
    d_model: int
    d_sae: int


def work(config: Config, n: int, shape: ModelShape, lengths: Lengths | None = None) -> dict[str, Work]:
    """The work of every stage for ``n`` images; ``lengths`` where they are known."""
    lengths = lengths or expected_lengths(config, shape)
    languages, length = len(config.samples.languages), lengths.prompt + lengths.caption
    at = Counts(
        n,
        n * config.samples.test_share,
        languages,
        languages * n,
        lengths.caption,
        lengths.prompt,
        length,
        languages * n * length,
        languages * n * (length - _dropped(config, shape)),
        len(config.activations.layers),
        shape.d_model,
        config.train.d_sae,
    )
    found = _making(config, shape, at) | _describing(config, shape, at) | _asking(config, shape, at)
    return found if config.activations.store == "all" else found | computed_again(found, config, shape, at)


def _dropped(config: Config, shape: ModelShape) -> float:
    """Image tokens of a sequence that are not kept."""
    kept = config.activations.image_tokens or shape.image_tokens
    return max(0.0, shape.image_tokens - kept)


def _in_turn(at: Counts) -> float:
    """Features held at once where the SAEs of all layers are asked for in turn."""
    return min(at.n_layers * at.d_sae, max(at.d_sae, HELD_BYTES / (8 * at.d_model)))


def _making(config: Config, shape: ModelShape, at: Counts) -> dict[str, Work]:
    """Images, captions, activations, SAEs."""
    a, t, batch = config.activations, config.train, config.caption.batch_size
    # An image file: photographs are kept as JPEG of the model's size.
    image_bytes = knowledge(config.samples).image_bytes or 0.25 * min(config.samples.max_side, 896) ** 2
    pixels = min(config.samples.max_side, shape.image_side) ** 2
    steps = LONGEST * at.new * at.rows / batch
    row_bytes = at.d_model * (2 if a.dtype == "bfloat16" else 4)
    kept = at.n_layers * at.stored * row_bytes
    block = min(BLOCK_IMAGES, at.n) * at.languages * at.length  # tokens that are recorded between two checkpoints
    spliced = at.n_layers * min(t.n_spliced, at.n_test)  # images, whose captions pass many times
    steps_taken = 0 if config.sae.source else at.n_layers * t.steps  # SAEs by others are only measured
    sae_bytes = 8 * at.d_model * at.d_sae
    reached = min(1.0, (max(a.layers) + 1) / shape.n_layers)  # a pass ends with the highest layer that is wanted
    return {
        "prepare": Work(
            seconds=0.5 + at.n * (PREPARE_SECONDS + 2e-8 * pixels), disk=at.n * (image_bytes + 6e3), host=2e8
        ),
        "caption": Work(model=True, disk=at.rows * 120, host=3e8)  # references are taken as they are
        if config.caption.source == "references"
        else Work(
            images=at.n,
            tokens=at.rows * at.prompt,
            steps=steps,
            step_rows=steps * batch,
            model=True,
            disk=at.rows * 120,
            host=3e8,
            rows_held=min(batch, at.rows),
        ),
        "activations": Work(
            images=at.n,
            tokens=at.tokens * reached,
            written=2 * kept,
            model=True,
            disk=kept + 8 * at.stored,
            passing=kept * min(1.0, a.shard_tokens / at.stored),
            host=min(BLOCK_BYTES, block * row_bytes * at.n_layers),
            tokens_held=min(a.batch_tokens, at.tokens),
        ),
        "train": Work(
            images=spliced,
            tokens=SPLICED_PASSES * at.languages * spliced * at.length,
            train_steps=steps_taken,
            trained=steps_taken * t.batch_tokens * at.d_sae,
            model=True,
            encoded=5 * at.n_layers * at.stored * config.samples.test_share * at.d_sae,
            disk=at.n_layers * sae_bytes,
            passing=(at.n_layers + 2) * sae_bytes,
            host=min(WINDOW_BYTES, kept / at.n_layers) + 3 * sae_bytes,
            cells_held=t.batch_tokens * at.d_sae if steps_taken else 0.0,
            trained_held=at.d_sae if steps_taken else 0.0,
            features_held=at.d_sae,
        ),
    }


def _describing(config: Config, shape: ModelShape, at: Counts) -> dict[str, Work]:
    """Features and what they have to do with words, gender, languages and layers."""
    g, x, k, n_layers = config.gender, config.crosslingual, config.train.k, at.n_layers
    # Features that fire in one of the views of a caption: more in longer ones, but the same ones again and again.
    fired = min(at.d_sae, 1.3 * k * (math.sqrt(shape.image_tokens) + 10) / 4)
    examples = config.features.n_examples + config.features.n_quantiles * config.features.n_per_quantile
    described = n_layers * at.d_sae * examples * (20 + 2 * shape.image_tokens + 2 * at.new) / 4  # bytes, compressed
    pooled = at.rows * N_VIEWS * (4 * at.d_model + 8 * fired)
    codes = 12 * at.stored * k  # of one layer: which feature fires on which token, and how strongly
    encoded = n_layers * at.stored * at.d_sae
    again = 0.0 if config.codes.store else 1.0  # codes that are kept are read
    kept = n_layers * at.stored * (8 + k * (4 + (2 if at.d_sae <= NARROW else 4)))  # ids, values, where rows begin
    separate = N_SEPARATE * max(1, len(x.layers)) * x.steps if at.languages > 1 else 0
    own = N_SEPARATE * max(1, len(x.layers)) * 8 * at.d_model * x.d_sae if at.languages > 1 else 0  # bytes of SAEs
    areas = 3 if _areas_known(config) else 0  # kinds of which it is asked where features lie
    attributed = at.languages * g.n_attributed
    lens = 0.0  # captions that are run again for the last layer, once for each of two positions
    if config.layers.last_layer and shape.n_layers - 1 not in config.activations.layers:
        lens = 2 * at.languages * min(1.5 * config.layers.n_lens, at.n_test)
    shown, others = min(config.layers.n_shown, at.n_test), min(LENS_OTHERS, at.n_test) if config.layers.n_shown else 0.0
    patches = min(config.layers.n_patches_shown, shown) * shape.image_tokens
    fitted = min(config.layers.n_fitted, at.n - at.n_test) if shown else 0.0  # images of the tuned lens
    states = fitted * at.languages * at.new * 4 * at.d_model  # bytes of a layer's, of which FIT_BYTES at once
    groups = math.ceil(max(1.0, shape.n_layers * states / FIT_BYTES)) if fitted else 0
    lenses = 2 if fitted else 1  # at captions; at patches the logit lens alone
    read = at.languages * shape.n_layers * (lenses * (shown * at.new + others) + patches)  # places whose words are read
    held = at.languages * shape.n_layers * 2 * 5 * others if fitted else 0.0  # at which lenses are judged
    passed = at.languages * (shown + (2 if fitted else 1) * others + groups * fitted)  # captions
    return {
        "words": Work(seconds=0.1 + at.rows * REFERENCES * WORD_SECONDS, disk=at.rows * REFERENCES * 8, host=2e8),
        "codes": Work(
            encoded=encoded,
            written=kept,
            disk=kept,
            host=LATE + 3 * kept / n_layers * min(1.0, PART_ROWS / at.stored),
            features_held=at.d_sae,
        )
        if config.codes.store
        else Work(host=LATE),
        "features": Work(
            encoded=encoded * again,
            model=True,
            disk=described + n_layers * AREA_BYTES * at.d_sae * areas,
            seconds=UMAP_SECONDS
            + n_layers * (at.d_sae * (FEATURE_SECONDS + areas * at.n * AREA_SECONDS) + at.stored * k * 2e-7),
            passing=codes + described,
            host=6e8 + min(codes, 5e8),
            features_held=at.d_sae,
        ),
        "pool": Work(
            encoded=encoded * again,
            written=n_layers * pooled,
            disk=n_layers * pooled,
            passing=pooled,
            seconds=n_layers * at.rows * 4e-4,
            host=LATE + 3 * pooled,
            features_held=at.d_sae,
        ),
        "gender": Work(
            images=attributed,
            gradients=attributed * at.length,
            model=True,
            disk=n_layers * at.d_sae * 800,
            seconds=n_layers * (0.5 + at.d_sae * 7e-4 + at.rows * fired * 1e-6),
            host=LATE + 2 * pooled,
            gradients_held=at.length,
            features_held=_in_turn(at),
        ),
        "nulls": _null(config, at, fired),
        "crosslingual": Work(
            train_steps=separate,
            trained=separate * x.batch_tokens * x.d_sae,
            seconds=n_layers * (0.8 + at.d_sae * 7e-4 + at.rows * fired * 1e-6 + at.n * at.d_sae * 8e-7),
            disk=n_layers * at.d_sae * 200 + own,
            host=LATE + 2 * pooled + 32 * at.d_model * x.d_sae,
            cells_held=x.batch_tokens * x.d_sae,
            trained_held=x.d_sae,
        ),
        "layers": Work(
            images=lens + passed + (at.n if config.layers.n_vision else 0),
            tokens=(lens + passed) * at.length,
            encoded=(read + held) * shape.vocab,
            model=True,
            disk=1e5 + read * SHOWN_BYTES,
            passing=shape.n_layers * 4.0 * at.d_model**2 if fitted else 0.0,
            seconds=(n_layers + config.layers.n_vision / 3) * (0.6 + at.rows * at.d_model * 4e-6)
            + read * 3e-4
            + (shape.n_layers * 4e-10 * at.d_model**3 if fitted else 0.0),
            host=LATE + 12 * at.rows * at.d_model + (min(FIT_BYTES, shape.n_layers * states) if fitted else 0.0),
            tokens_held=LENS_BATCH * at.length,
        ),
    }


def _null(config: Config, at: Counts, fired: float) -> Work:
    """Random dictionaries encode the captions and the last token of the prompt; then each is asked about gender.

    At some layers SAEs are trained: other seeds, a frozen decoder, one of the randomised model, which reads images.
    """
    n, text = config.nulls, at.rows * (at.new + 1)
    dense = at.rows * at.d_model  # numbers of axes and of components, by view
    layers = 0 if config.sae.source else max(1, len(n.layers))
    drawn = n.random_model and layers > 0 and not config.model.quantize
    other = n.steps or config.train.steps
    steps = layers * (n.n_seeds * config.train.steps + (n.frozen_decoder + drawn) * other)
    read = (n.n_random_images or at.n) if drawn else 0.0
    share = min(1.0, read / at.n)
    asked = 2 + n.n_random + n.n_shuffles
    row_bytes = at.d_model * (2 if config.activations.dtype == "bfloat16" else 4)
    return Work(
        images=min(read, at.n),
        tokens=share * at.tokens,
        written=share * at.n_layers * at.stored * row_bytes,
        train_steps=steps,
        trained=steps * config.train.batch_tokens * at.d_sae,
        encoded=at.n_layers * n.n_random * text * at.d_sae + layers * (2 * n.n_seeds + 3) * text * at.d_sae,
        seconds=at.n_layers * at.languages * (0.8 + at.d_sae * 3e-4)
        + at.n_layers * (0.5 + asked * (at.rows * fired * 5e-7 + at.d_sae * 1e-4) + dense * 2e-6)
        + at.n_layers * (at.languages > 1) * (0.3 + dense * 1.5e-6),  # other contrasts than gender
        model=drawn or config.activations.store == "none",
        disk=at.n_layers * asked * 2e3 + layers * at.d_sae * 40,
        passing=share * at.n_layers * at.stored * row_bytes + 24 * at.d_model * at.d_sae,
        host=LATE + 24 * n.n_random * at.rows * fired + 16 * dense + 40 * min(at.d_sae, 2048) ** 2 * (layers > 0),
        features_held=n.n_random * at.d_sae,
        cells_held=config.train.batch_tokens * at.d_sae if steps else 0.0,
        trained_held=at.d_sae if steps else 0.0,
        tokens_held=min(config.activations.batch_tokens, at.tokens) if drawn else 0.0,
    )


def _asking(config: Config, shape: ModelShape, at: Counts) -> dict[str, Work]:
    """What the model is made to write and what is changed in it."""
    batch, held = config.caption.batch_size, _in_turn(at)
    steps = LONGEST * at.new  # of one batch of captions
    return {
        "bias": _sampled(config, at, steps),
        "explain": _told(config, at),
        "interventions": _changed(config, at, steps, INTERVENTION_BATCHES * batch),
        "hiding": _hidden(config, at, steps, HIDING_BATCHES * batch),
        "mechanisms": _attributed(config, shape, at, held),
        "graph": _graphed(config, at, held),
    }


def _sampled(config: Config, at: Counts, steps: float) -> Work:
    """Draws of an image are one row until they part: few rows to begin with, many captions."""
    b, batch = config.bias, min(256, 4 * config.caption.batch_size)
    images = min(b.max_images, at.n_test * NEUTRAL)
    captions = at.languages * b.n_sampled * images
    return Work(
        images=images,
        tokens=at.languages * images * at.prompt,
        steps=steps * max(1, captions / batch),
        step_rows=captions * at.new / (1 + b.n_sampled / 20),
        seconds=0.9 + captions * 5e-4,
        disk=captions * 40,
        host=LATE,
        model=True,
        rows_held=min(batch, max(1, captions)),
    )


def _told(config: Config, at: Counts) -> Work:
    """Captions of each layer and language are written apart."""
    e, batch, groups = config.explain, config.caption.batch_size, at.languages * at.n_layers
    of_features = (e.n_features or at.d_sae) * len(e.strengths)
    of_doses = 2 * len(e.dose_strengths) * min(e.n_dose_images, at.n_test)
    captions = groups * (of_features + of_doses)
    blocks = 1 + groups * (math.ceil(of_features / batch) + math.ceil(of_doses / batch))
    return Work(
        images=groups * min(e.n_dose_images, at.n_test),
        tokens=captions * at.prompt,
        steps=EXPLAINED * at.new * blocks,
        step_rows=captions * at.new * EXPLAINED,
        seconds=captions * 3e-3,
        disk=captions * 60,
        host=LATE,
        model=True,
        rows_held=min(batch, max(captions, 1)),
        features_held=at.n_layers * at.d_sae,
    )


def _changed(config: Config, at: Counts, steps: float, batch: float) -> Work:
    """Changes of a kind share a batch where their captions fit into it; each caption is read once more, unedited."""
    asked = planned(config, at.n)
    alike = max(1.0, min(batch / max(1.0, at.languages * asked.n_confirming), ALIKE))
    captions = asked.n_captions
    return Work(
        images=asked.n_development + asked.n_confirming,
        tokens=0.7 * captions * (at.prompt + at.length),
        encoded=captions * at.length * at.d_sae,
        steps=steps * max(asked.n_arms / alike, captions / batch),
        step_rows=captions * at.new * EDITED,
        seconds=captions * 1e-3,
        disk=captions * 40,
        host=LATE + 2e8,
        model=True,
        rows_held=min(batch, captions),
        features_held=at.n_layers * at.d_sae,
    )


def _areas_known(config: Config) -> bool:
    """Whether somebody may have said where on the images person and object are."""
    return config.samples.source == "demo-world" or bool(config.samples.areas_column or config.samples.areas)


def _hidden(config: Config, at: Counts, steps: float, batch: float) -> Work:
    """Every area is a caption of its own, from the image on; what is painted over goes through the vision tower too."""
    if not _areas_known(config):
        return Work()  # nobody knows where person and object are
    n, captions = planned_hiding(config.hiding, round(at.n_test))
    captions *= at.languages
    return Work(
        images=min(config.hiding.n_means, at.n) + n * (1 + 2 * len(KINDS)) if n else 0,
        tokens=captions * at.prompt,
        steps=steps * captions / batch,
        step_rows=captions * at.new,
        seconds=1 + captions * 5e-4,
        disk=captions * 60,
        host=LATE,
        model=n > 0,
        rows_held=min(batch, captions),
    )


def _attributed(config: Config, shape: ModelShape, at: Counts, held: float) -> Work:
    """Direct effects of many captions; gradients and ablations of a few."""
    m = config.mechanisms
    n = min(m.n_ablated, at.n_test / 2)
    heads = 64 * m.batch_size * at.length * at.d_model * shape.n_layers  # bytes of what a dozen heads a layer write
    exchanged = min(m.n_exchanged, at.n_test / 2)  # image tokens: some directions, then every layer in two ways
    passes = exchanged * (EXCHANGES + 2 * at.n_layers)
    ablated = at.n_layers * n * (FIRES * (m.n_patched + m.n_features) + 2 * m.n_pairs)
    return Work(
        images=at.languages * (m.n_images + n + 3 * exchanged) + (m.n_images if exchanged else 0),
        tokens=at.languages * (m.n_images + ablated + passes) * at.length,
        gradients=0.8 * at.languages * n * (2 + m.n_steps * at.n_layers) * at.length,
        model=True,
        seconds=1 + shape.n_layers * 0.2 + at.languages * ablated * 1.3e-3,
        disk=3e5 + at.languages * m.n_maps * 1e4,
        host=LATE + min(m.cache_mib * 2**20, heads),
        gradients_held=m.batch_size * at.length,
        features_held=held,
    )


def _graphed(config: Config, at: Counts, held: float) -> Work:
    """Gradients to the word through all layers above, and to each node from the layer of nodes below; then the checks:
    a pass for either side of each node, two for those of each edge, and those of the shares, most of them in part."""
    g, steps = config.graph, at.n_layers + 1
    graphs = at.languages * min(2 * (g.n_images // 2), at.n_test / 2)
    passes = 2 * N_NODES + 2 * N_EDGES + 2 * N_NODES + 11 * at.n_layers + 4
    return Work(
        images=at.languages * min(g.n_images, at.n_test / 2) + (g.n_mean if graphs else 0),
        tokens=graphs * 0.5 * passes * at.length,
        gradients=graphs * g.n_way * (0.5 * steps + 0.7 * N_NODES / steps) * at.length,
        encoded=graphs * at.n_layers * (g.n_way * 2 + 2 * N_NODES) * at.length * at.d_sae,
        model=True,
        seconds=1 + graphs * at.n_layers * 0.05,
        disk=graphs * 1.2e4 + 4e4,
        host=LATE,
        gradients_held=g.batch_size * at.length,
        features_held=held,
    )


def computed_again(found: dict[str, Work], config: Config, shape: ModelShape, at: Counts) -> dict[str, Work]:
    """The stages that read activations where none are stored: each repeats the passes, in groups of layers.

    A group is as many layers as fit into activations.cache_gb. Where none fits, they are repeated at every reading.
    """
    every, x = config.activations.layers, config.crosslingual
    separate = (x.layers or (every[len(every) // 2],)) if at.languages > 1 else ()
    epochs = 0.0 if config.sae.source else config.train.steps * config.train.batch_tokens / at.stored
    read = {
        "train": (every, READ_WHOLE + epochs),
        **({"codes": (every, 1.0)} if config.codes.store else {}),
        "features": (every, 1.0),
        "pool": (every, 1.0),
        "crosslingual": (separate, 4.0 * N_SEPARATE),
        "nulls": (every, 2.0),
        "layers": (every, 1.0),
    }  # layers, how often
    index = Work(model=True, disk=8 * at.stored, seconds=found["activations"].seconds)
    return {"activations": index} | {
        stage: _repeated(found[stage], config, shape, at, layers, readings)
        for stage, (layers, readings) in read.items()
    }


def _repeated(
    work: Work, config: Config, shape: ModelShape, at: Counts, layers: Sequence[int], readings: float
) -> Work:
    """The work with the passes in it that give it the activations of these layers."""
    if not layers:
        return work
    a = config.activations
    layer_bytes, cache = at.stored * at.d_model * (2 if a.dtype == "bfloat16" else 4), 1e9 * a.cache_gb
    size = max(1, int(cache // layer_bytes))
    groups = [layers[start : start + size] for start in range(0, len(layers), size)]
    often = 1.0 if layer_bytes <= cache else readings
    reached = sum(min(1.0, (max(group) + 1) / shape.n_layers) for group in groups)
    return replace(
        work,
        images=work.images + often * len(groups) * at.n,
        tokens=work.tokens + often * at.tokens * reached,
        written=work.written + often * len(layers) * layer_bytes,
        model=True,
        passing=work.passing + min(cache, size * layer_bytes, len(layers) * layer_bytes),
        tokens_held=max(work.tokens_held, min(a.batch_tokens, at.tokens)),
    )

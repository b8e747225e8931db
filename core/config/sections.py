"""Settings of a run, one frozen dataclass a section; their defaults are those of the demo.

Fields made with ``content=False`` say where something lies or on what it runs; they are no part of a stage's
fingerprint (the content behind them is, through its digest).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

LANGUAGE_NAME = {"en": "English", "ar": "Arabic"}
LANGUAGES = tuple(LANGUAGE_NAME)  # of captions and prompts, in the order in which they always stand
MIN_COVERAGE = 0.6  # share of gendered captions below which pairs of spellings speak for too few
TOKEN_KINDS = ("image", "prompt", "caption")  # "bos" is never trained on


def only_language(languages: Sequence[str]) -> str:
    """What is said of a run in one language, "this run has English captions only"; "" of a run in both."""
    return "" if len(languages) > 1 else f"this run has {LANGUAGE_NAME[languages[0]]} captions only"


def captions_given(source: str) -> str:
    """What is said of a run whose captions people wrote; "" of one whose model wrote its own (``caption.source``)."""
    if source == "own":
        return ""
    return "this run has the captions of its data in the place of the model's own: the model read them, it wrote none"


def _is(default: Any, low: float | None = None, high: float | None = None, content: bool = True) -> Any:
    """A field with a default, inclusive bounds, and whether it is part of fingerprints."""
    return field(default=default, metadata={"low": low, "high": high, "content": content})


@dataclass(frozen=True)
class SamplesConfig:
    """Where images and reference captions come from, and how they are split."""

    source: Literal["demo-world", "folder", "coco", "dataset", "flickr8k", "visogender"] = "demo-world"
    n: int = _is(1500, low=0)  # images; 0 = all there are (not of the demo world)
    languages: tuple[str, ...] = LANGUAGES  # or one of them: captions are read, written and looked at in these alone
    images: str = _is("", content=False)  # folder, zip or tar of images; "" where the table holds them as bytes
    captions: str = _is("", content=False)  # table (CSV, TSV, JSON lines, Parquet), or the file of the named set
    captions_ar: str = _is("", content=False)  # a second one for Arabic, where captions holds English alone
    areas: str = _is("", content=False)  # of COCO: the file of its boxes, such as instances_val2017.json
    dataset: str = _is("", content=False)  # of Hugging Face: a directory written by save_to_disk, or a hub name
    dataset_revision: str = _is("", content=False)  # commit of a hub name
    dataset_config: str = ""
    dataset_split: str = ""
    image_column: str = "image"
    en_column: str = "en_caption"  # "" = none; * stands for anything, as in caption_*
    ar_column: str = "ar_caption"
    gender_column: str = ""  # optional annotation: male, female or neutral
    areas_column: str = ""  # optional: boxes in pixels as JSON, {"person": [[left, top, right, bottom]], "object": []}
    attribute_columns: tuple[str, ...] = ()  # other annotations, column or name=column, such as role=occupation
    test_share: float = _is(0.2, low=0.01, high=0.9)
    max_side: int = _is(896, low=16)  # pixels; larger images are scaled down
    planted: bool = True  # demo world only: neutral images have a planted caption gender


@dataclass(frozen=True)
class ModelConfig:
    """The captioner: a hub id or a directory (looked up from the project root), and how it is run."""

    name: str = _is("data/demo-captioner", content=False)
    revision: str = _is("", content=False)
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda", "mps"] = _is("auto", content=False)
    device_map: Literal["", "auto"] = _is("", content=False)  # "auto" spreads the layers over all GPUs
    image_side: int = _is(0, low=0)  # pixels of the square that images are brought to; 0 = the family's own
    quantize: Literal["", "8bit", "4bit"] = ""  # weights of linear layers by bitsandbytes, which is an optional extra


@dataclass(frozen=True)
class CaptionConfig:
    """Which captions the model is observed on, and how it is asked for its own."""

    source: Literal["own", "references"] = "own"  # references: of the data, one an image and language; none is written
    prompt_en: str = "Describe the image."
    prompt_ar: str = "صف الصورة."
    max_new_tokens: int = _is(40, low=1)
    batch_size: int = _is(64, low=1)  # rows


@dataclass(frozen=True)
class ActivationsConfig:
    """Which residual streams are kept, and how they are stored."""

    layers: tuple[int, ...] = _is((1, 3, 5, 7), low=0)
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    batch_tokens: int = _is(4096, low=1)  # tokens of one forward pass, padding included
    shard_tokens: int = _is(65536, low=1)  # rows of one shard file
    image_tokens: int = _is(0, low=0)  # of each image's tokens, how many are kept: a sample; 0 = all
    store: Literal["all", "none"] = _is("all", content=False)  # none: whoever needs tokens has them computed again
    cache_gb: float = _is(20.0, low=0.0, content=False)  # of disk for tokens computed again, with store none


@dataclass(frozen=True)
class TrainConfig:
    """One sparse autoencoder per layer, on the tokens of both languages."""

    architecture: Literal["topk", "batchtopk", "jumprelu", "matryoshka", "gated", "standard"] = "topk"
    d_sae: int = _is(1536, low=2)
    k: int = _is(24, low=1)  # active features a token (topk, batchtopk, matryoshka)
    steps: int = _is(1000, low=1)
    batch_tokens: int = _is(1024, low=1)
    lr: float = _is(0.0, low=0.0, high=1.0)  # 0 = chosen from the width of the residuals: 0.6 / d_model
    l1: float = _is(1.0, low=0.0)  # sparsity weight (jumprelu, gated, standard)
    auxk: int = _is(256, low=0)  # dead features that model the residual error; 0 turns it off
    dead_after_tokens: int = _is(200_000, low=1)  # or a fifth of the training, where that is shorter
    matryoshka_widths: tuple[int, ...] = _is((), low=1)  # nested dictionary sizes below d_sae; () = chosen from d_sae
    tokens: tuple[str, ...] = TOKEN_KINDS
    n_spliced: int = _is(64, low=1)  # test images on whose captions the loss recovered is measured


@dataclass(frozen=True)
class SaeConfig:
    """Where the SAEs come from: () = trained here; else one place with {layer} in it, or one a layer in their order.

    A place is an entry of sae-lens' registry ("release/sae_id"), a folder of a hub repository in sae-lens format
    ("owner/name/folder"), a local folder in sae-lens' or Gemma Scope 2's layout, or a .safetensors file with a TOML.
    """

    source: tuple[str, ...] = _is((), content=False)  # the files' content counts, through core.sae.sources:digest


@dataclass(frozen=True)
class CodesConfig:
    """Whether the sparse codes of every token are kept, for pages and for stages that would encode them again."""

    store: bool = True


@dataclass(frozen=True)
class FeaturesConfig:
    """What is kept of each feature."""

    n_examples: int = _is(24, low=1)  # top images
    n_quantiles: int = _is(5, low=1)
    n_per_quantile: int = _is(6, low=0)
    n_logits: int = _is(12, low=1)
    n_neighbours: int = _is(8, low=0)
    histogram_bins: int = _is(40, low=2)


@dataclass(frozen=True)
class WordsConfig:
    """How gendered words are counted, and what gender an image has."""

    lexicon_en: str = _is("", content=False)  # a TSV in the place of core/words/lexicons/en.tsv
    lexicon_ar: str = _is("", content=False)
    consensus: float = _is(0.6, low=0.5, high=1.0)  # share of the gendered references that must agree on an image
    generic_masculine: Literal["unmarked", "male", "left out"] = "unmarked"  # what لاعب, أطفال said of anyone count as


@dataclass(frozen=True)
class GenderConfig:
    """What is asked of each feature about gender."""

    fdr: float = _is(0.05, low=1e-6, high=0.5)  # Benjamini-Hochberg over all features and layers
    min_images: int = _is(20, low=2)  # of each gender, below which nothing is said
    n_attributed: int = _is(96, low=0)  # captions a language on which gradient times activation is taken; 0 = none
    label_auc: float = _is(0.75, low=0.5, high=1.0)  # held-out AUC below which a feature gets no label
    n_matched: int = _is(12, low=1)  # images a gender in the gender-balanced pairs


@dataclass(frozen=True)
class CrosslingualConfig:
    """How English and Arabic are compared."""

    n_permutations: int = _is(500, low=50)
    n_bootstrap: int = _is(500, low=50)
    layers: tuple[int, ...] = _is((), low=0)  # layers with separate SAEs per language and seed; () = the middle one
    d_sae: int = _is(512, low=2)  # of the separate SAEs
    k: int = _is(16, low=1)
    steps: int = _is(400, low=1)
    batch_tokens: int = _is(512, low=1)
    fdr: float = _is(0.05, low=1e-6, high=0.5)  # Benjamini-Hochberg over all features and layers
    min_images: int = _is(20, low=2)  # on which a feature must fire, and of each gender; below, nothing is said


@dataclass(frozen=True)
class LayersConfig:
    """How it is asked at which layer gender can be read."""

    n_folds: int = _is(5, low=2)
    n_bootstrap: int = _is(500, low=50)
    l2: float = _is(100.0, low=1e-6)  # strength of the probes' penalty
    n_controls: int = _is(4, low=1)  # draws of arbitrary labels for the control task
    control_types: tuple[str, ...] = _is(("object", "background"))  # annotated: make a type of image; else words do
    min_per_type: int = _is(5, low=2, high=1000)  # images that share a type, below which it is none
    min_images: int = _is(20, low=2)  # of each gender, below which nothing is said
    n_lens: int = _is(200, low=1)  # captions a language for the logit lens
    last_layer: bool = True  # read the lens at the last layer too, where that is not among activations.layers
    n_vision: int = _is(3, low=0, high=64)  # layers of the vision tower that are probed, first to last; 0 = none
    n_shown: int = _is(24, low=0, high=500)  # test images whose captions the lens reads token by token; 0 = none
    n_fitted: int = _is(200, low=0, high=10_000)  # training images that the tuned lens is fitted on; 0 = no such lens
    n_patches_shown: int = _is(8, low=0, high=500)  # of these, images that it reads patch by patch


@dataclass(frozen=True)
class BiasConfig:
    """How captions are compared with what the images show."""

    n_sampled: int = _is(16, low=0)  # captions sampled of each held-out neutral image and language
    temperature: float = _is(1.0, low=0.01, high=5.0)
    n_bootstrap: int = _is(1000, low=50)
    max_images: int = _is(400, low=1)  # held-out neutral images at most


@dataclass(frozen=True)
class ExplainConfig:
    """How the model is asked what a feature is: it captions an empty image with the feature turned up."""

    n_features: int = _is(64, low=0)  # a layer at most, those that tell most about gender first; 0 = all that live
    strengths: tuple[float, ...] = _is((1.0, 2.0), low=0.01)  # in max_act
    min_images: int = _is(10, low=2)  # that fire a feature, and that do not, below which its text is not scored
    n_dose_images: int = _is(24, low=0)  # test images of the grid of steered captions
    dose_strengths: tuple[float, ...] = _is((-2.0, -1.0, -0.5, 0.5, 1.0, 2.0))  # of the ready-made sets, in max_act


@dataclass(frozen=True)
class InterventionsConfig:
    """What is changed in the model, on which held-out images, against which controls."""

    layers: tuple[int, ...] = _is((), low=0)  # among which the development images choose; () = activations.layers
    k: tuple[int, ...] = _is((1, 5, 25, 100, 200), low=1)  # features changed together, nested
    headline: int = _is(25, low=1)  # the k with which layer, strength and ranking are chosen
    modes: tuple[str, ...] = ("swap", "ablate", "neutralise")  # in the first, every k has all controls
    rankings: tuple[str, ...] = ("auc", "effect")  # of the table gender_features
    strengths: tuple[float, ...] = _is((0.25, 0.5, 1.0, 2.0), low=0.0)  # of swap, in max_act
    directions: tuple[str, ...] = ("difference of means", "probe direction", "LEACE")  # LEACE: where it is installed
    n_controls: int = _is(19, low=2)  # sets of other features, matched one to one; the fewest that give a p of 5 %
    n_few: int = _is(5, low=2)  # the same where they only draw a band, and those drawn uniformly
    n_dictionaries: int = _is(5, low=0, high=50)  # random ones, whose features stand beside the trained one's; 0 = none
    pair: tuple[int, ...] = _is((), low=0)  # layers changed together; () = the chosen and the next best; one = none
    n_images: int = _is(500, low=4)  # images on which the designs are judged
    n_development: int = _is(100, low=4)  # other held-out images, on which layer, strength and ranking are chosen
    neutral_en: str = "Describe the image. Use gender-neutral words."
    neutral_ar: str = "صف الصورة. استخدم كلمات محايدة لا تدل على الجنس."
    other_en: str = "Describe the image. Use short and simple words."  # the control of the prompt
    other_ar: str = "صف الصورة. استخدم كلمات قصيرة وبسيطة."
    n_bootstrap: int = _is(1000, low=50)


@dataclass(frozen=True)
class HidingConfig:
    """Of which held-out images parts are hidden; where person and object are known (areas.parquet)."""

    n_images: int = _is(100, low=0, high=100_000)  # images of the experiment; 0 = the stage does nothing
    n_random: int = _is(5, low=1, high=200)  # random areas beside a window, and beside the whole person
    n_examples: int = _is(12, low=0, high=1000)  # of the images, those that are shown with random areas for every kind
    n_example_random: int = _is(25, low=1, high=200)  # random areas of an example, for each of its areas
    n_means: int = _is(200, low=2, high=100_000)  # training images over which the mean of each place is taken


@dataclass(frozen=True)
class MechanismsConfig:
    """What is asked of heads, of pairs of features, and of attribution patching."""

    n_images: int = _is(200, low=8)  # captions a language that heads and MLPs are attributed on, half of them held out
    n_maps: int = _is(12, low=0)  # of these, captions whose attention to the image is kept
    n_ablated: int = _is(64, low=8)  # held-out captions a language on which features are ablated
    n_patched: int = _is(32, low=2)  # features a layer and language whose predicted effect is held against the true one
    n_features: int = _is(24, low=2)  # features a layer and language whose pairs are counted
    n_pairs: int = _is(10, low=0)  # of these, pairs that are ablated together, and as many control pairs
    n_steps: int = _is(8, low=0)  # of integrated gradients; 0 = none
    n_exchanged: int = _is(48, low=0, high=10_000)  # held-out captions a language with an image exchanged; 0 = none
    min_images: int = _is(10, low=2)  # of each gender and split, below which nothing is said
    level: float = _is(0.05, low=1e-6, high=0.5)  # of any false finding among all parts of both languages
    n_permutations: int = _is(2000, low=100)  # of the images' genders, from which p of heads and MLPs is counted
    n_bootstrap: int = _is(1000, low=50)
    cache_mib: int = _is(1024, low=1)  # of activations held at once
    batch_size: int = _is(16, low=1)  # captions of one pass; a pass back holds what every layer computed


@dataclass(frozen=True)
class GraphConfig:
    """Graphs of how single gendered words were written."""

    n_images: int = _is(12, low=0, high=200)  # held-out images, half of women, whose captions have a graph; 0 = none
    n_way: int = _is(16, low=2, high=256)  # points on the way from the mean picture at which gradients are taken
    n_mean: int = _is(64, low=2, high=10_000)  # training images that the mean picture is of
    batch_size: int = _is(16, low=1, high=1024)  # rows of one pass; a pass back holds what every layer computed


@dataclass(frozen=True)
class NullsConfig:
    """What the same questions are put to where there is nothing to be found, or nothing that training has found."""

    n_random: int = _is(5, low=2, high=100)  # random dictionaries a layer
    n_shuffles: int = _is(3, low=2, high=100)  # of the images' genders
    ks: tuple[int, ...] = _is((1, 2, 5, 10), low=1)  # features of the sparse probes, chosen on training images
    layers: tuple[int, ...] = _is((), low=0)  # at which the following are trained; () = the middle one
    n_seeds: int = _is(1, low=0, high=20)  # trainings of the layer's SAE that differ in the seed alone
    frozen_decoder: bool = True  # an SAE whose directions stay random
    random_model: bool = True  # an SAE, and probes of every layer, of the model with weights drawn at random
    other_attributes: tuple[str, ...] = _is(("object", "style", "background"))  # annotated, beside gender; else words
    n_random_images: int = _is(600, low=0)  # that the randomised model reads; 0 = all
    steps: int = _is(0, low=0)  # of frozen decoder and randomised model; 0 = train.steps


@dataclass(frozen=True)
class Config:
    """All settings of one run; ``name`` is the preset's."""

    name: str = _is("demo", content=False)
    seed: int = _is(0, low=0)
    samples: SamplesConfig = field(default_factory=SamplesConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    caption: CaptionConfig = field(default_factory=CaptionConfig)
    activations: ActivationsConfig = field(default_factory=ActivationsConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sae: SaeConfig = field(default_factory=SaeConfig)
    codes: CodesConfig = field(default_factory=CodesConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    words: WordsConfig = field(default_factory=WordsConfig)
    gender: GenderConfig = field(default_factory=GenderConfig)
    crosslingual: CrosslingualConfig = field(default_factory=CrosslingualConfig)
    layers: LayersConfig = field(default_factory=LayersConfig)
    bias: BiasConfig = field(default_factory=BiasConfig)
    explain: ExplainConfig = field(default_factory=ExplainConfig)
    interventions: InterventionsConfig = field(default_factory=InterventionsConfig)
    hiding: HidingConfig = field(default_factory=HidingConfig)
    mechanisms: MechanismsConfig = field(default_factory=MechanismsConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    nulls: NullsConfig = field(default_factory=NullsConfig)

    @property
    def prompts(self) -> dict[str, str]:
        """What the model is asked, by language of the run."""
        return {lang: getattr(self.caption, f"prompt_{lang}") for lang in self.samples.languages}


SECTIONS: dict[str, type] = {
    "samples": SamplesConfig,
    "model": ModelConfig,
    "caption": CaptionConfig,
    "activations": ActivationsConfig,
    "train": TrainConfig,
    "sae": SaeConfig,
    "codes": CodesConfig,
    "features": FeaturesConfig,
    "words": WordsConfig,
    "gender": GenderConfig,
    "crosslingual": CrosslingualConfig,
    "layers": LayersConfig,
    "bias": BiasConfig,
    "explain": ExplainConfig,
    "interventions": InterventionsConfig,
    "hiding": HidingConfig,
    "mechanisms": MechanismsConfig,
    "graph": GraphConfig,
    "nulls": NullsConfig,
}

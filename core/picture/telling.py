"""What a model says of a picture, in each language, and what goes on in it while it reads what it has said."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from core.config import LANGUAGE_NAME
from core.picture.asking import Asked, OwnText, own_text, question_ids
from core.picture.reading import Reading, read_picture
from core.samples.checks import script

if TYPE_CHECKING:
    from core.vlm.adapter import VLM
    from core.vlm.batch import Features


@dataclass(frozen=True, eq=False)
class Told:
    """The captions after one more token, by language; once finished, with a reading of each.

    ``given`` are the languages whose text the model was given to read, ``cut`` those whose caption met no end in time,
    ``notes`` sentences about a text.
    """

    texts: Mapping[str, str]
    given: frozenset[str] = frozenset()
    cut: tuple[str, ...] = ()
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    readings: Mapping[str, Reading] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether all has been written and read."""
        return bool(self.readings)

    @property
    def n_bytes(self) -> int:
        """What its readings take in memory."""
        return sum(one.n_bytes for one in self.readings.values())


def tell(
    vlm: VLM,
    features: Features,
    prompts: Mapping[str, str],
    asked: Asked,
    max_new_tokens: int,
    layers: Iterable[int],
    dtype: str = "bfloat16",
) -> Generator[Told, None, None]:
    """Write a caption in each language of ``prompts``, a step a token, then read picture, questions and captions.

    ``features`` (1, *feature_shape) are of the picture; ``prompts`` are the run's own questions, which those of
    ``asked`` replace. The last step is finished. Raises UserError, before anything is written, for questions and texts
    that the model cannot take. Closing the generator stops the model.
    """
    questions = {**prompts, **dict(asked.questions)}
    own_question = dict(asked.questions)
    ids = {
        lang: question_ids(vlm, text, max_new_tokens) if lang in own_question else vlm.prompt_ids(text)
        for lang, text in questions.items()
    }
    given: dict[str, OwnText] = {lang: own_text(vlm, text, lang, len(ids[lang])) for lang, text in asked.texts}
    texts, notes = dict(asked.texts), {lang: own.notes for lang, own in given.items() if own.notes}
    start = Told(texts, frozenset(given), notes=notes)
    captions: dict[str, list[int]] = {lang: list(own.ids) for lang, own in given.items()}
    written = [lang for lang in prompts if lang not in given]
    captions |= {lang: [] for lang in written}
    going = set(written)
    if written:
        rows = [ids[lang] for lang in written]
        for step in vlm.stream(rows, features[[0] * len(rows)], max_new_tokens):
            for lang, token in zip(written, step, strict=True):
                if token is None or token in vlm.eos_ids:
                    going.discard(lang)
                else:
                    captions[lang].append(token)
            texts = {**start.texts, **{lang: vlm.decode(captions[lang]) for lang in written}}
            yield replace(start, texts=texts)
    readings = read_picture(vlm, features, ids, captions, layers, dtype)
    cut = tuple(lang for lang in written if lang in going)
    for lang in written:
        if (found := script(texts[lang])) not in (lang, ""):
            notes[lang] = (f"The model has answered this question in {LANGUAGE_NAME.get(found, 'another script')}.",)
    ordered = {lang: texts[lang] for lang in prompts}
    yield replace(start, texts=ordered, cut=cut, notes=notes, readings=readings)

"""What the scoreboard says of the app's own sentences, in plain words, with what disappoints first."""

from __future__ import annotations

from collections.abc import Sequence

from core.answers import Answer
from core.claims import AT_MOST, Row, rates

PLAIN = {
    "alignment.grammar": "Features follow the grammatical gender of things",
    "alignment.features of one language": "Gender features keep to one language",
    "alignment.one direction": "Gender has nearly the same direction in both languages",
    "alignment.other strongest": "The features that tell gender best are others in the other language",
    "alignment.same strongest": "The features that tell gender best are the same in both languages",
    "alignment.shared": "The languages share what they know of gender",
    "alignment.shared features": "Gender features work in both languages",
    "alignment.two directions": "Gender has two directions in the two languages",
    "audit.changed": "Gendered words became rarer, or more frequent",
    "bias.amplified": "Captions amplify what people write",
    "bias.errors differ": "Women and men are mistaken unequally often",
    "bias.leaning": "Captions of images that show no gender lean to one",
    "bias.recovered": "Captions show a table of shares again",
    "captions.agree": "Both captions of an image tell alike of gender",
    "captions.name gender": "Captions name the gender that is shown",
    "coverage.share": "The compared spellings speak for enough captions",
    "explain.fits": "What the model says of a feature fits its images",
    "feature.kind": "A feature fires above all on one kind of token",
    "feature.one language": "Features keep to one language",
    "gender.feature": "This feature tells women from men",
    "gender.features": "Features of a layer tell women from men",
    "gender.label": "A word predicts when a feature fires",
    "gender.lift": "Women, or men, lead among a feature’s strongest images",
    "gender.rankings agree": "Rankings of features agree",
    "graph.crossing": "Gender goes from the image tokens to the words between two layers",
    "graph.features": "A word’s graph explains more than one of random directions",
    "hiding.person": "Hiding the person changes the gendered word more than hiding as much elsewhere",
    "hiding.whole": "Hiding the person changes the gendered word more than an area of its shape elsewhere",
    "interventions.specific": "Gender features change captions more than matched ones",
    "interventions.trained": "The SAE’s features change captions more than a random dictionary’s",
    "interventions.transfer": "One language’s features change the other’s captions",
    "interventions.two layers": "Two layers together change more captions than either alone",
    "interventions.ways": "Features and the difference of means change as much",
    "interventions.ways apart": "Features and the difference of means differ",
    "layers.carried": "Layers hold the gender of the image",
    "layers.image direction": "One direction of the image tokens carries the word’s gender",
    "layers.lens": "The next word tells women from men",
    "layers.transfer": "A probe of one language reads the other",
    "layers.vision": "Gender is there before the language model begins",
    "mechanisms.alike": "The same parts do it in both languages",
    "mechanisms.gradient": "One gradient stands for ablations",
    "mechanisms.head": "This head adds gender to the words",
    "mechanisms.part": "A part of the model adds gender to the words",
    "mechanisms.pairs add up": "What two features do adds up",
    "mechanisms.pairs interact": "What two features do does not add up",
    "nulls.beyond random": "The dictionary tells gender better than random directions",
    "nulls.beyond random weights": "The model tells gender better than one of random weights",
    "nulls.gender aligns less": "Gender is less alike in the languages than other things",
    "nulls.gender aligns more": "Gender is more alike in the languages than other things",
    "nulls.recurs": "Features come back in another dictionary",
    "planted.direction": "The measured direction of gender is the planted one",
    "planted.head": "The head that is named first is the planted one",
    "planted.layer": "Gender begins at the planted layer",
    "planted.sharing": "The languages share the direction as planted",
    "sae_fit.fits": "The dictionaries explain what the model does",
}
"""What each claim says; a claim without an entry is shown by its id."""


def plain(claim: str) -> str:
    """A claim in words."""
    return PLAIN.get(claim, claim)


def scoreboard_answer(rows: Sequence[Row]) -> Answer:
    """How many of the claims are made too often where they are false, and how many worlds were simulated."""
    if not rows:
        return Answer("The scoreboard has not been run.", "not enough data")
    known = rates(rows)
    bad = [rate for rate in known.values() if rate.too_high]
    worlds = sum(row.worlds for row in rows)
    are, they = ("is", "it is") if len(bad) == 1 else ("are", "they are")
    text = (
        f"Of {len(known)} claims that its sentences make, {len(bad) or 'none'} {are} made in more than {AT_MOST:.0%} "
        f"of the simulated worlds in which {they} false ({worlds:,} worlds in all); such a sentence is never called "
        "supported here."
    )
    return Answer(text, "")


def by_claim(rows: Sequence[Row]) -> list[dict[str, str | float]]:
    """One row a claim, the most often wrong first: claim, wrong (x of y), share, world, right (x of y)."""
    known, found = rates(rows), []
    for claim in dict.fromkeys(row.claim for row in rows):
        true = [row for row in rows if row.claim == claim and row.kind == "true"]
        hits, worlds = sum(row.hits for row in true), sum(row.worlds for row in true)
        rate = known.get(claim)
        found.append(
            {
                "claim": claim,
                "wrong": f"{rate.hits:,} of {rate.worlds:,}" if rate else "",
                "share": rate.share if rate else -1.0,
                "world": rate.world if rate else "",
                "right": f"{hits:,} of {worlds:,} ({hits / worlds:.0%})" if worlds else "",
            }
        )
    return sorted(found, key=lambda row: -float(row["share"]))


def _at(rows: Sequence[Row]) -> str:
    """The sizes at which it is surely said too often."""
    at = ", ".join(f"{row.hits:,} of {row.worlds:,} at n = {row.n:,}" for row in rows)
    return f", {at}" if at else ""


def disappointments(rows: Sequence[Row]) -> list[str]:
    """What one should know before trusting a sentence, one line each; [] where nothing is."""
    said = []
    for rate in sorted(rates(rows).values(), key=lambda r: -r.share):
        if rate.too_high:
            said.append(
                f"“{plain(rate.claim)}” is said in {rate.hits:,} of {rate.worlds:,} worlds in which {rate.world} "
                f"({rate.share:.0%}){_at(rate.sizes)}."
            )
    for row in sorted(rows, key=lambda r: (r.share, r.claim, r.n)):
        if row.kind == "true" and row.interval[1] < 0.5:
            layers = f", {row.layers} layers" if row.layers > 1 else ""
            said.append(
                f"“{plain(row.claim)}” is seldom said though it is so ({row.world}): {row.hits:,} of {row.worlds:,} "
                f"worlds at n = {row.n:,}{layers}."
            )
    return said

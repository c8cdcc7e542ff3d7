"""What the numbers rest on, in words and lists made from the Results' own facts, so that it can be repeated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from changeling.experiments.result import Result, Source
from changeling.report.tables import count

HASH = 10  # characters of a hash that are shown; the rest is in its title
RESAMPLES = 2000  # where the settings do not say otherwise

Value = str | int | float | bool | None

WORDS = {
    "AdamW": "the optimiser: gradient descent with a step for each weight, and weight decay apart from the gradient.",
    "batch": "the images that one step of the training sees.",
    "C": "the inverse of how strongly a probe is regularised (L2): the larger, the more freely it fits.",
    "class weight": "balanced: real and fake images count the same in all, however many there are of each.",
    "cosine": "the distance of two features is one less the cosine of the angle between them; lengths do not count.",
    "epochs": "how often the training sees each image.",
    "l2": "the distance of two features is the length of their difference.",
    "log loss": "punishes a probe for what it is sure of and wrong about; the lower, the better its probabilities.",
    "lr": "the learning rate: how long the steps of the training are.",
    "openTSNE": "the program that makes the maps, so that images with similar features lie near each other (t-SNE).",
    "perplexity": "about how many neighbours of each image a map heeds.",
    "prompt template": "words put about a caption before it is encoded, such as “a photo of”.",
    "resamples": "how often the clusters are drawn anew for an interval.",
    "seed": "where random draws start: with the same seed they come out the same.",
    "standardised": "each dimension of a feature is moved and stretched to mean 0 and deviation 1.",
    "temperature": "divides the similarities in the contrastive loss (Eq. 5).",
    "ties": "captions that are just as near as the one looked for; against the query: they count as nearer.",
    "weight decay": "how strongly each step of the training draws the weights to zero.",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its value; `full` is what the value was before it was shortened."""

    name: str
    value: str
    full: str


@dataclass(frozen=True, slots=True)
class Basis:
    """Settings that some experiments share; `experiments` names them, or is empty if all do."""

    experiments: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Methods:
    """The last section of the page."""

    dataset: list[Markup]
    features: list[tuple[Source, str, str]]  # with short forms of their hashes
    settings: list[Basis]
    words: list[tuple[str, str]]
    intervals: list[str]
    running: list[Markup]  # seeds and versions

    @property
    def shortened(self) -> bool:
        """Whether a hash of the features is not shown whole."""
        return any((one.weights, one.preprocessing) != (w, p) for one, w, p in self.features)


def tell(results: Sequence[Result]) -> Methods:
    """Put together what results say of how they were made."""
    settings = [result.settings for result in results]
    sources = dict.fromkeys(source for result in results for source in result.sources)
    running = [*_seeds(results), *(_about(_versions(facts), who) for facts, who in _shared(results, "versions"))]
    return Methods(
        dataset=[_about(_dataset(facts), who) for facts, who in _shared(results, "dataset")],
        features=[(source, shorten(source.weights), shorten(source.preprocessing)) for source in sources],
        settings=[
            Basis(who, tuple(_fact(*item) for item in facts.items())) for facts, who in _shared(results, "settings")
        ],
        words=_words(settings),
        intervals=_intervals(results),
        running=running,
    )


def shorten(value: str) -> str:
    """Shorten a hash; leave anything else as it is."""
    found = re.fullmatch(r"(?:[a-z0-9]+:)?([0-9a-f]{32,})", value)
    return f"{found[1][:HASH]}…" if found else value


def _shared(results: Sequence[Result], field: str) -> list[tuple[Mapping[str, Value], str]]:
    """The facts of a field, each with the experiments that share them: their titles, or '' if all that have any do."""
    bases: dict[tuple[tuple[str, str], ...], tuple[Mapping[str, Value], list[str]]] = {}
    for result in results:
        facts: Mapping[str, Value] = getattr(result, field)
        if facts:
            key = tuple((name, repr(value)) for name, value in facts.items())
            bases.setdefault(key, (facts, []))[1].append(result.title)
    return [(facts, "" if len(bases) == 1 else ", ".join(titles)) for facts, titles in bases.values()]


def _about(sentence: Markup, who: str) -> Markup:
    return Markup("<strong>{}:</strong> {}").format(who, sentence) if who else sentence


def _dataset(facts: Mapping[str, Value]) -> Markup:
    """A dataset with its hash and counts, in one sentence."""
    name, digest = facts.get("name"), facts.get("hash")
    start = Markup("The dataset is {}").format(name) if name is not None else Markup("A dataset")
    if digest is not None:
        start += Markup(" (hash {})").format(_code(str(digest)))
    rest = []
    for key, value in facts.items():
        words = key.replace("_", " ")
        if key in ("name", "hash"):
            continue
        if isinstance(value, int):
            rest.append(f"{value:,} {words.removesuffix('s') if value == 1 else words}")
        else:
            rest.append(f"{words} {value}")
    return start + (escape(f": {_listed(rest)}.") if rest else escape("."))


def _code(value: str) -> Markup:
    short = shorten(value)
    title = Markup(' title="{}"').format(value) if short != value else Markup("")
    return Markup("<code{}>{}</code>").format(title, short)


def _versions(facts: Mapping[str, Value]) -> Markup:
    return escape(f"Computed with {_listed([f'{name} {value}' for name, value in facts.items()])}.")


def _seeds(results: Iterable[Result]) -> list[Markup]:
    """Where draws start, if settings say so."""
    seeds: dict[Value, list[str]] = {}
    for result in results:
        for name, value in result.settings.items():
            if name == "seed":
                seeds.setdefault(value, []).append(result.title)
    if not seeds:
        return []
    if len(seeds) == 1:
        start = f"Every random draw starts from the seed {next(iter(seeds))}"
    else:
        start = "Random draws start from " + _listed([f"the seed {s} ({', '.join(who)})" for s, who in seeds.items()])
    return [escape(f"{start}: on the same dataset and features, the same settings and versions give the same numbers.")]


def _intervals(results: Sequence[Result]) -> list[str]:
    cells = [cell for result in results for table in result.tables for row in table.rows for cell in row.cells.values()]
    if not cells:
        return []
    told = [
        value
        for result in results
        for name, value in result.settings.items()
        if name in ("resamples", "bootstrap_samples") and isinstance(value, int)
    ]
    times = _listed([f"{value:,}" for value in dict.fromkeys(told)] or [f"{RESAMPLES:,}"])
    paragraphs = [
        "Each number stands with its 95 % interval and with how many clusters and images it rests on. Images of a "
        "cluster are not independent, so the interval is a percentile bootstrap over clusters: as many clusters as "
        f"there are, are drawn with replacement, {times} times; each time the number is computed anew from all images "
        "of the drawn clusters; the interval is what the middle 95 % of these numbers span. Where all draws agree, or "
        "the number is 0 or 100 %, it is Clopper and Pearson’s exact interval for as many clusters. Intervals are "
        "not corrected for how many there are: of twenty, one may well miss."
    ]
    beside = sum(cell.paper is not None for cell in cells)
    if beside:
        paragraphs.append(
            f"Beside {count(beside, 'number')} stands what the paper reports, where dataset, generator and backbone "
            "are the paper’s. A ✓ says that our interval holds it, to the paper’s rounding; a ✗ that it does not. "
            "The paper gives no intervals."
        )
    return paragraphs


def _words(settings: Iterable[Mapping[str, Value]]) -> list[tuple[str, str]]:
    """The words that settings use and a reader may not know, in the order of the alphabet."""
    text = "\n".join(f"{name.replace('_', ' ')} = {value}" for some in settings for name, value in some.items())
    return [(word, told) for word, told in WORDS.items() if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)]


def _fact(name: str, value: Value) -> Fact:
    if value is None or isinstance(value, bool):
        full = {None: "none", True: "yes", False: "no"}[value]
    elif isinstance(value, int) and "seed" not in name:
        full = f"{value:,}"
    else:
        full = f"{value:.6g}" if isinstance(value, float) else str(value)
    return Fact(name.replace("_", " "), shorten(full), full)


def _listed(parts: Sequence[str]) -> str:
    """A list in a sentence: "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)

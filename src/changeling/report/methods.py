"""What the numbers rest on, in words and lists made from the Results' own facts, so that it can be repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from changeling.results.format import format_count
from changeling.results.result import Result, Source

Value = str | int | float | bool | None
_SINGULARS = {  # of the counts that a Result gives of its dataset
    "images": "image",
    "clusters": "cluster",
    "parents": "parent",
    "children": "child",
    "rows without an image": "row without an image",
}


@dataclass(frozen=True, slots=True)
class Basis:
    """Settings that some experiments share; `experiments` names them, or is empty if all do."""

    experiments: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Methods:
    """The last section of the page."""

    dataset: list[Markup]
    features: list[Source]
    settings: list[Basis]
    versions: list[Markup]
    numbers: int  # how many there are in all tables
    beside: int  # how many of them the paper's stand beside


def tell(results: Sequence[Result]) -> Methods:
    """Put together what results say of how they were made."""
    cells = [cell for result in results for table in result.tables for row in table.rows for cell in row.cells.values()]
    return Methods(
        dataset=[_about(_dataset(facts), who) for facts, who in _shared(results, "dataset")],
        features=list(dict.fromkeys(source for result in results for source in result.sources)),
        settings=[
            Basis(who, tuple((name, _value(name, value)) for name, value in facts.items()))
            for facts, who in _shared(results, "settings")
        ],
        versions=[_about(_versions(facts), who) for facts, who in _shared(results, "versions")],
        numbers=len(cells),
        beside=sum(cell.paper is not None for cell in cells),
    )


def _shared(results: Sequence[Result], field: str) -> list[tuple[Mapping[str, Value], str]]:
    """The facts of a field, each with the experiments that share them: their names, or '' if all that have any do."""
    bases: dict[str, tuple[Mapping[str, Value], list[str]]] = {}
    for result in results:
        facts: Mapping[str, Value] = getattr(result, field)
        if facts:
            bases.setdefault(repr(facts), (facts, []))[1].append(result.experiment)
    return [(facts, "" if len(bases) == 1 else _headed(names)) for facts, names in bases.values()]


def _about(sentence: Markup, who: str) -> Markup:
    return Markup("<strong>{}:</strong> {}").format(who, sentence) if who else sentence


def _dataset(facts: Mapping[str, Value]) -> Markup:
    """A dataset with its hash and counts, in one sentence."""
    counts = _listed(
        [
            format_count(value, _SINGULARS.get(name, name), name)
            for name, value in facts.items()
            if isinstance(value, int)
        ]
    )
    return Markup("The dataset is {} (hash <code>{}</code>): {}.").format(facts["name"], facts["hash"], counts)


def _versions(facts: Mapping[str, Value]) -> Markup:
    return Markup("Computed with {}.").format(_listed([f"{name} {value}" for name, value in facts.items()]))


def _value(name: str, value: Value) -> str:
    if isinstance(value, int) and name != "seed":
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _headed(names: Sequence[str]) -> str:
    listed = _listed(names)
    return listed[:1].upper() + listed[1:]


def _listed(parts: Sequence[str]) -> str:
    """A list in a sentence: "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)

"""The methods section: what it takes to repeat a study, as sentences and lists from the Results themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from changeling.results.format import format_count
from changeling.results.result import Result, Source

Value = str | int | float | bool | None
_SINGULARS = {  # of the counts in a Result's description of its dataset
    "images": "image",
    "clusters": "cluster",
    "parents": "parent",
    "children": "child",
    "rows without an image": "row without an image",
}


@dataclass(frozen=True, slots=True)
class SettingsGroup:
    """Settings that experiments share. `experiments` names them; it is empty if all of them do."""

    experiments: str
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Methods:
    """The content of the methods section."""

    dataset: list[Markup]
    features: list[Source]
    settings: list[SettingsGroup]
    versions: list[Markup]
    estimate_count: int  # in all tables
    paper_value_count: int  # of the paper's values beside them


def describe_methods(results: Sequence[Result]) -> Methods:
    """Collect the datasets, features, settings and versions of results, each listed once."""
    cells = [cell for result in results for table in result.tables for row in table.rows for cell in row.cells.values()]
    return Methods(
        dataset=[
            _prefix_experiments(_describe_dataset(dataset), names)
            for dataset, names in _group_experiments(results, "dataset")
        ],
        features=list(dict.fromkeys(source for result in results for source in result.sources)),
        settings=[
            SettingsGroup(names, tuple((name, _format_value(name, value)) for name, value in settings.items()))
            for settings, names in _group_experiments(results, "settings")
        ],
        versions=[
            _prefix_experiments(_describe_versions(versions), names)
            for versions, names in _group_experiments(results, "versions")
        ],
        estimate_count=len(cells),
        paper_value_count=sum(cell.paper is not None for cell in cells),
    )


def _group_experiments(results: Sequence[Result], field: str) -> list[tuple[Mapping[str, Value], str]]:
    """Return the distinct values of a field, each with the names of its experiments; "" if all have the same one."""
    groups: dict[str, tuple[Mapping[str, Value], list[str]]] = {}
    for result in results:
        value: Mapping[str, Value] = getattr(result, field)
        if value:
            groups.setdefault(repr(value), (value, []))[1].append(result.experiment)
    return [(value, "" if len(groups) == 1 else _join_names(names)) for value, names in groups.values()]


def _prefix_experiments(sentence: Markup, names: str) -> Markup:
    return Markup("<strong>{}:</strong> {}").format(names, sentence) if names else sentence


def _describe_dataset(dataset: Mapping[str, Value]) -> Markup:
    """Return one sentence with the name, the hash and the counts of a dataset."""
    counts = [
        format_count(value, _SINGULARS.get(name, name), name)
        for name, value in dataset.items()
        if isinstance(value, int)
    ]
    return Markup("The dataset “{}” (hash <code>{}</code>) has {}.").format(
        dataset["name"], dataset["hash"], _join_parts(counts)
    )


def _describe_versions(versions: Mapping[str, Value]) -> Markup:
    return Markup("Computed with {}.").format(_join_parts([f"{name} {value}" for name, value in versions.items()]))


def _format_value(name: str, value: Value) -> str:
    if isinstance(value, int) and name != "seed":
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _join_names(names: Sequence[str]) -> str:
    joined = _join_parts(names)
    return joined[:1].upper() + joined[1:]


def _join_parts(parts: Sequence[str]) -> str:
    """Return a list as part of a sentence: "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)

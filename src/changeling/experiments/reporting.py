"""Parts that the Results of all experiments have in common."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from changeling.datasets.dataset import Dataset
from changeling.experiments.selection import SPLIT_TITLES, list_generators
from changeling.features.store import Features
from changeling.results.format import ALL_LABEL, format_count
from changeling.results.result import Curve, Estimate, Row, Source
from changeling.stats.cluster_statistics import ClusterStatistic, combine_seeds
from changeling.stats.intervals import LEVEL, Interval, ratio_interval, statistic_interval
from changeling.stats.metrics import Floats, Ratio


def make_estimate(interval: Interval, chance: float | None = None) -> Estimate:
    """Convert an interval to an Estimate of a Result, with its chance level if it has one."""
    return Estimate(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        clusters=interval.clusters,
        images=interval.images,
        chance=chance,
    )


def make_curve(name: str, x: Sequence[float], estimates: Sequence[Interval | Estimate]) -> Curve:
    """Return the line of a plot with an estimate at each x, and its interval."""
    return Curve(
        name=name,
        x=tuple(x),
        y=tuple(estimate.value for estimate in estimates),
        low=tuple(estimate.low for estimate in estimates),
        high=tuple(estimate.high for estimate in estimates),
    )


def make_estimate_over_seeds(runs: Sequence[Ratio | ClusterStatistic], chance: float | None = None) -> Estimate:
    """Return the Estimate of a statistic from its runs, one a seed; the variation between them widens its interval."""
    first = runs[0]
    if isinstance(first, Ratio) and all(_is_same(first, run) for run in runs):
        return make_estimate(ratio_interval(first), chance)
    return make_estimate(statistic_interval(combine_seeds(runs)), chance)


def _is_same(first: Ratio, other: Ratio | ClusterStatistic) -> bool:
    return isinstance(other, Ratio) and bool(
        np.array_equal(first.numerator, other.numerator) and np.array_equal(first.denominator, other.denominator)
    )


def describe_seeds(seed: int, seeds: int) -> int | str:
    """Return the seed, or all that probes, S and T were trained with: "0, 1, 2"."""
    return seed if seeds == 1 else ", ".join(str(seed + i) for i in range(seeds))


def join_over_seeds(values: Sequence[float]) -> float | str:
    """Return a number that each seed has, or all of them as text if they differ: "0.1, 0.316"."""
    return values[0] if len(set(values)) == 1 else ", ".join(f"{value:.3g}" for value in values)


def find_common_chance(rows: Sequence[Row], column: str) -> float | None:
    """Return the chance level of all estimates of a column; None if they have none, or if it differs between rows."""
    levels = {row.cells[column].chance for row in rows if column in row.cells}
    return levels.pop() if len(levels) == 1 else None


def sort_by_generator(dataset: Dataset, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Sort the rows of a table by generator, in the order of `list_generators`; backbones keep their order."""
    order = list_generators(dataset)
    return tuple(sorted(rows, key=lambda row: order.index(row.labels["Generator"])))


def select_best_row(rows: Sequence[Row], column: str) -> tuple[Row, str] | None:
    """Return the row to summarise, and a phrase that names its features; None if no row has a test estimate.

    Of the rows of the first generator (`all`, or the only one) it is the one with the highest validation estimate, so
    that the choice does not depend on the test split; the first of equals. The phrase says "the best on validation"
    only if there are several rows and no tie.
    """
    first = rows[0].labels["Generator"] if rows else ""
    tested = [row for row in rows if row.labels["Generator"] == first and f"test_{column}" in row.cells]
    if not tested:
        return None
    values = [row.cells[f"val_{column}"].value if f"val_{column}" in row.cells else -1.0 for row in tested]
    best = tested[values.index(max(values))]
    is_unique = len(tested) > 1 and min(values) >= 0 and values.count(max(values)) == 1
    return best, f"{best.labels['Backbone']} features{', the best on validation,' if is_unique else ''}"


def summarise_by_generator(dataset: Dataset, rows: Sequence[Row], summarise: Callable[[Sequence[Row]], str]) -> str:
    """Return the summary of a table; if each generator made whole clusters, a summary of each generator's rows.

    In the paper's setting every generator made a child of each of five captions of a parent: a row of all generators
    then rests on clusters that are twice as large as those of the paper.
    """
    generators = list(dict.fromkeys(row.labels["Generator"] for row in rows if row.labels["Generator"] != ALL_LABEL))
    if not generators or not _has_whole_clusters(dataset):
        return summarise(rows)
    by_generator = {name: [row for row in rows if row.labels["Generator"] == name] for name in generators}
    return " ".join(f"{name}: {summarise(generator_rows)}" for name, generator_rows in by_generator.items())


def _has_whole_clusters(dataset: Dataset) -> bool:
    """Return whether captions have children by several generators, and each generator several children a cluster."""
    columns = (dataset.clusters.tolist(), dataset.images["caption_index"].to_pylist(), dataset.column("generator"))
    children = {key for key in zip(*columns, strict=True) if key[1] is not None and key[2] is not None}
    captions = {(cluster, index) for cluster, index, _ in children}
    clusters = {(cluster, generator) for cluster, _, generator in children}
    return len(captions) < len(children) and 2 * len(clusters) <= len(children)


def describe_dataset(dataset: Dataset) -> dict[str, str | int]:
    """Return a dataset's name, hash and counts of readable images; and of rows without one, if there are any."""
    is_readable = dataset.column("status") == "ok"
    labels, unreadable = dataset.labels[is_readable], int((~is_readable).sum())
    description: dict[str, str | int] = {
        "name": dataset.path.absolute().name,
        "hash": dataset.hash,
        "images": len(labels),
        "clusters": len(set(dataset.clusters[is_readable])),
        "parents": int((labels == 0).sum()),
        "children": int(labels.sum()),
    }
    return description | ({"rows without an image": unreadable} if unreadable else {})


def note_leakage(dataset: Dataset) -> Iterator[str]:
    """Yield a note for each split that has images of the train split, by their SHA-256."""
    splits, hashes = dataset.column("split"), dataset.column("sha256")
    training = set(hashes[splits == "train"]) - {None, ""}
    for split, title in SPLIT_TITLES.items():
        shared = sum(digest in training for digest in hashes[splits == split])
        if shared:
            yield (
                f"Train/test leakage: {format_count(shared, 'image', 'images')} of the {title.lower()} split "
                f"{'is' if shared == 1 else 'are'} also in the train split (same SHA-256), so accuracies on it are too "
                "high. `changeling audit` lists them."
            )


def describe_source(features: Features) -> Source:
    """Return which backbone, weights and preprocessing features come from."""
    header = features.header
    return Source(backbone=header.backbone, weights=header.weights, preprocessing=header.preprocessing)


def list_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute the numbers."""
    packages = ("changeling", "numpy", "scipy", "scikit-learn", "openTSNE")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def describe_multiplicity(differences: Sequence[Interval], p_values: Floats) -> str:
    """Return how many intervals do not contain 0, how many would not by chance, and how many are left if corrected."""
    if len(differences) == 1:
        return "There is one difference, so its p-value needs no correction."
    found = sum(difference.low > 0 or difference.high < 0 for difference in differences)
    significant = int((p_values < 1 - LEVEL).sum())
    return (
        f"Of {len(differences)} intervals, {found} {'does' if found == 1 else 'do'} not contain 0; if no two were "
        f"different, about {(1 - LEVEL) * len(differences):.2g} would not by chance. The intervals are not corrected "
        f"for their number. The p-values are (Holm, 1979): with them, {significant} of the differences "
        f"{'is' if significant == 1 else 'are'} significant at 5 %."
    )


def format_p_value(p_value: float) -> str:
    """Return a p-value as text for a table."""
    if math.isnan(p_value):
        return "–"
    return f"{p_value:.3f}" if p_value >= 0.001 else "< 0.001"

"""The table of a protocol: each generator with its own real images, and the mean over generators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from changeling.evaluation.evaluation import DetectorScores, Evaluation, Mask
from changeling.evaluation.measures import METRICS, Metric
from changeling.evaluation.protocols.expected_dataset import normalise_name
from changeling.evaluation.results.tables import Cells, make_cells
from changeling.results.result import Column, Row, Table
from changeling.stats.intervals import Interval, basic_bootstrap, bootstrap
from changeling.stats.metrics import Ints

MEAN_LABEL = "mean of the generators"


@dataclass(frozen=True, slots=True)
class SubsetSettings:
    """What the table of subsets shows.

    Attributes:
        metrics: their keys; empty leaves the table out.
        generators: the order of the rows; others follow by name.
        real_sources: the source of the real images that a generator is compared with, if it is not its own.
        window_size: how many generators in this order are a window of time; 0 leaves the table of windows out.
    """

    metrics: Sequence[str] = ()
    generators: Sequence[str] = ()
    real_sources: Mapping[str, str] = field(default_factory=dict)
    window_size: int = 0


def build_subset_table(evaluation: Evaluation, settings: SubsetSettings) -> Table:
    """Return the table: a row for each generator and detector, on the images of the first condition."""
    metrics = [metric for metric in METRICS if metric.key in settings.metrics]
    rows = [row for detector in evaluation.finished for row in _list_rows(evaluation, detector, metrics, settings)]
    names = [row.labels["Generator"] for row in rows]
    order = [*dict.fromkeys(name for name in names if name != MEAN_LABEL), MEAN_LABEL]
    return Table(
        key="subsets",
        title="Each generator with its own real images",
        labels=("Generator", "Detector"),
        columns=tuple(
            Column(key=metric.key, label=metric.label, chance=metric.chance, better=metric.better) for metric in metrics
        ),
        rows=tuple(sorted(rows, key=lambda row: order.index(row.labels["Generator"]))),
        note=f"{evaluation.conditions[0].title} images. The images of a generator and the real images of the same "
        "source, or all real images if its source has none. The mean counts each generator alike; its interval is a "
        "bootstrap of all their clusters together. A metric that is missing for one generator has no mean.",
    )


def select_subset(evaluation: Evaluation, generator: str, settings: SubsetSettings) -> Mask:
    """Return which images (N,) are of a generator, or are the real images that it is compared with."""
    sources, is_fake = evaluation.column("source"), evaluation.labels == 1
    is_generator = is_fake & (evaluation.column("generator") == generator)
    real_sources = {normalise_name(name): source for name, source in settings.real_sources.items()}
    source = real_sources.get(normalise_name(generator))
    chosen = [source] if source is not None else list(set(sources[is_generator]))
    is_real = ~is_fake & np.isin(sources.astype(str), [str(name) for name in chosen])
    mask: Mask = is_generator | (is_real if is_real.any() else ~is_fake)
    return mask


def list_generators(evaluation: Evaluation, settings: SubsetSettings) -> list[str]:
    """Return the generators of the evaluated images: first those of the protocol in its order, then others by name."""
    found = sorted({str(name) for name in evaluation.column("generator")[evaluation.labels == 1]})
    places = {normalise_name(name): place for place, name in enumerate(settings.generators)}
    return sorted(found, key=lambda name: places.get(normalise_name(name), len(places)))


def _list_rows(
    evaluation: Evaluation, detector: DetectorScores, metrics: Sequence[Metric], settings: SubsetSettings
) -> Iterator[Row]:
    """Yield a row for each generator, and one with the means if there are several."""
    condition = evaluation.conditions[0].name
    if condition not in detector.scores:
        return
    masks = []
    measured: list[Cells] = []
    for generator in list_generators(evaluation, settings):
        mask = select_subset(evaluation, generator, settings)
        images = evaluation.get_images(detector, condition, mask)
        if images is not None:
            masks.append(mask)
            measured.append(make_cells({metric.key: metric.measure(images) for metric in metrics}))
            yield Row(labels={"Generator": generator, "Detector": detector.name}, cells=measured[-1])
    if len(measured) > 1:
        means = {
            metric.key: measure_mean(evaluation, detector, metric, masks)
            for metric in metrics
            if all(metric.key in cells for cells in measured)
        }
        yield Row(labels={"Generator": MEAN_LABEL, "Detector": detector.name}, cells=make_cells(means))


def measure_mean(
    evaluation: Evaluation, detector: DetectorScores, metric: Metric, subsets: Sequence[Mask]
) -> Interval | None:
    """Return the mean of a metric over subsets (N,) of the images of the first condition.

    Its interval is a bootstrap of clusters, each draw of which gives every subset its images: what the subsets share,
    such as real images, varies in all of them at once. A draw that leaves a subset without a class does not count.
    Where the mean is 0 or 1 nothing varies: the interval is then the mean of those of the subsets.
    """
    condition = evaluation.conditions[0].name
    is_used = np.any(subsets, axis=0) & ~np.isnan(detector.scores[condition].values)
    images = evaluation.get_images(detector, condition, is_used)
    if images is None:
        return None
    members = [subset[is_used] for subset in subsets]

    def compute(drawn: Ints) -> float:
        rows = [drawn[is_member[drawn]] for is_member in members]
        return float(np.mean([metric.compute(images.select(each)) if len(each) else np.nan for each in rows]))

    value, low, high = (basic_bootstrap if metric.is_biased else bootstrap)(compute, images.clusters)
    if value in (0.0, 1.0):
        parts = [metric.measure(images.select(np.flatnonzero(is_member))) for is_member in members]
        low, high = (float(np.mean([getattr(each, end) for each in parts])) for end in ("low", "high"))
    return Interval(value, low, high, len(np.unique(images.clusters)), len(images.labels))

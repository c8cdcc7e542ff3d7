"""The table of windows of time: generators that were released one after the other, and all up to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from changeling.evaluation.evaluation import DetectorScores, Evaluation, Mask
from changeling.evaluation.measures import METRICS, Metric
from changeling.evaluation.protocols.expected_dataset import normalise_name
from changeling.evaluation.results.subsets import SubsetSettings, list_generators, select_subset
from changeling.evaluation.results.tables import Cells, make_cells
from changeling.results.result import Column, Row, Table

_GROUPS = {"window": "This window", "period": "Up to this window"}


@dataclass(frozen=True, slots=True)
class Window:
    """A window of time.

    Attributes:
        label: its number, its first and its last generator.
        masks: which images (N,) are of the window, and of the period from the first window to this one; by the keys of
            `_GROUPS`.
    """

    label: str
    masks: dict[str, Mask]


def build_window_table(evaluation: Evaluation, settings: SubsetSettings) -> Table:
    """Return the table: a row for each window and detector, on the images of the first condition."""
    metrics = [metric for metric in METRICS if metric.key in settings.metrics]
    windows = list_windows(evaluation, settings)
    return Table(
        key="windows",
        title="Each window of time",
        labels=("Window", "Detector"),
        columns=tuple(
            Column(
                key=f"{metric.key}_{key}", label=metric.label, group=group, chance=metric.chance, better=metric.better
            )
            for key, group in _GROUPS.items()
            for metric in metrics
        ),
        rows=tuple(row for window in windows for row in _list_rows(evaluation, window, metrics)),
        note=f"{evaluation.conditions[0].title} images of the generators of a window, all together, with their real "
        "images; and the same of all windows up to it. Of a detector that was trained up to a window, the next row has "
        "the next period (this window) and the whole period (up to this window), and its own row the past period (up "
        "to this window). Generators that are absent are left out.",
    )


def list_windows(evaluation: Evaluation, settings: SubsetSettings) -> list[Window]:
    """Return the windows of which at least one generator was evaluated, in order."""
    evaluated = list_generators(evaluation, settings)
    period: Mask = np.zeros(len(evaluation.rows), np.bool_)
    windows = []
    for start in range(0, len(settings.generators), settings.window_size):
        names = settings.generators[start : start + settings.window_size]
        normalised = set(map(normalise_name, names))
        found = [name for name in evaluated if normalise_name(name) in normalised]
        if found:
            mask: Mask = np.any([select_subset(evaluation, name, settings) for name in found], axis=0)
            period = period | mask
            label = f"{start // settings.window_size + 1}: {_describe_range(names)}"
            windows.append(Window(label, {"window": mask, "period": period}))
    return windows


def _describe_range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _list_rows(evaluation: Evaluation, window: Window, metrics: Sequence[Metric]) -> Iterator[Row]:
    """Yield a row for each detector that scored images of the window."""
    for detector in evaluation.finished:
        cells: Cells = {}
        for key, mask in window.masks.items():
            cells |= _measure_cells(evaluation, detector, mask, key, metrics)
        if cells:
            yield Row(labels={"Window": window.label, "Detector": detector.name}, cells=cells)


def _measure_cells(
    evaluation: Evaluation, detector: DetectorScores, mask: Mask, key: str, metrics: Sequence[Metric]
) -> Cells:
    images = evaluation.get_images(detector, evaluation.conditions[0].name, mask)
    if images is None:
        return {}
    return make_cells({f"{metric.key}_{key}": metric.measure(images) for metric in metrics})

"""The mean over generators, and its interval against a bootstrap that is written out by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from changeling.datasets.dataset import write_dataset
from changeling.datasets.schema import ImageRow
from changeling.evaluation.conditions import CLEAN
from changeling.evaluation.evaluation import DetectorScores, Evaluation
from changeling.evaluation.results.subsets import MEAN_LABEL, SubsetSettings, build_subset_table
from changeling.evaluation.scoring import Scores
from changeling.results.result import Estimate
from changeling.stats.metrics import Floats

GENERATORS = ("one", "two", "three")
Image = tuple[str | None, float]  # generator and score


def make_row(number: int, cluster: int, generator: str | None) -> ImageRow:
    role = "child" if generator else "parent"
    return ImageRow(f"i{number}", f"c{cluster}", role, f"{number}.png", "test", generator=generator)  # type: ignore[arg-type]


def evaluate_clusters(folder: Path, clusters: Sequence[Sequence[Image]]) -> Evaluation:
    """Return the evaluation of a detector on clusters of images."""
    rows: list[ImageRow] = []
    scores: list[float] = []
    for cluster, images in enumerate(clusters):
        for generator, score in images:
            rows.append(make_row(len(rows), cluster, generator))
            scores.append(score)
    values: Floats = np.array(scores)
    found = Scores(values, np.full(len(rows), None, dtype=object), [], 0.0, are_probabilities=True)
    dataset = write_dataset(folder / "dataset", rows)
    return Evaluation(dataset, np.arange(len(rows)), [CLEAN], [DetectorScores("d", {"clean": found})])


def find_mean(evaluation: Evaluation, metric: str) -> tuple[Estimate, list[Estimate]]:
    """Return the mean over generators, and the estimates that it is the mean of."""
    table = build_subset_table(evaluation, SubsetSettings((metric,), GENERATORS))
    assert table.rows[-1].labels["Generator"] == MEAN_LABEL
    return table.rows[-1].cells[metric], [row.cells[metric] for row in table.rows[:-1]]


def compute_mean_accuracy(images: Sequence[Image]) -> float:
    shares = []
    for name in GENERATORS:
        scores = [score for generator, score in images if generator == name]
        shares.append(sum(score > 0.5 for score in scores) / len(scores))
    return sum(shares) / len(shares)


def compute_mean_auroc(images: Sequence[Image]) -> float:
    real = [score for generator, score in images if generator is None]
    areas = []
    for name in GENERATORS:
        fake = [score for generator, score in images if generator == name]
        wins = sum((one > other) + 0.5 * (one == other) for one in fake for other in real)
        areas.append(wins / (len(fake) * len(real)))
    return sum(areas) / len(areas)


def draw_interval(
    clusters: Sequence[Sequence[Image]], compute: Callable[[Sequence[Image]], float]
) -> tuple[float, float]:
    """Return the middle 95 % of a statistic over clusters that are drawn with replacement."""
    generator = random.Random(7)
    values = []
    for _ in range(600):
        drawn = [image for cluster in generator.choices(clusters, k=len(clusters)) for image in cluster]
        values.append(compute(drawn))
    values.sort()
    return values[15], values[-16]


def make_clusters(count: int = 40, *, shared: bool) -> list[list[Image]]:
    """Return clusters of a real image and a fake of each generator, which are right or wrong together if shared."""
    draw = random.Random(3)
    clusters: list[list[Image]] = []
    for _ in range(count):
        common = draw.random()
        quantiles = [common if shared else draw.random() for _ in GENERATORS]
        fakes: list[Image] = [
            (name, 0.35 + 0.6 * quantile) for name, quantile in zip(GENERATORS, quantiles, strict=True)
        ]
        clusters.append([(None, 0.7 * draw.random()), *fakes])
    return clusters


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("metric", "compute"), [("accuracy_fake", compute_mean_accuracy), ("auroc", compute_mean_auroc)]
)
def test_the_interval_of_the_mean_is_that_of_a_bootstrap_of_clusters(
    metric: str, compute: Callable[[Sequence[Image]], float], shared: bool, tmp_path: Path
) -> None:
    clusters = make_clusters(shared=shared)
    mean, _ = find_mean(evaluate_clusters(tmp_path, clusters), metric)
    assert mean.value == pytest.approx(compute([image for cluster in clusters for image in cluster]))
    low, high = draw_interval(clusters, compute)
    assert mean.low == pytest.approx(low, abs=0.02)
    assert mean.high == pytest.approx(high, abs=0.02)


def test_errors_that_generators_share_do_not_average_out(tmp_path: Path) -> None:
    widths, expected = {}, {}
    for shared in (True, False):
        clusters = make_clusters(150, shared=shared)
        evaluation = evaluate_clusters(tmp_path / str(shared), clusters)
        mean, _ = find_mean(evaluation, "accuracy_fake")
        widths[shared] = mean.high - mean.low
        deviation = np.std([compute_mean_accuracy(images) for images in clusters])  # each has a fake of each generator
        expected[shared] = 2 * 1.96 * deviation / math.sqrt(len(clusters))
    assert widths == pytest.approx(expected, rel=0.12)
    assert widths[False] < 0.75 * widths[True]


def test_a_mean_without_an_error_is_as_uncertain_as_its_generators(tmp_path: Path) -> None:
    clusters: list[list[Image]] = [[(None, 0.1), *((name, 0.9) for name in GENERATORS)] for _ in range(12)]
    mean, others = find_mean(evaluate_clusters(tmp_path, clusters), "accuracy_fake")
    assert (mean.value, mean.high) == (1, 1)
    assert mean.low == pytest.approx(others[0].low)
    assert mean.low < 0.8

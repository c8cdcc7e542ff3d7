"""Compare verdicts by a faster graph of the bundled detector's backbone with those by the exported one.

    python benchmarks/compact.py DATASET [--runtime compact] [--images 600]

DATASET is the folder that scripts/train_detector.py wrote, with features by the exported graph. A sample of its images,
the same share of each source and at least one, is encoded by the compact or the quantized graph. Both features of an
image are scored by one head, which was trained without the image's source, cluster and generator, and labelled by the
thresholds of the bundled detector. Scores by the quantized graph that are near a threshold are those of the exported
graph, as with `detect --runtime quantized`. Printed are the AUROCs with the paired difference and its interval over
sources, changed labels with exact intervals, and, of all images, how near a held-out score lies to a threshold: labels
change only where the two graphs differ by more.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scripts.train_detector import EARLY_DIMS, GENERATOR_WEIGHTS

from changeling import engine
from changeling.backbones.compact import COMPACT, QUANTIZED, load_graph
from changeling.backbones.registry import Backbone
from changeling.datasets.dataset import Dataset
from changeling.detect.confirmation import MARGIN
from changeling.detect.cross_validation import split_folds
from changeling.detect.fitting import Projection, fit_logistic_regression
from changeling.detect.model import TrainedModel, load_model
from changeling.detect.training_set import ImageRows, TrainingFeatures, compute_sample_weights, read_rows
from changeling.features.parts import store_name
from changeling.features.store import load_features
from changeling.images.augmentations import CROPPED_AND_RESAVED
from changeling.images.decode import read_file
from changeling.progress import progress_bars
from changeling.stats import metrics
from changeling.stats.intervals import clopper_pearson
from changeling.stats.metrics import Floats, Ints

Matrix = NDArray[np.float32]
BATCH, RESAMPLES = 4, 500


def main() -> None:
    """Encode the sample, score it, and print the differences."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--runtime", choices=[COMPACT.name, QUANTIZED.name], default=COMPACT.name)
    parser.add_argument("--images", type=int, default=600)
    arguments = parser.parse_args()
    dataset, trained = Dataset(arguments.dataset), load_model()
    features, indices = load_training_features(dataset, trained.model.backbone)
    rows = read_rows(dataset, indices)
    sample = draw_sample(rows.sources, arguments.images)
    with progress_bars() as progress:
        kind = next(kind for kind in (COMPACT, QUANTIZED) if kind.name == arguments.runtime)
        backbone = load_graph(trained.model.backbone, kind, progress)
        faster = encode([str(dataset.resolve_path(path)) for path in dataset.column("path")[indices[sample]]], backbone)
    exact = features.images[sample]
    print(f"{len(sample)} images of {len(set(rows.sources[sample]))} sources")
    print(f"features differ by {np.abs(faster - exact).max() / np.abs(exact).max():.1e} of the largest value at most")
    some = rows.select(sample)
    print_differences("bundled head", trained, some, *map(trained.head.compute_scores, (exact, faster)))
    held_out, held_out_faster = score_held_out(features, rows, sample, faster, float(trained.model.settings["C"]))
    tested = np.isfinite(held_out_faster)
    some, pair = some.select(np.flatnonzero(tested)), (held_out[sample][tested], held_out_faster[tested])
    print_differences("held-out heads", trained, some, *pair)
    if kind == QUANTIZED:
        is_near = measure_distances(trained, pair[1]) < MARGIN / trained.model.slope
        print(f"{is_near.mean():.1%} of the held-out scores are near a threshold, and confirmed")
        print_differences("held-out heads, confirmed", trained, some, pair[0], np.where(is_near, *pair))
    print_margins(trained, held_out[np.isfinite(held_out)], np.abs(pair[0] - pair[1]).max())


def load_training_features(dataset: Dataset, backbone: str) -> tuple[TrainingFeatures, Ints]:
    """Return the stored features of all images that have them as they are and as copies, and the images' indices."""
    stored = [load_features(dataset, store_name(backbone, view)) for view in ("", CROPPED_AND_RESAVED.name)]
    indices = np.flatnonzero(np.all([features.valid for features in stored], axis=0))
    return TrainingFeatures(*(features.values[indices] for features in stored)), indices


def draw_sample(sources: NDArray[np.object_], count: int) -> Ints:
    """Return the sorted indices of about `count` images, the same share of each source, but at least one."""
    draw, chosen = np.random.default_rng(0), []
    for source in sorted(set(sources)):
        own = np.flatnonzero(sources == source)
        chosen.append(draw.choice(own, max(round(len(own) * count / len(sources)), 1), replace=False))
    return np.sort(np.concatenate(chosen))


def encode(paths: list[str], backbone: Backbone) -> Matrix:
    """Return the features (N, D) of image files."""

    def load(path: str) -> Matrix:
        pixels: Matrix = backbone.preprocessing(backbone.preprocessing.decode(read_file(path)).image)
        return pixels

    features = []
    for encoded in engine.encode(paths, load, backbone, batch_size=BATCH):
        if encoded.feature is None:
            raise SystemExit(f"{encoded.job}: {encoded.error}")
        features.append(encoded.feature)
    return np.stack(features)


def score_held_out(
    features: TrainingFeatures, rows: ImageRows, sample: Ints, faster: Matrix, c: float
) -> tuple[Floats, Floats]:
    """Return the held-out scores of all images by their stored features, and those of the sample by its other ones.

    An image that is in no fold has NaN.
    """
    projection = Projection.fit([features.images, features.copies], EARLY_DIMS, seed=0)
    projected, projected_faster = projection.transform_all(features), projection.transform(faster)
    weights = compute_sample_weights(rows, GENERATOR_WEIGHTS)
    scores, faster_scores = np.full(len(rows.labels), np.nan), np.full(len(sample), np.nan)
    for train, test in split_folds(rows, seed=0):
        weight, bias = fit_logistic_regression(
            projected.images[train], projected.copies[train], rows.select(train), weights[train], c
        )
        own = np.flatnonzero(np.isin(sample, test))
        scores[test] = projected.images[test] @ weight + bias
        faster_scores[own] = projected_faster[own] @ weight + bias
    return scores, faster_scores


def print_differences(title: str, trained: TrainedModel, rows: ImageRows, exact: Floats, faster: Floats) -> None:
    """Print how AUROC, probabilities and labels differ between two sets of scores (N,) of the same images."""
    labels, clusters = rows.labels, np.unique(rows.sources.astype(str), return_inverse=True)[1]

    def compute_difference(images: Ints) -> float:
        return metrics.auroc(labels[images], faster[images]) - metrics.auroc(labels[images], exact[images])

    difference, low, high = compute_difference(np.arange(len(labels))), *draw_interval(compute_difference, clusters)
    probabilities = [np.array([trained.convert_score(score) for score in scores]) for scores in (exact, faster)]
    pairs = list(zip(*([trained.choose_label(one) for one in some.tolist()] for some in probabilities), strict=True))
    print(f"{title}: {int((labels == 0).sum())} real, {int(labels.sum())} fake")
    print(f"  AUROC exact {metrics.auroc(labels, exact):.6f}, faster graph {metrics.auroc(labels, faster):.6f}")
    print(f"  difference {difference:+.1e} (95 % interval over sources {low:+.1e} to {high:+.1e})")
    print(f"  probabilities differ by {np.abs(probabilities[0] - probabilities[1]).max():.1e} at most")
    for what, is_counted in (
        ("labels changed", [one != other for one, other in pairs]),
        ("real became fake, or fake real", [{one, other} == {"real", "fake"} for one, other in pairs]),
    ):
        low, high = (100 * limit for limit in clopper_pearson(sum(is_counted), len(pairs)))
        print(f"  {what}: {sum(is_counted)} of {len(pairs)} (95 % interval {low:.2f} to {high:.2f} %)")


def draw_interval(statistic: Callable[[Ints], float], clusters: Ints) -> tuple[float, float]:
    """Return the 95 % interval of a difference: its percentiles over clusters that are drawn with replacement."""
    draw, members = np.random.default_rng(0), [np.flatnonzero(clusters == one) for one in range(clusters.max() + 1)]
    draws = [
        statistic(np.concatenate([members[one] for one in draw.integers(0, len(members), len(members))]))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def measure_distances(trained: TrainedModel, scores: Floats) -> Floats:
    """Return the distance (N,) of each score from the nearest threshold's."""
    model = trained.model
    thresholds = np.array([np.log(p / (1 - p)) for p in (model.real_below, model.fake_above)])
    distances: Floats = np.abs(scores[:, None] - (thresholds - model.bias) / model.slope).min(axis=1)
    return distances


def print_margins(trained: TrainedModel, scores: Floats, difference: float) -> None:
    """Print how near held-out scores lie to a threshold, in units of the largest difference of a score."""
    distances = measure_distances(trained, scores)
    print(
        f"{len(scores)} held-out scores: the nearest to a threshold is {distances.min():.1e} away, "
        f"{distances.min() / difference:.0f} times the largest difference of a score ({difference:.1e}); "
        f"{int((distances <= difference).sum())} are within it"
    )


if __name__ == "__main__":
    main()

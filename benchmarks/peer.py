"""Compare the bundled detector with that of another package, on images that its head was not trained on.

    python benchmarks/peer.py DATASET [--every 4]

DATASET is the folder that scripts/train_detector.py wrote. The scores of changeling are held-out scores, by heads
trained without the source and the generators of each image, with the bundled detector's C. The other scores are those
of `sahu65==1.1.0` with its defaults; it must be installed, in an environment of its own, because it needs older
versions of some packages. Both detectors are compared on every fourth image, as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scripts.train_detector import EARLY_DIMS, GENERATOR_WEIGHTS, OLD_GENERATORS

from changeling.backbones import registry
from changeling.datasets.dataset import Dataset
from changeling.detect.cross_validation import compute_held_out_scores, split_folds
from changeling.detect.fitting import Projection
from changeling.detect.model import load_model
from changeling.detect.training_set import compute_sample_weights, extract_training_features, read_rows
from changeling.progress import progress_bars
from changeling.stats import metrics
from changeling.stats.intervals import auroc_interval, bootstrap


def main() -> None:
    """Compute the scores of both detectors and print their metrics."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--every", type=int, default=4)
    arguments = parser.parse_args()
    dataset = Dataset(arguments.dataset)
    indices, scores = score_held_out(dataset)
    chosen = np.arange(0, len(indices), arguments.every)
    rows = indices[chosen]
    peer_scores = score_with_peer([str(dataset.resolve_path(path)) for path in dataset.column("path")[rows]])
    labels, clusters = dataset.labels[rows], dataset.clusters[rows]
    is_recent = (labels == 0) | ~np.isin(dataset.column("generator")[rows], OLD_GENERATORS)
    for title, mask in (("all", np.ones(len(chosen), bool)), ("recent generators", is_recent)):
        print(f"{title}: {int((labels[mask] == 0).sum())} real, {int(labels[mask].sum())} fake")
        for name, some_scores in (("changeling", scores[chosen]), ("sahu65", peer_scores)):
            print(f"  {name:12}", format_metrics(labels[mask], some_scores[mask], clusters[mask]))


def score_held_out(dataset: Dataset) -> tuple[metrics.Ints, metrics.Floats]:
    """Return the indices of the images with features, and their held-out scores."""
    model = load_model().model
    with progress_bars() as progress:
        features, indices = extract_training_features(dataset, registry.load_backbone(model.backbone), progress)
    rows = read_rows(dataset, indices)
    projection = Projection.fit([features.images, features.copies], EARLY_DIMS, seed=0)
    weights = compute_sample_weights(rows, GENERATOR_WEIGHTS)
    folds, c = list(split_folds(rows, seed=0)), float(model.settings["C"])
    return indices, compute_held_out_scores(projection.transform_all(features), rows, weights, folds, c).images


def score_with_peer(paths: list[str]) -> metrics.Floats:
    """Return the probabilities that the other package gives."""
    import sahu65  # type: ignore[import-not-found, unused-ignore]

    return np.array([sahu65.detect(path).detector_probability for path in paths])


def format_metrics(labels: metrics.Ints, scores: metrics.Floats, clusters: metrics.Ints) -> str:
    """Return AUROC and the TPR at 5 % and 1 % FPR, with their intervals, as text."""
    auroc = auroc_interval(labels, scores, clusters)  # by its effective sample size, which also holds near 1
    parts = [f"AUROC {auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f})"]
    for percent in (5, 1):

        def compute_tpr(rows: metrics.Ints, false_positive_rate: float = percent / 100) -> float:
            return metrics.true_positive_rate(labels[rows], scores[rows], false_positive_rate)

        value, low, high = bootstrap(compute_tpr, clusters)
        parts.append(f"TPR at {percent} % FPR {value:.3f} ({low:.3f} to {high:.3f})")
    return ", ".join(parts)


if __name__ == "__main__":
    main()

"""How well does the bundled detector do beside the peer's, on images that its head did not see.

    python benchmarks/peer.py DATASET [--every 4]

DATASET is the folder that scripts/train_detector.py made. Ours are held-out scores: by heads that saw no image of the
source and no fake by its generators, with the bundled detector's C. The peer's are those of `sahu65==1.1.0` as it
comes, which must be installed (it wants older versions of some packages: give it an environment of its own). Both are
judged on every fourth image, as it is.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from scripts.train_detector import EARLY, OLD

from changeling.backbones import registry
from changeling.datasets.dataset import Dataset
from changeling.detect import train
from changeling.detect.held_out import Rows, splits
from changeling.detect.model import load_model
from changeling.progress import bars
from changeling.stats import metrics
from changeling.stats.intervals import bootstrap


def main() -> None:
    """Score, judge and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--every", type=int, default=4)
    arguments = parser.parse_args()
    dataset = Dataset(arguments.dataset)
    kept, ours = held_out(dataset)
    chosen = np.arange(0, len(kept), arguments.every)
    peers = peer([str(dataset.resolve_path(path)) for path in dataset.column("path")[kept[chosen]]])
    labels, clusters = dataset.labels[kept[chosen]], dataset.clusters[kept[chosen]]
    recent = (labels == 0) | ~np.isin(dataset.column("generator")[kept[chosen]], OLD)
    for title, mask in (("all", np.ones(len(chosen), bool)), ("recent generators", recent)):
        print(f"{title}: {int((labels[mask] == 0).sum())} real, {int(labels[mask].sum())} fake")
        for name, scores in (("changeling", ours[chosen]), ("sahu65", peers)):
            print(f"  {name:12}", judged(labels[mask], scores[mask], clusters[mask]))


def held_out(dataset: Dataset) -> tuple[metrics.Ints, metrics.Floats]:
    """Rows with features, and their held-out scores."""
    model = load_model().model
    with bars() as progress:
        images, views, _, kept = train._features(dataset, registry.load_backbone(model.backbone), progress)
    rows = Rows.of(dataset, kept)
    basis = train.Basis.of([images, views], EARLY, 0)
    z, z_views = basis(images), basis(views)
    weights = train.balance(rows, dict.fromkeys(OLD, 0.3))
    scores = np.full(len(kept), np.nan)
    for inside, outside in splits(rows, 0):
        fitted = train.fit(z[inside], z_views[inside], rows.take(inside), weights[inside], float(model.settings["C"]))
        scores[outside] = z[outside] @ fitted[0] + fitted[1]
    return kept, scores


def peer(paths: list[str]) -> metrics.Floats:
    """The peer's probabilities."""
    import sahu65  # type: ignore[import-not-found, unused-ignore]

    return np.array([sahu65.detect(path).detector_probability for path in paths])


def judged(labels: metrics.Ints, scores: metrics.Floats, clusters: metrics.Ints) -> str:
    """AUROC and the shares found at 5 % and 1 % false alarms, with intervals."""
    parts = []
    for name, statistic in (
        ("AUROC", metrics.auroc),
        ("found at 5 %", partial(metrics.true_positive_rate, false_positive_rate=0.05)),
        ("found at 1 %", partial(metrics.true_positive_rate, false_positive_rate=0.01)),
    ):
        value, low, high = bootstrap(lambda i, s=statistic: s(labels[i], scores[i]), clusters)  # type: ignore[misc]
        parts.append(f"{name} {value:.3f} ({low:.3f} to {high:.3f})")
    return ", ".join(parts)


if __name__ == "__main__":
    main()

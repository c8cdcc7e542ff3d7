"""How often `confounds` says that files reveal the class where the labels were drawn at random.

    python benchmarks/false_alarms.py DATASET [--labellings 200]

Only parents of DATASET are used: each becomes a cluster of its own, and is called real or fake by a coin. A false alarm
is an AUROC whose 95 % interval lies above 50 %, as it should in 2.5 % of the labellings.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import track

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow, Role, Split
from changeling.experiments import confounds
from changeling.experiments.base import Context
from changeling.stats.intervals import clopper_pearson


def label_at_random(dataset: Dataset, folder: Path, seed: int) -> Dataset:
    """Write a dataset of the parents of another, with random roles, half to train on and half to test on."""
    draw = np.random.default_rng(seed)
    rows = []
    for number, row in enumerate(dataset.images.filter(dataset.labels == 0).to_pylist()):
        is_fake, is_test = draw.random(2) < 0.5
        role: Role = "child" if is_fake else "parent"
        split: Split = "test" if is_test else "train"
        image = ImageRow(**row | {"path": str(dataset.resolve_path(row["path"]).absolute())})
        generator = "coin" if is_fake else None
        rows.append(replace(image, cluster_id=str(number), role=role, split=split, generator=generator))
    return write_dataset(folder, rows, [])


def find_alarms(dataset: Dataset) -> dict[str, bool]:
    """Return for each group of file features whether its AUROC has an interval above 50 %."""
    result = confounds.run(Context(dataset, backbones=()), confounds.ConfoundsSettings())
    return {row.labels["Facts"]: row.cells["test_auroc"].low > 0.5 for row in result.tables[0].rows}


def main() -> None:
    """Print the share of false alarms for each group of file features."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--labellings", type=int, default=200)
    arguments = parser.parse_args()
    dataset = Dataset(arguments.dataset)
    alarms: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in track(range(arguments.labellings)):
            labelled = label_at_random(dataset, Path(folder) / str(seed), seed)
            alarms.update(find_alarms(labelled))
    print(f"{len(labelled)} photographs, {arguments.labellings} random labellings; share of false alarms")
    for name, count in alarms.items():
        low, high = clopper_pearson(count, arguments.labellings)
        print(f"{name:28} {100 * count / arguments.labellings:5.1f} %  ({100 * low:.1f} to {100 * high:.1f})")


if __name__ == "__main__":
    main()

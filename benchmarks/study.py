"""Measure the time and peak memory of each experiment at the size of the paper's dataset.

    python benchmarks/study.py FOLDER [EXPERIMENT ...] [--parents 113287]

Synthetic features, 512-d, of 113,287 / 5,000 / 5,000 clusters of six with five captions each, are written to FOLDER
(2.5 GB) unless they exist. Each experiment runs in a process of its own; its wall time and peak memory are printed.
`speed` prints the time of retrieval relative to the matrix product alone, beside the exact search of faiss for the ten
nearest captions if that is installed (which gives R@10 at most, and no ranks); and the time of a training step relative
to the same step with the two losses of pytorch-metric-learning.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from changeling.backbones.registry import TextBackbone
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow, Split
from changeling.experiments.projections import CHECKPOINTS, select_training_clusters
from changeling.experiments.registry import EXPERIMENTS
from changeling.features.captions import extract_captions
from changeling.features.parts import PART_SIZE, FeatureHeader, feature_parts
from changeling.features.store import load_features
from changeling.stats.contrastive import AdamW, contrastive_loss_difference
from changeling.stats.retrieval import BLOCK_SIZE, retrieval_ranks
from changeling.stats.vectors import l2_normalize
from changeling.studies.runner import run_experiments
from changeling.studies.settings import Study

DIM, CHILDREN, ROUNDS = 512, 5, 5
BACKBONE = "planted"
NEED_IMAGES = ("gallery", "confounds", "robustness")
DEFAULT_EXPERIMENTS = [name for name in EXPERIMENTS if name not in NEED_IMAGES]


def main() -> None:
    """Make the dataset if it does not exist, and measure the given experiments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parents", type=int, default=113_287)
    parser.add_argument("experiments", nargs="*", default=[*DEFAULT_EXPERIMENTS, "speed"])
    arguments = parser.parse_args()
    if not (arguments.folder / "images.parquet").exists():
        make(arguments.folder, arguments.parents)
    for name in arguments.experiments:
        what = "" if name == "speed" else f"{name!r}, "
        script = f"import benchmarks.study as s; s.{'measure' if what else 'speed'}({what}{str(arguments.folder)!r})"
        subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[1])


def make(folder: Path, parents: int) -> None:
    """Write clusters whose features are the sum of semantics, caption, style and noise."""
    rows: list[ImageRow] = []
    captions: list[CaptionRow] = []
    counts: dict[Split, int] = {"train": parents, "val": 5_000, "test": 5_000}
    for cluster, split in enumerate(split for split, count in counts.items() for _ in range(count)):
        name = f"c{cluster}"
        captions += [CaptionRow(name, i, f"{cluster} {i}") for i in range(CHILDREN)]
        rows.append(ImageRow(f"{name}-p", name, "parent", f"{name}-p", split, sha256=f"{name}-p"))
        rows += [
            ImageRow(f"{name}-{i}", name, "child", f"{name}-{i}", split, "", i, "planted", sha256=f"{name}-{i}")
            for i in range(CHILDREN)
        ]
    dataset = write_dataset(folder, rows, captions)
    draw = np.random.default_rng(0)
    style = draw.normal(size=DIM).astype(np.float32) / 8
    meanings = draw.normal(size=(len(captions), DIM)).astype(np.float32)
    meanings += np.repeat(draw.normal(size=(len(captions) // CHILDREN, DIM)).astype(np.float32), CHILDREN, axis=0)
    means = meanings.reshape(-1, CHILDREN, DIM).mean(axis=1)
    own = np.nan_to_num(dataset.column("caption_index").astype(np.float64)).astype(np.int64)
    parts = feature_parts(dataset, BACKBONE)
    for index in parts.indices:
        start, stop = parts.row_range(index)
        some = slice(start, stop)
        child, place = dataset.labels[some, None], dataset.clusters[some]
        values = np.where(child, meanings[place * CHILDREN + own[some]], means[place])
        values = values + 3 * draw.normal(size=values.shape).astype(np.float32) + child * style
        header = FeatureHeader(
            backbone=BACKBONE,
            weights="w",
            preprocessing="p",
            rows=(start, stop),
            images=dataset.hash_rows(PART_SIZE)[index],
        )
        parts.write(index, header, values)

    class Text:
        name, weights = BACKBONE, "w"

        def encode_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
            places = [[int(part) for part in text.split()] for text in captions]
            return meanings[[cluster * CHILDREN + i for cluster, i in places]]

    extract_captions(dataset, cast(TextBackbone, Text()))


def measure(name: str, folder: str) -> None:
    """Run an experiment in this process, and print its time and memory."""
    dataset = Dataset(Path(folder))
    study = Study(experiments=(name,), backbones=(BACKBONE,))
    began = time.perf_counter()
    (result,) = run_experiments(dataset, study, projections=Path(folder) / CHECKPOINTS)
    seconds = time.perf_counter() - began
    # not ru_maxrss, which starts at that of the process that this one was forked from
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20
    print(f"{name:12} {seconds:7.1f} s  {peak:5.2f} GiB  {result.summary[:140]}", flush=True)


def speed(folder: str) -> None:
    """Compare the two most expensive computations with their baselines."""
    retrieval_speed()
    step_speed(Dataset(Path(folder)))


def retrieval_speed() -> None:
    """Measure exact ranks of 25,000 children among 25,000 captions, against the matrix product alone."""
    draw = np.random.default_rng(0)
    queries, gallery = (draw.normal(size=(25_000, DIM)).astype(np.float32) for _ in range(2))
    own, clusters = np.arange(25_000), np.arange(25_000) // CHILDREN
    across = np.ascontiguousarray(gallery.T)

    def bare(size: int) -> Callable[[], object]:
        out = np.empty((size, 25_000), np.float32)
        blocks = [queries[start : start + size] for start in range(0, 25_000, size)]
        return lambda: [np.matmul(block, across, out=out[: len(block)]) for block in blocks]

    contenders: dict[str, Callable[[], object]] = {
        "bare product, blocks of 1024": bare(1024),
        f"bare product, blocks of {BLOCK_SIZE}": bare(BLOCK_SIZE),
        "retrieval": lambda: retrieval_ranks(queries, gallery, own, clusters),
    }
    if importlib.util.find_spec("faiss"):
        import faiss  # type: ignore[import-not-found, import-untyped, unused-ignore]

        index = faiss.IndexFlatIP(DIM)
        index.add(gallery)
        contenders["faiss, the ten nearest"] = lambda: index.search(queries, 10)
    compare(contenders)


def step_speed(dataset: Dataset) -> None:
    """Measure a step of T on 170 clusters, against the two losses of pytorch-metric-learning and AdamW of torch."""
    import torch
    from pytorch_metric_learning.losses import SupConLoss

    features = load_features(dataset, BACKBONE)
    rows, starts = select_training_clusters(dataset, features.valid, BACKBONE)
    batch = rows[: starts[170]]
    x, labels, clusters = features.values[batch], dataset.labels[batch], dataset.clusters[batch]
    weight = (np.random.default_rng(0).normal(size=(DIM, DIM)) / 30).astype(np.float32)
    ours, optimizer = weight.copy(), AdamW((DIM, DIM), lr=1e-3, weight_decay=0.01)

    def step() -> None:
        for _ in range(20):
            projected, lengths = l2_normalize(x @ ours.T)
            _, gradient = contrastive_loss_difference(projected, labels, clusters, 0.1)
            gradient = (gradient - projected * (projected * gradient).sum(axis=1, keepdims=True)) / lengths
            optimizer.step(ours, (gradient.T @ x).astype(np.float32))

    theirs = torch.nn.Parameter(torch.tensor(weight))
    adamw, loss = torch.optim.AdamW([theirs], lr=1e-3, weight_decay=0.01), SupConLoss(temperature=0.1)
    tensors = torch.tensor(x), torch.tensor(labels), torch.tensor(clusters)

    def peer() -> None:
        for _ in range(20):
            adamw.zero_grad()
            out = torch.nn.functional.normalize(tensors[0] @ theirs.T)
            (loss(out, tensors[1]) - loss(out, tensors[2])).backward()
            adamw.step()

    compare({"20 steps, pytorch-metric-learning": peer, "20 steps, ours": step})


def compare(contenders: dict[str, Callable[[], object]]) -> None:
    """Run the contenders in turns, and print medians and ratios to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for work in contenders.values():
        work()
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    base = next(iter(contenders))
    for name, taken in seconds.items():
        ratios = [a / b for a, b in zip(taken, seconds[base], strict=True)]
        print(f"{name:40} {statistics.median(taken):7.3f} s   {statistics.median(ratios):.2f} times {base}", flush=True)


if __name__ == "__main__":
    main()

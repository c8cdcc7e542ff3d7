"""How well a classifier that sees only the file, not the picture, tells real from fake.

Boosted trees are trained on format, size, JPEG tables, subsampling, bytes per pixel, metadata and Huffman tables: on
all of them, and on each group alone (coding: progressive mode, scans and Huffman tables). No pixel is decoded. The
AUROC is 50 % if the files carry no trace of the class. If it is high, a detector that is trained on these files may
score high for the wrong reason; [build.md](build.md) explains how children are saved like their parents. At most 5,000
random clusters per split are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.experiments.base import GIB, Context, Cost, Experiment, Machine, Settings
from changeling.experiments.file_classifier import (
    LEAVES,
    MIN_LEAF_FILES,
    TREES,
    FileFeatures,
    build_trees,
    read_rows,
)
from changeling.experiments.reporting import describe_dataset, list_versions, make_estimate
from changeling.experiments.selection import (
    has_both_classes,
    list_generators,
    renumber_clusters,
    select_rows,
)
from changeling.images.file_features import FILE_FEATURE_GROUPS, FILE_FEATURES
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Column, Result, Row, Table
from changeling.stats.intervals import auroc_interval

MAX_CLUSTERS = 5000  # per split; more would take an hour and change little
_ALL, _BYTES_PER_PIXEL = "all facts", "bytes per pixel"  # labels of rows


class ConfoundsSettings(Settings):
    """The experiment has no settings."""


def run(context: Context, settings: ConfoundsSettings) -> Result:
    """Train boosted trees on the file features of the train split, and evaluate them on the test split.

    One classifier sees all file features, one all except bytes per pixel, and one each group alone.

    Raises:
        DatasetError: no image file exists, or a split lacks real or fake images.
    """
    check(context, settings)
    dataset = context.dataset
    rows = sample_rows(dataset, context.seed)
    file_features, is_read = read_rows(dataset, rows, context.progress)
    unread = int((~is_read).sum())
    rows, file_features = rows[is_read], file_features[is_read]
    valid = np.zeros(len(dataset), dtype=np.bool_)
    valid[rows] = True
    is_train = dataset.column("split")[rows] == "train"
    _check_classes(dataset, rows, is_train)
    scores = _train_and_score(dataset, rows, file_features, is_train, context.seed)
    table = _build_table(list(_evaluate(dataset, valid, scores)))
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        summary=_summarise(table.rows),
        settings={
            "classifier": f"{TREES} gradient-boosted trees of {LEAVES} leaves, at least {MIN_LEAF_FILES} files each",
            "class weight": "balanced: real and fake images have the same total weight",
            "facts": len(FILE_FEATURES),
            "clusters at the most, a split": MAX_CLUSTERS,
            "training images": int(is_train.sum()),
            "seed": context.seed,
        },
        tables=(table,),
        dataset=describe_dataset(dataset),
        versions=list_versions(),
        notes=_list_notes(unread),
    )


def check(context: Context, settings: ConfoundsSettings) -> None:
    """Raise DatasetError if no image file exists."""
    dataset = context.dataset
    paths = dataset.column("path")[sample_rows(dataset, context.seed)]
    if not any(dataset.resolve_path(path).is_file() for path in paths):
        raise DatasetError(f"{dataset.path}: the image files do not exist")


def cost(context: Context, settings: ConfoundsSettings, machine: Machine) -> Cost:
    """Return the estimated cost: 60,000 files take half a minute to read, and a minute for trees and intervals."""
    files = len(sample_rows(context.dataset, context.seed))
    return Cost(2 + 1.5e-3 * files, 0.3 * GIB + 2e3 * files, input=f"{files:,} image files")


def sample_rows(dataset: Dataset, seed: int) -> NDArray[np.int64]:
    """Return the readable rows of the train and test splits, of at most MAX_CLUSTERS random clusters each."""
    is_readable = dataset.column("status") == "ok"
    rng = np.random.default_rng(seed)
    sampled = []
    for split in ("train", "test"):
        rows = np.flatnonzero(is_readable & (dataset.column("split") == split))
        clusters = rng.permutation(np.unique(dataset.clusters[rows]))[:MAX_CLUSTERS]
        sampled.append(rows[np.isin(dataset.clusters[rows], clusters)])
    return np.concatenate(sampled)


def _check_classes(dataset: Dataset, rows: NDArray[np.int64], is_train: NDArray[np.bool_]) -> None:
    """Raise DatasetError if a split lacks real or fake images."""
    for name, mask in (("train", is_train), ("test", ~is_train)):
        if not has_both_classes(dataset.labels[rows[mask]]):
            raise DatasetError(f"{dataset.path}: the {name} split needs real and fake images whose files can be read")


def _train_and_score(
    dataset: Dataset,
    rows: NDArray[np.int64],
    file_features: FileFeatures,
    is_train: NDArray[np.bool_],
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Return the scores (len(dataset),) of each classifier on the test rows, NaN elsewhere."""
    labels = dataset.labels[rows]
    scores: dict[str, NDArray[np.float64]] = {}
    for name, columns in _group_columns().items():
        with threadpool_limits(1):  # more threads wait for each other on a busy machine
            trees = build_trees(seed).fit(file_features[is_train][:, columns], labels[is_train])
        scores[name] = np.full(len(dataset), np.nan)
        scores[name][rows[~is_train]] = trees.decision_function(file_features[~is_train][:, columns])
    return scores


def _group_columns() -> dict[str, list[int]]:
    """Return the columns of the file features that each classifier sees."""
    groups = {name: [FILE_FEATURES.index(feature) for feature in group] for name, group in FILE_FEATURE_GROUPS.items()}
    others = [column for name, columns in groups.items() if name != _BYTES_PER_PIXEL for column in columns]
    return {_ALL: list(range(len(FILE_FEATURES))), f"all but {_BYTES_PER_PIXEL}": others} | groups


def _evaluate(dataset: Dataset, valid: NDArray[np.bool_], scores: dict[str, NDArray[np.float64]]) -> Iterator[Row]:
    for generator in list_generators(dataset):
        rows = select_rows(dataset, valid, generator, "test")
        labels, clusters = dataset.labels[rows], renumber_clusters(dataset.clusters[rows])
        if has_both_classes(labels):
            for name, values in scores.items():
                auroc = make_estimate(auroc_interval(labels, values[rows], clusters))
                yield Row(labels={"Generator": generator, "Facts": name}, cells={"test_auroc": auroc})


def _build_table(rows: Sequence[Row]) -> Table:
    return Table(
        key="confounds",
        title="A classifier that sees only the file",
        labels=("Generator", "Facts"),
        columns=(Column(key="test_auroc", label="AUROC", group="Test", chance=0.5, better="none"),),
        rows=tuple(rows),
        note="AUROC: probability that the file of a fake image scores higher than that of a real one, for a classifier "
        "on all file features, on all except bytes per pixel (which also depends on the picture), and on each group "
        "alone. Tables: JPEG quantisation tables. Coding: progressive mode, scans, Huffman tables. A file that is not "
        "a JPEG has no tables and no subsampling, so these groups also reveal the format.",
    )


def _summarise(rows: Sequence[Row]) -> str:
    """Summarise the first generator's rows: those of `all` if there are several generators."""
    first = [row for row in rows if row.labels["Generator"] == rows[0].labels["Generator"]]
    everything, without_bytes, *groups = (row.cells["test_auroc"] for row in first)
    summary = (
        f"A classifier that sees only the file, not the picture, has an AUROC of {format_percent(everything.value)} on "
        f"{format_count(everything.images, 'test image', 'test images')} (95 % interval "
        f"{format_interval(everything)})"
    )
    if everything.low <= 0.5:
        return f"{summary}: no better than chance."
    if without_bytes.low <= 0.5:
        return (
            f"{summary}, but without {_BYTES_PER_PIXEL}, which also depends on the picture, "
            f"{format_percent(without_bytes.value)} ({format_interval(without_bytes)}): no better than chance."
        )
    highest = max(group.value for group in groups)
    best = [row.labels["Facts"] for row, group in zip(first[2:], groups, strict=True) if group.value == highest]
    return (
        f"{summary}: part of the accuracy of a detector on these images may come from the files. Of the single groups, "
        f"{_join_names(best)} {'has' if len(best) == 1 else 'have'} the highest AUROC, {format_percent(highest)}."
    )


def _join_names(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _list_notes(unread: int) -> tuple[str, ...]:
    note = "Bytes per pixel also depends on the picture: a smooth picture needs fewer."
    if not unread:
        return (note,)
    return note, f"Excluded because the file cannot be read: {format_count(unread, 'image', 'images')}."


EXPERIMENT = Experiment(
    name="confounds",
    title="What do the files reveal without the picture?",
    paper="",
    settings=ConfoundsSettings,
    check=check,
    run=run,
    cost=cost,
)

"""What a classifier scores that sees only the file, never the picture: how far a file gives its class away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from changeling.datasets.dataset import Dataset
from changeling.engine import decoders
from changeling.errors import DatasetError, ImageError
from changeling.experiments import base
from changeling.experiments.base import Context
from changeling.images.decode import read_file
from changeling.images.file_features import FILE_FEATURE_GROUPS, FILE_FEATURES, read_file_features
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Column, Result, Row, Table
from changeling.stats.intervals import RESAMPLES, auroc_interval

TITLE, PAPER = "What does the file give away, without the picture?", ""
CLUSTERS = 5000  # that are looked at of a split: more would tell no more, and take an hour
ROUNDS, LEAVES, IN_A_LEAF = 100, 15, 5  # of the boosted trees
_AT_ONCE = 1024  # files that wait to be read
_TOGETHER, _BYTES = "all facts", "bytes per pixel"  # the rows of them
Facts = NDArray[np.float32]


def run(context: Context) -> Result:
    """Train boosted trees on the file facts of the train split, and judge them on those of the test split.

    Once on all facts, once on all but bytes per pixel, and once on each group of them alone. No picture is decoded.

    Raises:
        DatasetError: the files are not there, or a split lacks real or fake images.
    """
    check(context)
    dataset = context.dataset
    rows = chosen(dataset, context.seed)
    facts, read = _read(context, rows)
    valid = np.zeros(len(dataset), dtype=np.bool_)
    valid[rows[read]] = True
    rows, facts = rows[read], facts[read]
    train, test = (dataset.column("split")[rows] == split for split in ("train", "test"))
    labels = dataset.labels[rows]
    for name, mask in (("train", train), ("test", test)):
        if len(set(labels[mask])) < 2:
            raise DatasetError(f"{dataset.path}: the {name} split needs real and fake images whose files can be read")
    scores: dict[str, NDArray[np.float64]] = {}
    for name, places in _groups().items():
        with threadpool_limits(1):  # on a busy machine many would wait for each other
            trees = _trees(context.seed).fit(facts[train][:, places], labels[train])
        scores[name] = np.full(len(dataset), np.nan)
        scores[name][rows[test]] = trees.decision_function(facts[test][:, places])
    table = _table(list(_rows(dataset, valid, scores, context.seed)))
    return Result(
        experiment="confounds",
        title=TITLE,
        summary=_summary(table.rows),
        settings={
            "classifier": f"gradient-boosted trees: {ROUNDS} of {LEAVES} leaves, at least {IN_A_LEAF} files in each",
            "class weight": "balanced: real and fake images count the same in all",
            "facts": len(FILE_FEATURES),
            "clusters at the most, a split": CLUSTERS,
            "training images": int(train.sum()),
            "resamples": RESAMPLES,
            "seed": context.seed,
        },
        tables=(table,),
        dataset=base.about(dataset),
        versions=base.versions(),
        notes=_notes(int((~read).sum())),
    )


def check(context: Context) -> None:
    """Raise DatasetError if none of the image files is there."""
    dataset = context.dataset
    paths = dataset.column("path")[chosen(dataset, context.seed)]
    if not any(dataset.resolve_path(path).is_file() for path in paths):
        raise DatasetError(f"{dataset.path}: the image files are not there")


def chosen(dataset: Dataset, seed: int) -> NDArray[np.int64]:
    """Rows of the train and test splits that were read when they were imported: all, or those of some clusters."""
    ok = dataset.column("status") == "ok"
    draw = np.random.default_rng(seed)
    kept = []
    for split in ("train", "test"):
        rows = np.flatnonzero(ok & (dataset.column("split") == split))
        clusters = draw.permutation(np.unique(dataset.clusters[rows]))[:CLUSTERS]
        kept.append(rows[np.isin(dataset.clusters[rows], clusters)])
    return np.concatenate(kept)


def _read(context: Context, rows: NDArray[np.int64]) -> tuple[Facts, NDArray[np.bool_]]:
    """The facts of each row's file (N, len(FILE_FEATURES)), and whether it could be read (N,)."""
    paths = context.dataset.column("path")
    facts, read = np.zeros((len(rows), len(FILE_FEATURES)), np.float32), np.zeros(len(rows), dtype=np.bool_)

    def look(place: int) -> None:
        try:
            facts[place] = read_file_features(read_file(context.dataset.resolve_path(paths[rows[place]])))
            read[place] = True
        except ImageError:  # gone or broken since the import: `audit` tells
            pass

    with ThreadPoolExecutor(decoders()) as pool:
        for start in range(0, len(rows), _AT_ONCE):
            stop = min(start + _AT_ONCE, len(rows))
            list(pool.map(look, range(start, stop)))
            context.progress("confounds", stop, len(rows))
    return facts, read


def _groups() -> dict[str, list[int]]:
    """Which facts each classifier sees: all, or those of one group."""
    places = {name: [FILE_FEATURES.index(fact) for fact in facts] for name, facts in FILE_FEATURE_GROUPS.items()}
    others = [place for name, some in places.items() if name != _BYTES for place in some]
    return {_TOGETHER: list(range(len(FILE_FEATURES))), f"all but {_BYTES}": others} | places


def _trees(seed: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        max_iter=ROUNDS,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=IN_A_LEAF,
        early_stopping=False,
        class_weight="balanced",
        random_state=seed,
    )


def _rows(
    dataset: Dataset, valid: NDArray[np.bool_], scores: dict[str, NDArray[np.float64]], seed: int
) -> Iterator[Row]:
    for generator in base.generators(dataset):
        mine = base.select(dataset, valid, generator, "test")
        labels, clusters = dataset.labels[mine], base.compact(dataset.clusters[mine])
        if len(set(labels)) == 2:
            for name, values in scores.items():
                auroc = base.estimate(auroc_interval(labels, values[mine], clusters, seed=seed))
                yield Row(labels={"Generator": generator, "Facts": name}, cells={"test_auroc": auroc})


def _table(rows: Sequence[Row]) -> Table:
    return Table(
        key="confounds",
        title="A classifier that sees only the file",
        labels=("Generator", "Facts"),
        columns=(Column(key="test_auroc", label="AUROC", group="Test", chance=0.5, better="none"),),
        rows=tuple(rows),
        note="AUROC: how often a fake image's file scores higher than a real one's, by all facts together, by all but "
        "bytes per pixel, which are the picture's as well, and by each group of them alone. Tables: those of JPEG's "
        "quantisation. Coding: progressive, scans, Huffman tables. A file that is no JPEG has no tables and no "
        "subsampling, so these know the format, too.",
    )


def _summary(rows: Sequence[Row]) -> str:
    """Of the first generator, which is `all` where there are several."""
    first = [row for row in rows if row.labels["Generator"] == rows[0].labels["Generator"]]
    together, without, *groups = (row.cells["test_auroc"] for row in first)
    said = (
        f"A classifier that sees only the file, never the picture, has an AUROC of {format_percent(together.value)} on "
        f"{format_count(together.images, 'test image', 'test images')} (95 % interval "
        f"{format_interval(together)})"
    )
    if together.low <= 0.5:
        return f"{said}: no better than guessing."
    best = max(range(len(groups)), key=lambda place: groups[place].value)
    most = f"{first[2 + best].labels['Facts']} tells most, with {format_percent(groups[best].value)}"
    if without.low <= 0.5:
        return (
            f"{said}, but without {_BYTES}, which are the picture's as well, {format_percent(without.value)} "
            f"({format_interval(without)}): no better than guessing."
        )
    return f"{said}: part of what a detector scores here may be the file. Of single groups of facts, {most}."


def _notes(unread: int) -> tuple[str, ...]:
    picture = "Bytes per pixel also tell something of the picture: a smooth one takes fewer."
    if not unread:
        return (picture,)
    return picture, f"Left out, as their files cannot be read: {format_count(unread, 'image', 'images')}."

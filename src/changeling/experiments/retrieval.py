"""Table 3: a child leads back to the caption that it was made from, or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.experiments import base
from changeling.experiments.base import Context
from changeling.experiments.paper import beside_paper
from changeling.features.captions import has_captions, load_captions
from changeling.features.store import Features
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Column, Estimate, Result, Row, Table
from changeling.stats.intervals import RESAMPLES, ratio_interval
from changeling.stats.retrieval import recall_at, retrieval_ranks

TITLE, PAPER = "Does a child lead back to its caption?", "Table 3"
KS = (1, 3, 5)
_KINDS = {"exact": "exact pair", "cluster": "intra-cluster"}


def run(context: Context) -> Result:
    """Each child looks for its caption among all captions of the split (section 4.2).

    Raises:
        DatasetError: there are no captions, or no backbone has features of them.
        FeatureError: a backbone's features are missing or of other images.
    """
    check(context)
    dataset, rows, sources = context.dataset, [], []
    spoken = _spoken(dataset)
    for done, features in enumerate(context.features(), start=1):
        captions = load_captions(dataset, features.header.backbone)
        if captions is not None and captions.shape[1] == features.values.shape[1]:
            for generator in base.generators(dataset):
                cells = _cells(context, features, captions, spoken, generator)
                if cells:
                    rows.append(Row(labels={"Generator": generator, "Backbone": features.header.backbone}, cells=cells))
            sources.append(base.source(features))
        context.progress("retrieval", done, len(context.backbones))
    table = _table(dataset, spoken, base.by_generator(dataset, rows))
    return Result(
        experiment="retrieval",
        title=TITLE,
        paper=PAPER,
        summary=_summary(table.rows),
        settings={
            "gallery": "all captions of the split",
            "prompt template": "none",
            "ties": "against the query",
            "resamples": RESAMPLES,
            "seed": context.seed,
        },
        tables=(beside_paper(table, dataset),),
        dataset=base.about(dataset),
        sources=tuple(sources),
        versions=base.versions(),
    )


def check(context: Context) -> None:
    """Raise DatasetError if there are no captions, or no backbone has features of them."""
    if not any(has_captions(context.dataset, backbone) for backbone in context.backbones):
        raise DatasetError(
            f"{context.dataset.path}: no backbone has features of captions; it takes captions.parquet and a backbone "
            "with a text tower, such as clip-vit-b32 (`changeling extract`)"
        )


def _cells(
    context: Context, features: Features, captions: NDArray[np.float32], spoken: NDArray[np.int64], generator: str
) -> dict[str, Estimate]:
    """R@k by split; `captions` (G, D) are of the clusters `spoken` (G,)."""
    dataset, cells = context.dataset, {}
    said = dataset.captions["caption_index"].to_numpy()
    for split in base.SPLIT_TITLES:
        chosen = base.select(dataset, features.valid, generator, split)
        gallery = np.flatnonzero(np.isin(spoken, dataset.clusters[dataset.column("split") == split]))
        place = {key: row for row, key in enumerate(zip(spoken[gallery], said[gallery], strict=True))}
        indices = dataset.column("caption_index")[chosen]
        own = np.array([place.get(key, -1) for key in zip(dataset.clusters[chosen], indices, strict=True)], np.int64)
        asked = (dataset.labels[chosen] == 1) & (own >= 0)
        if not asked.any():
            continue
        queries = chosen[asked]
        ranks = retrieval_ranks(features.values[queries], captions[gallery], own[asked], spoken[gallery])
        clusters = base.compact(dataset.clusters[queries])
        for kind, values in (("exact", ranks.exact), ("cluster", ranks.cluster)):
            for k in KS:
                ratio = recall_at(values, k, clusters)
                cells[f"{split}_{kind}_{k}"] = base.estimate(ratio_interval(ratio, seed=context.seed))
    return cells


def _spoken(dataset: Dataset) -> NDArray[np.int64]:
    """The number of each caption's cluster; -1 if no image is of it."""
    number = dict(zip(dataset.column("cluster_id"), dataset.clusters.tolist(), strict=True))
    return np.array([number.get(name, -1) for name in dataset.captions["cluster_id"].to_pylist()], dtype=np.int64)


def _table(dataset: Dataset, spoken: NDArray[np.int64], rows: Sequence[Row]) -> Table:
    columns = [
        Column(
            key=f"{split}_{kind}_{k}",
            label=f"R@{k}",
            group=f"{title}: {name}",
            chance=_chance(dataset, spoken, split, kind, k),
        )
        for split, title in base.SPLIT_TITLES.items()
        for kind, name in _KINDS.items()
        for k in KS
    ]
    return Table(
        key="retrieval",
        title="Caption retrieval from children",
        labels=("Generator", "Backbone"),
        columns=tuple(columns),
        rows=tuple(rows),
        note="R@k: the child's own caption (exact pair), or any caption of its cluster (intra-cluster), is among the k "
        "nearest of all captions of the split.",
    )


def _chance(dataset: Dataset, spoken: NDArray[np.int64], split: str, kind: str, k: int) -> float | None:
    """What a random order scores, if every cluster of the split has as many captions."""
    mine = np.isin(spoken, dataset.clusters[dataset.column("split") == split])
    _, counts = np.unique(spoken[mine], return_counts=True)
    if not len(counts) or (counts != counts[0]).any():
        return None
    total, each = int(counts.sum()), int(counts[0]) if kind == "cluster" else 1
    missed = np.prod([max(total - each - i, 0) / max(total - i, 1) for i in range(k)])
    return float(1 - missed)


def _summary(rows: Sequence[Row]) -> str:
    best = base.best_by_validation(rows, "exact_1")
    if best is None:
        return "The test split has no child with a caption: there is nothing to retrieve."
    row, features = best
    cell, loose = row.cells["test_exact_1"], row.cells["test_cluster_1"]
    return (
        f"By {features} the nearest of all captions of the test split is the child's own for "
        f"{format_percent(cell.value)} of {format_count(cell.images, 'child', 'children')} (95 % interval "
        f"{format_interval(cell)}), and one of its cluster's for {format_percent(loose.value)}."
    )

"""How often the caption that a child was made from is among the nearest of all captions of the split.

Every caption of the split is ranked by its similarity to the child; ties count against the child. The backbone needs a
text tower, and the dataset captions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.experiments.base import Context, Cost, Experiment, Machine, Settings, estimate_memory
from changeling.experiments.paper import add_paper_values
from changeling.experiments.reporting import (
    describe_dataset,
    describe_source,
    find_common_chance,
    list_versions,
    make_estimate,
    select_best_row,
    sort_by_generator,
    summarise_by_generator,
)
from changeling.experiments.selection import SPLIT_TITLES, list_generators, renumber_clusters, select_rows
from changeling.features.captions import has_caption_features, load_caption_features
from changeling.features.store import Features, count_missing_rows
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Column, Estimate, Result, Row, Table
from changeling.stats.intervals import ratio_interval
from changeling.stats.retrieval import recall_at, retrieval_ranks

KS = (1, 3, 5)
_MATCHES = {"exact": "exact pair", "cluster": "intra-cluster"}


class RetrievalSettings(Settings):
    """Table 3 has no settings."""


def run(context: Context, settings: RetrievalSettings) -> Result:
    """Rank all captions of the split by their similarity to each child (section 4.2). Ties count against the child.

    Raises:
        DatasetError: the dataset has no captions, or no backbone has features of them.
        FeatureError: a backbone's features are missing, or were extracted from other images or captions.
    """
    check(context, settings)
    dataset, rows, sources = context.dataset, [], []
    caption_clusters = _number_caption_clusters(dataset)
    for done, features in enumerate(context.load_features(), start=1):
        captions = load_caption_features(dataset, features.header.backbone)
        if captions is not None and captions.shape[1] == features.values.shape[1]:
            for generator in list_generators(dataset):
                cells = _compute_cells(context, features, captions, caption_clusters, generator)
                if cells:
                    rows.append(Row(labels={"Generator": generator, "Backbone": features.header.backbone}, cells=cells))
            sources.append(describe_source(features))
        context.progress("retrieval", done, len(context.backbones))
    table = _build_table(sort_by_generator(dataset, rows))
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        paper=EXPERIMENT.paper,
        summary=summarise_by_generator(dataset, table.rows, _summarise),
        settings={
            "gallery": "all captions of the split",
            "prompt template": "none",
            "ties": "against the query",
            "seed": context.seed,
        },
        tables=(add_paper_values(table, context, settings, RetrievalSettings()),),
        dataset=describe_dataset(dataset),
        sources=tuple(sources),
        versions=list_versions(),
    )


def check(context: Context, settings: RetrievalSettings) -> None:
    """Raise DatasetError if no backbone has features of captions, and none can get them from `extract`."""
    dataset = context.dataset
    if any(has_caption_features(dataset, name) for name in context.backbones):
        return
    if not dataset.captions.num_rows or not any(count_missing_rows(dataset, name) for name in context.backbones):
        raise DatasetError(
            f"{dataset.path}: no backbone has features of captions; retrieval needs captions.parquet and a backbone "
            "with a text tower, such as clip-vit-b32 (`changeling extract`)"
        )


def cost(context: Context, settings: RetrievalSettings, machine: Machine) -> Cost:
    """Return the estimated cost, fitted to the measurements of benchmarks/study.py."""
    dataset, dims = context.dataset, machine.get_dims(context)
    captions = dataset.captions.num_rows
    queries = int((dataset.column("split") != "train").sum())
    gallery = captions * queries / len(dataset) / 2
    products = 2.6 * len(list_generators(dataset)) * queries * gallery
    seconds = sum(products * dim / machine.speed + 3e-5 * captions for dim in dims)
    return Cost(1 + seconds, estimate_memory(dataset, max(dims)) + 4 * captions * max(dims))


def _compute_cells(
    context: Context,
    features: Features,
    captions: NDArray[np.float32],
    caption_clusters: NDArray[np.int64],
    generator: str,
) -> dict[str, Estimate]:
    """Return R@k by split; `captions` (G, D) belong to the clusters `caption_clusters` (G,).

    A child whose own caption is unknown has no exact pair, but a cluster.
    """
    dataset, cells = context.dataset, {}
    for split in SPLIT_TITLES:
        gallery = _select_gallery(dataset, caption_clusters, split)
        rows = select_rows(dataset, features.valid, generator, split)
        queries = rows[(dataset.labels[rows] == 1) & np.isin(dataset.clusters[rows], caption_clusters[gallery])]
        if not len(queries):
            continue
        own_caption = _find_own_captions(dataset, caption_clusters, gallery, queries)
        is_known = own_caption >= 0
        any_caption = _find_first_captions(dataset.clusters[queries], caption_clusters[gallery])
        ranks = retrieval_ranks(
            features.values[queries],
            captions[gallery],
            np.where(is_known, own_caption, any_caption),
            caption_clusters[gallery],
        )
        clusters = dataset.clusters[queries]
        counts = np.bincount(caption_clusters[gallery])[clusters]  # captions of the cluster of each query
        for k in KS:
            if is_known.any():
                exact = recall_at(ranks.exact[is_known], k, renumber_clusters(clusters[is_known]))
                cells[f"{split}_exact_{k}"] = make_estimate(ratio_interval(exact), min(k / len(gallery), 1.0))
            cluster = recall_at(ranks.cluster, k, renumber_clusters(clusters))
            chance = _compute_cluster_chance(counts, len(gallery), k)
            cells[f"{split}_cluster_{k}"] = make_estimate(ratio_interval(cluster), chance)
    return cells


def _number_caption_clusters(dataset: Dataset) -> NDArray[np.int64]:
    """Return the cluster number of each caption (G,); -1 if the cluster has no image."""
    numbers = dict(zip(dataset.column("cluster_id"), dataset.clusters.tolist(), strict=True))
    return np.array([numbers.get(name, -1) for name in dataset.captions["cluster_id"].to_pylist()], dtype=np.int64)


def _select_gallery(dataset: Dataset, caption_clusters: NDArray[np.int64], split: str) -> NDArray[np.int64]:
    """Return the rows of captions.parquet that belong to clusters of a split."""
    return np.flatnonzero(np.isin(caption_clusters, dataset.clusters[dataset.column("split") == split]))


def _find_own_captions(
    dataset: Dataset, caption_clusters: NDArray[np.int64], gallery: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return for each row the place in the gallery of the caption that it was made from; -1 if it is not there."""
    caption_indices = dataset.captions["caption_index"].to_numpy()[gallery]
    places = {key: place for place, key in enumerate(zip(caption_clusters[gallery], caption_indices, strict=True))}
    keys = zip(dataset.clusters[rows], dataset.column("caption_index")[rows], strict=True)
    return np.array([places.get(key, -1) for key in keys], np.int64)


def _find_first_captions(clusters: NDArray[np.int64], gallery_clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each cluster (Q,), all of which have captions, the place in the gallery of its first caption."""
    order = np.argsort(gallery_clusters, kind="stable")
    places: NDArray[np.int64] = order[np.searchsorted(gallery_clusters, clusters, sorter=order)]
    return places


def _build_table(rows: Sequence[Row]) -> Table:
    columns = [
        Column(
            key=f"{split}_{match}_{k}",
            label=f"R@{k}",
            group=f"{title}: {match_title}",
            chance=find_common_chance(rows, f"{split}_{match}_{k}"),
        )
        for split, title in SPLIT_TITLES.items()
        for match, match_title in _MATCHES.items()
        for k in KS
    ]
    return Table(
        key="retrieval",
        title="Caption retrieval from children",
        labels=("Generator", "Backbone"),
        columns=tuple(columns),
        rows=tuple(rows),
        note="R@k: share of children whose own caption (exact pair), or any caption of their cluster (intra-cluster), "
        "is among the k nearest of all captions of the split. A child whose own caption is unknown counts for "
        "intra-cluster only.",
    )


def _compute_cluster_chance(counts: NDArray[np.int64], total: int, k: int) -> float:
    """Return the mean intra-cluster R@k in a random order of `total` captions.

    `counts` (Q,) says how many of them are of the cluster of each query.
    """
    missed = np.ones(len(counts))
    for place in range(min(k, total)):  # the probability that the captions up to this place are of other clusters
        missed *= np.maximum(total - counts - place, 0) / (total - place)
    return float(1 - missed.mean())


def _summarise(rows: Sequence[Row]) -> str:
    best = select_best_row(rows, "exact_1") or select_best_row(rows, "cluster_1")
    if best is None:
        return "No child of the test split has a caption, so there is nothing to retrieve."
    row, features = best
    cluster = row.cells["test_cluster_1"]
    if "test_exact_1" not in row.cells:
        return (
            f"With {features} the nearest of all captions of the test split is one of the child's cluster for "
            f"{format_percent(cluster.value)} of {format_count(cluster.images, 'child', 'children')} (95 % interval "
            f"{format_interval(cluster)}). It is not known which caption a child was made from."
        )
    exact = row.cells["test_exact_1"]
    return (
        f"With {features} the nearest of all captions of the test split is the child's own for "
        f"{format_percent(exact.value)} of {format_count(exact.images, 'child', 'children')} (95 % interval "
        f"{format_interval(exact)}), and a caption of the same cluster for {format_percent(cluster.value)}."
    )


EXPERIMENT = Experiment(
    name="retrieval",
    title="Does a child retrieve the caption that it was made from?",
    paper="Table 3",
    settings=RetrievalSettings,
    check=check,
    run=run,
    cost=cost,
)

"""t-SNE maps of raw features and of their projections by T and S, real against fake and by cluster.

The maps show the validation split, or the test split if fewer than eight clusters of the validation split have a
parent and a child.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import Split
from changeling.errors import DatasetError
from changeling.experiments import disentangle
from changeling.experiments.base import (
    BackboneSettings,
    Context,
    Cost,
    Experiment,
    Machine,
    check_backbone,
    estimate_memory,
)
from changeling.experiments.projections import list_trainable_generators, train_projection
from changeling.experiments.reporting import describe_dataset, describe_source, list_versions
from changeling.experiments.selection import SPLIT_TITLES, select_all, select_paired_rows
from changeling.features.store import Features, load_features
from changeling.results.format import format_label
from changeling.results.result import Cloud, Map, Result

SHOWN_CLUSTERS = 8  # in Figure 7


class EmbeddingSettings(BackboneSettings):
    """Settings of Figures 6 and 7."""

    backbone: str = Field(default="", description='one of the backbones; "": the last')
    clusters: int = Field(default=1000, ge=8, description="the most clusters on a map")
    perplexity: float = Field(default=30.0, gt=1, description="of t-SNE")


def run(context: Context, settings: EmbeddingSettings) -> Result:
    """Map the validation split: real against fake (Figure 6), and eight clusters by colour (Figure 7).

    Raises:
        DatasetError: fewer than eight clusters of the validation and test splits have a parent and a child.
        FeatureError: the features are missing, or were extracted from other images.
        StudyError: training of S or T diverges.
    """
    dataset = context.dataset
    features = load_features(dataset, _choose_backbone(context, settings))
    generators = list_trainable_generators(dataset, features.valid)
    maps: list[Map] = []
    image_counts: dict[str, str | int | float | bool | None] = {}
    perplexities: dict[str, float] = {}
    for done, generator in enumerate(generators, start=1):
        rows, split = _sample_rows(context, features.valid, generator, settings.clusters)
        perplexity = limit_perplexity(settings.perplexity, len(rows))
        spaces = _project(context, features, rows, generator)
        positions = {name: embed(values, perplexity, context.seed) for name, values in spaces.items()}
        maps += _build_maps(context, rows, positions, f"{generator}, {SPLIT_TITLES[split].lower()} split")
        perplexities[generator] = perplexity
        image_counts[f"images on the maps of {format_label(generator)}"] = len(rows)
        context.progress("embedding", done, len(generators))
    backbone = features.header.backbone
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        paper=EXPERIMENT.paper,
        summary=f"t-SNE of {backbone} features, raw and after the projections T (style) and S (semantics).",
        settings={"backbone": backbone, "method": "t-SNE by openTSNE: cosine distances, initialised by PCA"}
        | _describe_perplexity(perplexities)
        | {"seed": context.seed}
        | image_counts,
        maps=tuple(maps),
        dataset=describe_dataset(dataset),
        sources=(describe_source(features),),
        versions=list_versions(),
    )


def check(context: Context, settings: EmbeddingSettings) -> None:
    """Check that maps can be drawn if all images have features.

    Raises:
        DatasetError: fewer than eight clusters of the validation and test splits have a parent and a child.
        StudyError: the backbone is none of the study's.
    """
    check_backbone(context, EXPERIMENT.name, settings.backbone)
    valid = select_all(context.dataset)
    for generator in list_trainable_generators(context.dataset, valid):
        _sample_rows(context, valid, generator, settings.clusters)


def cost(context: Context, settings: EmbeddingSettings, machine: Machine) -> Cost:
    """Return the estimated cost, fitted to the measurements of benchmarks/study.py; S and T exist already."""
    dataset, dim = context.dataset, machine.get_dim(_choose_backbone(context, settings))
    images = min(
        settings.clusters * len(dataset) / len(np.unique(dataset.clusters)),
        int((dataset.column("split") != "train").sum()),
    )
    maps = 3 * len(list_trainable_generators(dataset, select_all(dataset)))
    return Cost(1 + 0.006 * maps * images, estimate_memory(dataset, dim))


def limit_perplexity(perplexity: float, images: int) -> float:
    """Return the perplexity, or the largest that t-SNE can use: it needs three times as many neighbours."""
    return min(perplexity, (images - 1) / 3)


def embed(values: NDArray[np.float32], perplexity: float, seed: int) -> NDArray[np.float64]:
    """Return openTSNE's embedding (N, 2) of features (N, D)."""
    from openTSNE import TSNE

    embedding = TSNE(
        perplexity=perplexity,
        metric="cosine",
        initialization="pca",
        random_state=seed,
        n_jobs=1,  # with more, sums have another order each time
    ).fit(values)
    return np.asarray(embedding, dtype=np.float64)


def _choose_backbone(context: Context, settings: EmbeddingSettings) -> str:
    check_backbone(context, EXPERIMENT.name, settings.backbone)
    return settings.backbone or context.backbones[-1]


def _project(
    context: Context, features: Features, rows: NDArray[np.int64], generator: str
) -> dict[str, NDArray[np.float32]]:
    """Return the features of some rows, raw and projected by T and S as the experiment `disentangle` trains them."""
    settings = context.get_settings(disentangle.EXPERIMENT)
    trained_on = settings.get_training_generator(generator)
    t, s = (train_projection(context, features, trained_on, kind, settings) for kind in ("T", "S"))
    values = features.values[rows]
    return {"Raw features": values, "After T": t.project(values), "After S": s.project(values)}


def _describe_perplexity(perplexities: dict[str, float]) -> dict[str, str | int | float | bool | None]:
    """Return the perplexity of all maps, or of each generator's if they differ."""
    name = "perplexity (about how many neighbours count)"
    if len(set(perplexities.values())) == 1:
        return {name: next(iter(perplexities.values()))}
    return {f"{name} of {format_label(generator)}": value for generator, value in perplexities.items()}


def _sample_rows(
    context: Context, valid: NDArray[np.bool_], generator: str, clusters: int
) -> tuple[NDArray[np.int64], Split]:
    """Return the images of at most `clusters` random clusters with a parent and a child, and their split."""
    dataset = context.dataset
    for split in SPLIT_TITLES:
        rows = select_paired_rows(dataset, valid, generator, split)
        numbers = np.unique(dataset.clusters[rows])
        if len(numbers) >= SHOWN_CLUSTERS:
            sampled = np.random.default_rng(context.seed).permutation(numbers)[:clusters]
            return rows[np.isin(dataset.clusters[rows], sampled)], split
    raise DatasetError(
        f"{dataset.path}: the maps need {SHOWN_CLUSTERS} clusters of the validation or test split that have a parent "
        f"and a child by {format_label(generator)}"
    )


def _build_maps(
    context: Context, rows: NDArray[np.int64], positions: dict[str, NDArray[np.float64]], subtitle: str
) -> list[Map]:
    dataset = context.dataset
    is_child = dataset.labels[rows] == 1
    clusters = dataset.clusters[rows]
    shown = np.random.default_rng(context.seed).permutation(np.unique(clusters))[:SHOWN_CLUSTERS]
    is_shown = np.isin(clusters, shown)
    group = np.array([shown.tolist().index(number) for number in clusters[is_shown].tolist()])
    return [
        Map(
            title=f"Real and fake: {subtitle}",
            groups=("real", "fake"),
            clouds=tuple(_build_cloud(name, xy, is_child.astype(np.int64), is_child) for name, xy in positions.items()),
            note="As Figure 6 of the paper.",
        ),
        Map(
            title=f"Eight clusters: {subtitle}",
            groups=_name_clusters(dataset, shown),
            clouds=tuple(_build_cloud(name, xy[is_shown], group, is_child[is_shown]) for name, xy in positions.items()),
            note="As Figure 7 of the paper: the same maps, with the images of eight clusters only.",
        ),
    ]


def _name_clusters(dataset: Dataset, numbers: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(str(dataset.column("cluster_id")[dataset.clusters == number][0]) for number in numbers)


def _build_cloud(title: str, xy: NDArray[np.float64], group: NDArray[np.int64], is_child: NDArray[np.bool_]) -> Cloud:
    x, y = (tuple(float(f"{value:.4g}") for value in axis) for axis in xy.T)
    return Cloud(title=title, x=x, y=y, group=tuple(group.tolist()), child=tuple(is_child.tolist()))


EXPERIMENT = Experiment(
    name="embedding",
    title="Where do parents and children lie in feature space?",
    paper="Figures 6 and 7",
    settings=EmbeddingSettings,
    check=check,
    run=run,
    cost=cost,
)

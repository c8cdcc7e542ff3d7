"""Figures 6 and 7: t-SNE of raw features and of their projections by T and S."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.schema import Split
from changeling.errors import DatasetError
from changeling.experiments import base
from changeling.experiments.base import Context
from changeling.experiments.projections import paired, train_head, trainable
from changeling.experiments.settings import DisentangleSettings, EmbeddingSettings
from changeling.features.store import load_features
from changeling.results.format import format_label
from changeling.results.result import Cloud, Map, Result

TITLE, PAPER = "How do parents and children lie in the space of features?", "Figures 6 and 7"
SAMPLED = 8  # clusters of Figure 7
_DEFAULT, _HEADS = EmbeddingSettings(), DisentangleSettings()


def run(context: Context, settings: EmbeddingSettings = _DEFAULT, heads: DisentangleSettings = _HEADS) -> Result:
    """Draw the validation split: real against fake (Figure 6), and eight clusters in their colours (Figure 7).

    Raises:
        DatasetError: fewer than eight clusters of the validation and test splits have a parent and a child.
        FeatureError: the features are missing or of other images.
    """
    dataset = context.dataset
    backbone = settings.backbone or context.backbones[-1]
    features = load_features(dataset, backbone)
    generators = trainable(dataset, features.valid)
    maps: list[Map] = []
    shown: dict[str, str | int | float | bool | None] = {}
    perplexities: dict[str, float] = {}
    for done, generator in enumerate(generators, start=1):
        chosen, split = _choose(context, features.valid, generator, settings.clusters)
        spaces = {"Raw features": features.values[chosen]}
        for kind in ("T", "S"):
            head = train_head(context, features, generator, kind, heads)
            spaces[f"After {kind}"] = head(features.values[chosen])
        perplexities[generator] = usable_perplexity(settings.perplexity, len(chosen))
        places = {name: tsne(values, perplexities[generator], context.seed) for name, values in spaces.items()}
        maps += _maps(context, chosen, places, generator, split)
        shown[f"images on the maps of {format_label(generator)}"] = len(chosen)
        context.progress("embedding", done, len(generators))
    return Result(
        experiment="embedding",
        title=TITLE,
        paper=PAPER,
        summary=f"t-SNE of {backbone} features as they are, and after the projections T (style) and S (semantics).",
        settings={
            "backbone": backbone,
            "method": "t-SNE by openTSNE: neighbours by cosine, beginning with the two main directions",
        }
        | _told(perplexities)
        | {"seed": context.seed}
        | shown,
        maps=tuple(maps),
        dataset=base.about(dataset),
        sources=(base.source(features),),
        versions=base.versions(),
    )


def check(context: Context, settings: EmbeddingSettings = _DEFAULT) -> None:
    """Raise DatasetError if there are too few clusters to draw, even if all images have features."""
    everyone = base.everyone(context.dataset)
    for generator in trainable(context.dataset, everyone):
        _choose(context, everyone, generator, settings.clusters)


def usable_perplexity(asked: float, images: int) -> float:
    """What t-SNE can use of a perplexity: a point has three times as many neighbours, if there are so many."""
    return min(asked, (images - 1) / 3)


def _told(perplexities: dict[str, float]) -> dict[str, str | int | float | bool | None]:
    """The perplexity of all maps, or of each generator's where they differ."""
    name = "perplexity (about how many neighbours count)"
    if len(set(perplexities.values())) == 1:
        return {name: next(iter(perplexities.values()))}
    return {f"{name} of {format_label(generator)}": used for generator, used in perplexities.items()}


def tsne(values: NDArray[np.float32], perplexity: float, seed: int) -> NDArray[np.float64]:
    """OpenTSNE's map (N, 2) of features (N, D)."""
    from openTSNE import TSNE

    fitted = TSNE(
        perplexity=perplexity,
        metric="cosine",
        initialization="pca",
        random_state=seed,
        n_jobs=1,  # with more, sums come in another order each time
    ).fit(values)
    return np.asarray(fitted, dtype=np.float64)


def _choose(
    context: Context, valid: NDArray[np.bool_], generator: str, clusters: int
) -> tuple[NDArray[np.int64], Split]:
    """Images of clusters with a parent and a child: of the validation split, or of test where that has too few."""
    dataset = context.dataset
    for split in base.SPLIT_TITLES:
        rows = paired(dataset, valid, generator, split)
        names = np.unique(dataset.clusters[rows])
        if len(names) >= SAMPLED:
            drawn = np.random.default_rng(context.seed).permutation(names)[:clusters]
            return rows[np.isin(dataset.clusters[rows], drawn)], split
    raise DatasetError(
        f"{dataset.path}: no {SAMPLED} clusters of the validation or test split have a parent and a child by "
        f"{format_label(generator)}"
    )


def _maps(
    context: Context,
    rows: NDArray[np.int64],
    places: dict[str, NDArray[np.float64]],
    generator: str,
    split: Split,
) -> list[Map]:
    dataset = context.dataset
    child = dataset.labels[rows] == 1
    clusters = dataset.clusters[rows]
    drawn = np.random.default_rng(context.seed).permutation(np.unique(clusters))[:SAMPLED]
    sampled = np.isin(clusters, drawn)
    names = [str(dataset.column("cluster_id")[dataset.clusters == number][0]) for number in drawn]
    group = np.array([drawn.tolist().index(number) for number in clusters[sampled].tolist()])
    where = f"{generator}, {base.SPLIT_TITLES[split].lower()} split"
    return [
        Map(
            title=f"Real and fake: {where}",
            groups=("real", "fake"),
            clouds=tuple(_cloud(name, xy, child.astype(np.int64), child) for name, xy in places.items()),
            note="As Figure 6 of the paper.",
        ),
        Map(
            title=f"Eight clusters: {where}",
            groups=tuple(names),
            clouds=tuple(_cloud(name, xy[sampled], group, child[sampled]) for name, xy in places.items()),
            note="As Figure 7 of the paper: the same maps, with the images of eight clusters alone.",
        ),
    ]


def _cloud(title: str, xy: NDArray[np.float64], group: NDArray[np.int64], child: NDArray[np.bool_]) -> Cloud:
    x, y = (tuple(float(f"{value:.4g}") for value in axis) for axis in xy.T)
    return Cloud(title=title, x=x, y=y, group=tuple(group.tolist()), child=tuple(child.tolist()))

"""A study of the paper's size, made up about the paper's numbers: every table, plots, maps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from changeling.experiments.result import Cloud, Column, Curve, Estimate, Map, Plot, Result, Row, Source, Table

BACKBONES = (
    "rn50-imagenet",
    "vit-b32-imagenet",
    "clip-rn50",
    "clip-vit-b32",
    "openclip-vit-b32-laion400m",
    "openclip-vit-b32-laion2b",
)
GENERATORS = ("stable-diffusion-v1.4", "stable-diffusion-v2.1")
SPLITS = {"val": "Validation", "test": "Test"}
C = tuple(10.0**power for power in range(-4, 7))
VERSIONS = {"python": "3.11.2", "changeling": "0.1.0", "numpy": "2.2.1", "scikit-learn": "1.7.0", "openTSNE": "1.0.2"}
DATASET: dict[str, str | int] = {
    "name": "cocofake", "hash": "5b" * 32, "images": 1106444, "clusters": 123287, "parents": 123287,
    "children": 983157, "train images": 1046444, "val images": 30000, "test images": 30000,
}  # fmt: skip
SOURCES = tuple(
    Source(backbone=name, weights=f"{i}e" * 32, preprocessing=f"{i}c" * 32) for i, name in enumerate(BACKBONES)
)


def figures() -> dict[str, dict[str, float]]:
    """The paper's values."""
    text = files("changeling").joinpath("data/paper.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, float]] = json.loads(text)["figures"]
    return found


def near(paper: float, rng: np.random.Generator, images: int) -> Estimate:
    """An estimate as another draw of 5,000 clusters might give it, beside the paper's."""
    half = 1.96 * math.sqrt(max(paper * (1 - paper), 1e-4) / 5000)
    value = float(np.clip(paper + rng.normal(0, half / 1.5), 0, 1))
    return Estimate(
        value=value, low=max(0, value - half), high=min(1, value + half), clusters=5000, images=images, paper=paper
    )


def table(key: str, title: str, columns: tuple[Column, ...], *, images: int = 30000, seed: int = 0) -> Table:
    """One of the paper's tables with the rows that the paper has."""
    rng, known = np.random.default_rng(seed), figures()
    rows = []
    for generator in GENERATORS:
        for backbone in BACKBONES:
            values = known.get(f"{key}/{generator}/{backbone}")
            if values:
                cells = {column.key: near(values[column.key], rng, images) for column in columns}
                rows.append(Row(labels={"Generator": generator, "Backbone": backbone}, cells=cells))
    return Table(key=key, title=title, labels=("Generator", "Backbone"), columns=columns, rows=tuple(rows))


def by_split(measures: dict[str, str], chance: dict[str, float], better: str = "none") -> tuple[Column, ...]:
    """Columns of measures, for validation and for test."""
    return tuple(
        Column.model_validate(
            {"key": f"{split}_{key}", "label": label, "group": group, "chance": chance.get(key), "better": better}
        )
        for split, group in SPLITS.items()
        for key, label in measures.items()
    )


def recall_columns() -> tuple[Column, ...]:
    """Table 3's twelve."""
    kinds = {"exact": "exact pair", "cluster": "intra-cluster"}
    return tuple(
        Column(key=f"{split}_{kind}_{k}", label=f"R@{k}", group=f"{group}: {name}", chance=k / 25000)
        for split, group in SPLITS.items()
        for kind, name in kinds.items()
        for k in (1, 3, 5)
    )


def cloud(title: str, clusters: int, seed: int, *, groups: int = 2, apart: float = 1.0) -> Cloud:
    """Clusters of a parent and five children: by kind if there are two groups, else a group a cluster."""
    rng = np.random.default_rng(seed)
    child = np.tile([False] + [True] * 5, clusters)
    cluster = np.repeat(np.arange(clusters), 6)
    spread = rng.normal(0, 30, (clusters, 2)) * (1 + 0.6 * np.sin(np.arange(clusters))[:, None])
    xy = spread[cluster] + rng.normal(0, 3, (len(cluster), 2)) + np.where(child, 8 * apart, -8 * apart)[:, None]
    group: NDArray[np.int64] = child.astype(np.int64) if groups == 2 else cluster % groups
    x, y = (tuple(float(f"{value:.4g}") for value in axis) for axis in xy.T)
    return Cloud(title=title, x=x, y=y, group=tuple(group.tolist()), child=tuple(child.tolist()))


def maps(clusters: int, generators: tuple[str, ...] = GENERATORS) -> Iterator[Map]:
    """Figures 6 and 7."""
    for seed, name in enumerate(generators):
        spaces = {"Raw features": 1.0, "After T": 6.0, "After S": 0.0}
        yield Map(
            key=f"all-{name}",
            title=f"Real and fake: {name}, validation split",
            groups=("real", "fake"),
            clouds=tuple(cloud(title, clusters, seed, apart=apart) for title, apart in spaces.items()),
            note="Figure 6.",
        )
        yield Map(
            key=f"eight-{name}",
            title=f"Eight clusters: {name}, validation split",
            groups=tuple(f"COCO_val2014_{391895 + i:012d}" for i in range(8)),
            clouds=tuple(cloud(title, 8, seed, groups=8, apart=apart / 3) for title, apart in spaces.items()),
            note="Figure 7: the same maps, with the images of eight clusters alone.",
        )


def plots(dims: tuple[int, ...] = (2048, 768, 1024, 512, 512, 512)) -> Iterator[Plot]:
    """A curve over C, singular values and losses, for each generator and backbone."""
    for g, generator in enumerate(GENERATORS):
        for b, backbone in enumerate(BACKBONES):
            where, rng = f"{generator}, {backbone}", np.random.default_rng(10 * g + b)
            curves = []
            for name, shift, top in (("raw features", -5, 0.97 - 0.02 * b), ("S", 4 - b, 0.9)):
                y = [0.5 + (top - 0.5) / (1 + math.exp(-(i - 4 - shift) / 1.2)) for i in range(len(C))]
                half = [0.004 + 0.01 * rng.random() for _ in y]
                low = tuple(v - h for v, h in zip(y, half, strict=True))
                high = tuple(v + h for v, h in zip(y, half, strict=True))
                curves.append(Curve(name=name, x=C, y=tuple(y), low=low, high=high))
            yield Plot(
                key=f"curve-{g}-{b}",
                title=f"Balanced accuracy over C: {where}",
                x_label="C: the larger, the less regularised",
                y_label="balanced accuracy on the test split",
                x_log=True,
                share=True,
                chance=0.5,
                curves=tuple(curves),
            )
            rank = np.arange(1, dims[b] + 1)
            values = {"S": np.exp(-rank / dims[b] * 9) + 1e-4, "T": 1 / rank**0.8}
            yield Plot(
                key=f"singular-{g}-{b}",
                title=f"Singular values: {where}",
                x_label="rank",
                y_label="relative to the largest",
                y_log=True,
                curves=tuple(
                    Curve(name=name, x=tuple(rank.tolist()), y=tuple((some / some[0]).tolist()))
                    for name, some in values.items()
                ),
                note="Directions that S only shrinks, without zeroing them, a probe can stretch again.",
            )
            epochs = np.arange(1, 26)
            yield Plot(
                key=f"loss-{g}-{b}",
                title=f"Training loss: {where}",
                x_label="epoch",
                y_label="loss",
                curves=tuple(
                    Curve(name=name, x=tuple(epochs.tolist()), y=tuple((-a * (1 - np.exp(-epochs / 6))).tolist()))
                    for name, a in (("S", 2.5 + 0.3 * b), ("T", 5.0 + 0.2 * b))
                ),
            )


def full_study(clusters: int = 1000) -> list[Result]:
    """Five experiments on the paper's dataset with six backbones and two generators."""

    def result(experiment: str, title: str, paper: str, settings: Mapping[str, object], **parts: object) -> Result:
        return Result.model_validate(
            {
                "experiment": experiment,
                "title": title,
                "paper": paper,
                "summary": f"{title} By openclip-vit-b32-laion2b features, the best on validation, in 44.0 % of 5000 "
                "test clusters (95 % interval 42.6 % to 45.4 %).",
                "settings": {**settings, "resamples": 2000, "seed": 0},
                "dataset": DATASET,
                "sources": SOURCES,
                "versions": VERSIONS,
            }
            | parts
        )

    distances = by_split({"min": "Min distance", "max": "Max distance"}, {"min": 1 / 6, "max": 1 / 6})
    probe = by_split({"overall": "Overall", "full": "Full cluster"}, {"overall": 5 / 6}, "high")
    s_and_t = {
        "s_overall": "S overall",
        "s_full": "S full cluster",
        "t_min": "T min distance",
        "t_max": "T max distance",
    }
    disentangle = by_split(s_and_t, {"s_overall": 5 / 6, "t_min": 1 / 6, "t_max": 1 / 6})
    found: dict[str, str | int | float | bool | None] = {
        f"C of {name}": 10 ** (i / 2 - 2) for i, name in enumerate(BACKBONES)
    }
    return [
        result(
            "distances",
            "Is the parent the odd one out of its cluster?",
            "Table 1",
            {"distance": "cosine"},
            tables=(table("distances", "Min / max intra-cluster distance accuracy, raw features", distances),),
        ),
        result(
            "probe",
            "Can a linear probe call each image real or fake?",
            "Table 2",
            {
                "trained on children of": "stable-diffusion-v1.4",
                "children for training": "one random child a cluster",
                "features": "standardised on the training images",
                "class weight": "balanced",
                "C chosen by": "log loss on the validation split, classes alike",
                **found,
            },
            tables=(table("probe", "Accuracy of a linear probe", probe),),
        ),
        result(
            "retrieval",
            "Does a child lead back to its caption?",
            "Table 3",
            {"gallery": "all captions of the split", "prompt template": "none", "ties": "against the query"},
            tables=(table("retrieval", "Caption retrieval from children", recall_columns(), images=25000),),
        ),
        result(
            "disentangle",
            "How much of it is style, and how much is meaning?",
            "Table 4",
            {"optimiser": "AdamW, betas 0.9 and 0.999", "temperature": 0.1, "weight_decay": 0.01, "lr": 1e-3},
            tables=(table("disentangle", "What S hides and T brings out", disentangle),),
            plots=tuple(plots()),
        ),
        result(
            "embedding",
            "How parents and children lie in the space of features",
            "Figures 6 and 7",
            {"method": "openTSNE, exact metric cosine, PCA initialisation", "perplexity": 30.0},
            maps=tuple(maps(clusters)),
        ),
    ]

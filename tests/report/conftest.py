"""Results as a study would write them: the paper's numbers, a small study with wide intervals, sheets of toys."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.experiments.result import Column, Estimate, Picture, Result, Row, Sheet, Source, Strip, Table

BACKBONES = (
    "rn50-imagenet",
    "vit-b32-imagenet",
    "clip-rn50",
    "clip-vit-b32",
    "openclip-vit-b32-laion400m",
    "openclip-vit-b32-laion2b",
)
DISTANCES = """
8.50 23.58 8.82 24.82/6.84 23.12 6.88 23.88/3.72 38.48 3.60 41.24/3.30 38.88 3.24 40.10/5.28 31.94 5.00 32.02/
1.40 42.80 1.72 44.00/5.98 29.62 6.62 30.16/5.12 29.18 4.92 30.00/2.40 46.72 2.20 48.28/2.92 42.08 2.98 44.18/
4.58 34.06 4.62 36.02/1.88 42.64 1.78 43.80"""
PROBE = """
90.31 57.56 90.62 57.94/87.64 47.62 87.16 47.32/99.07 94.60 99.17 95.30/99.11 94.84 98.97 94.24/
97.88 88.18 97.83 87.80/99.68 98.01 99.64 97.84/81.71 34.94 82.31 35.84/76.71 24.68 77.31 26.92/
93.54 69.08 93.74 69.64/94.41 72.30 94.72 73.62/83.30 38.48 84.32 40.74/98.88 93.68 98.96 94.08"""
LABELS = ("Generator", "Backbone")
HASH = "9f2c41d7a05be8836b1d4f70c9a2e5d8417f3b6c0d9e8a1f2b3c4d5e6f708192"


def estimate(share: float, clusters: int, images: int) -> Estimate:
    """An estimate with a Wilson interval, which is about what a bootstrap over clusters gives."""
    centre = (share + 1.92 / clusters) / (1 + 3.84 / clusters)
    half = 1.96 * math.sqrt(share * (1 - share) / clusters + 0.96 / clusters**2) / (1 + 3.84 / clusters)
    return Estimate(
        value=share, low=max(0, centre - half), high=min(1, centre + half), clusters=clusters, images=images
    )


def columns(first: Column, second: Column) -> tuple[Column, ...]:
    """Both measures, for validation and for test."""
    return tuple(
        column.model_copy(update={"key": f"{group.lower()}_{column.key}", "group": group})
        for group in ("Validation", "Test")
        for column in (first, second)
    )


def paper_table(key: str, title: str, numbers: str, columns: tuple[Column, ...]) -> Table:
    """One of the paper's tables, twelve rows long."""
    rows = []
    for i, line in enumerate(numbers.strip().split("/")):
        cells = {c.key: estimate(float(n) / 100, 5000, 30000) for c, n in zip(columns, line.split(), strict=True)}
        generator = ("Stable Diffusion v1.4", "Stable Diffusion v2.1")[i // 6]
        rows.append(Row(labels={"Generator": generator, "Backbone": BACKBONES[i % 6]}, cells=cells))
    return Table(key=key, title=title, labels=LABELS, columns=columns, rows=tuple(rows))


def small_table(columns: tuple[Column, ...]) -> Table:
    """A table that rests on 9 to 18 clusters, so that its intervals are wide."""
    rows = []
    for g, (generator, clusters) in enumerate((("GLIDE", 18), ("Stable Diffusion v1.5", 12), ("DALL·E 3", 9))):
        for b, backbone in enumerate(("clip-vit-b16", "dinov2-vit-s14", "efficientnet-lite0")):
            cells = {}
            for i, column in enumerate(columns):
                hits = (3 * g + 5 * b + 7 * i) % (clusters + 1)
                n = clusters if i < 2 else clusters - 3
                cells[column.key] = estimate(min(hits, n) / n, n, 5 * n - g)
            rows.append(Row(labels={"Generator": generator, "Backbone": backbone}, cells=cells))
    note = "The parent is compared with as many children as its cluster has."
    return Table(key="small", title="A small study", labels=LABELS, columns=columns, rows=tuple(rows), note=note)


MIN = Column(key="min", label="Min", chance=1 / 6, better="none")
MAX = Column(key="max", label="Max", chance=1 / 6, better="high")
OVERALL = Column(key="overall", label="Overall", chance=5 / 6)
FULL = Column(key="full", label="Full cluster")


def paint(path: Path, size: tuple[int, int], seed: int) -> None:
    """Paint a toy landscape."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    sky = np.stack([y / size[1] * c for c in rng.uniform(80, 255, 3)], -1)
    sun = np.hypot(x - rng.uniform(0.2, 0.8) * size[0], y - 0.4 * size[1]) < 0.15 * size[1]
    hill = y > size[1] * (0.7 + 0.1 * np.sin(x / size[0] * 6 + seed))
    sky[sun] = rng.uniform(180, 255, 3)
    sky[hill] = rng.uniform(20, 120, 3)
    Image.fromarray(sky.astype(np.uint8)).save(path)


def cluster_sheet(folder: Path) -> Sheet:
    """Two clusters with verdicts; of the second one nearly all files are gone."""
    strips = []
    for c in range(2):
        pictures = []
        for i in range(6):
            path = folder / f"{c}-{i}.png"
            if c == 0 or i in (1, 4):
                paint(path, (640, 480) if i == 0 else (512, 512), 10 * c + i)
            probability = (0.012, 0.99996, 0.874, 0.52, 0.9431, 0.2)[i]
            pictures.append(
                Picture(
                    path=path.name,
                    role="parent" if i == 0 else "child",
                    title="" if i == 0 else "Stable Diffusion v1.5",
                    probability=probability,
                    label="unsure" if i == 3 else "fake" if probability > 0.5 else "real",
                )
            )
        strips.append(
            Strip(title=f"Cluster {c + 1}", caption="A sun above a hill, seen from afar.", pictures=tuple(pictures))
        )
    return Sheet(key="clusters", title="Clusters", strips=tuple(strips), note="Parents are framed.")


def surest_sheet(folder: Path) -> Sheet:
    """Pictures without a role, of odd shapes."""
    strips = []
    for s, title in enumerate(("Surest", "Least sure")):
        pictures = []
        for i, size in enumerate(((500, 500), (900, 300), (240, 640), (640, 427), (2000, 120))):
            path = folder / f"odd-{s}-{i}.png"
            paint(path, size, 100 * s + i)
            pictures.append(Picture(path=path.name, title=path.name, probability=0.5 + 0.1 * i, label="unsure"))
        strips.append(Strip(title=title, pictures=tuple(pictures)))
    return Sheet(key="surest", title="Verdicts", strips=tuple(strips))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the pictures of `study` are relative to."""
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="session")
def study(pictures: Path) -> list[Result]:
    """Three experiments: the paper's first two tables, and a small study with sheets."""
    sources = tuple(
        Source(backbone=name, weights=f"{i}{HASH[1:]}", preprocessing=HASH[::-1]) for i, name in enumerate(BACKBONES)
    )
    dataset: dict[str, str | int] = {"name": "COCOFake", "hash": HASH, "clusters": 10000, "images": 60000}
    versions = {"changeling": "0.1.0", "numpy": "2.2.1", "python": "3.11.2", "scikit-learn": "1.6.0"}
    settings: dict[str, str | int | float | bool | None] = {
        "distance": "cosine", "bootstrap_samples": 2000, "seed": 20230400, "standardise": False, "limit": None,
    }  # fmt: skip
    distances = Result(
        experiment="distances",
        title="Min and max intra-cluster distance",
        paper="Table 1",
        summary="The parent is the image farthest from its cluster in 23 to 48 % of clusters, where chance is 16.7 %; "
        "it stands out most to openclip-vit-b32-laion2b and clip-rn50.",
        settings=settings,
        tables=(
            paper_table("distances", "Parent nearest to and farthest from its cluster", DISTANCES, columns(MIN, MAX)),
        ),
        dataset=dataset,
        sources=sources,
        versions=versions,
        notes=("Distances are means to all other images of a cluster, not to the children alone.",),
    )
    probe = Result(
        experiment="probe",
        title="Linear probe",
        paper="Table 2",
        summary="A linear probe tells 99.6 % of test images on the generator it was trained on.",
        settings=settings | {"C": 0.31622776601683794, "trained_on": "Stable Diffusion v1.4"},
        tables=(paper_table("probe", "Accuracy of a linear probe", PROBE, columns(OVERALL, FULL)),),
        dataset=dataset,
        sources=sources,
        versions=versions,
        notes=("Always answering fake scores 83.33 % overall.", "Trained on one random child a cluster."),
    )
    small = Result(
        experiment="clusters",
        title="A small study with its pictures",
        summary="Too few clusters to tell backbones apart.",
        settings={"seed": 1},
        tables=(small_table(columns(MIN, MAX)),),
        sheets=(cluster_sheet(pictures), surest_sheet(pictures)),
        dataset={"name": "shared", "clusters": 18, "images": 89},
        versions=versions,
    )
    return [distances, probe, small]

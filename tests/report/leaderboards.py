"""The Result of an evaluation of several detectors, made up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from changeling.results.result import Column, Estimate, Picture, Result, Row, Sheet, Strip, Table

CONDITIONS = ("Clean", "Web", "Hard")
QUALITY = {
    "changeling": 0.94,
    "univfd:fc_weights.pth": 0.86,
    "hf:someone/vit-base-ai-detector": 0.81,
    "sahu65": 0.72,
    "file properties only": 0.66,
}
GENERATORS = {"ADM": 0.0, "BigGAN": -0.06, "DALL-E 3": -0.11, "Midjourney": -0.16, "Stable Diffusion 1.4": 0.03}
SOURCES = {"COCO": 0.02, "night photographs": -0.13, "paintings": -0.2}


def make_estimate(value: float, half: float = 0.02, images: int = 2000) -> Estimate:
    return Estimate(value=value, low=max(value - half, -1), high=min(value + half, 1), clusters=images, images=images)


def make_cells(value: float, conditions: Sequence[str] = CONDITIONS) -> dict[str, Estimate]:
    cells = {}
    for number, name in enumerate(conditions):
        cells[f"auroc_{name.lower()}"] = make_estimate(value - 0.05 * number)
        cells[f"accuracy_{name.lower()}"] = make_estimate(value - 0.07 - 0.06 * number, 0.03)
    return cells


def make_columns(accuracy: str = "Balanced accuracy", suffix: str = "") -> tuple[Column, ...]:
    auroc = [Column(key=f"auroc_{name.lower()}", label=name, group=f"AUROC{suffix}", chance=0.5) for name in CONDITIONS]
    other = [Column(key=f"accuracy_{name.lower()}", label=name, group=f"{accuracy}{suffix}") for name in CONDITIONS]
    return (*auroc, *other)


def make_leaderboard() -> Table:
    """The leaderboard: the last detector has no other condition, and one failed."""
    rows = [Row(labels={"Detector": "onnx:broken.onnx (failed)"}, cells={})]
    for name, value in QUALITY.items():
        conditions = CONDITIONS[:1] if name == "file properties only" else CONDITIONS
        robust = {} if name == "file properties only" else {"auroc_robust": make_estimate(value - 0.05)}
        rows.append(Row(labels={"Detector": name}, cells=make_cells(value, conditions) | robust))
    columns = make_columns()
    robust_column = Column(key="auroc_robust", label="All together", group="AUROC", chance=0.5)
    return Table(
        key="leaderboard",
        title="Detectors on the same images",
        labels=("Detector",),
        columns=(*columns[:3], robust_column, *columns[3:]),
        rows=tuple(rows),
        note="Clean: the files as they are. Web: delivered as web sites do. Hard: each with a strong transformation.",
    )


def make_breakdown(key: str, label: str, offsets: dict[str, float]) -> Table:
    """The table by generator or by source."""
    rows = [
        Row(labels={label: name, "Detector": detector}, cells=make_cells(value + offset))
        for name, offset in offsets.items()
        for detector, value in QUALITY.items()
    ]
    return Table(
        key=key, title=f"Each {label.lower()}", labels=(label, "Detector"), columns=make_columns("Accuracy"),
        rows=tuple(rows), note=f"AUROC: images of the {label.lower()} against all others.",
    )  # fmt: skip


def make_differences() -> Table:
    """The paired differences: some intervals contain zero."""
    rows = []
    for first, second in itertools.combinations(QUALITY, 2):
        difference = QUALITY[first] - QUALITY[second]
        cells = {name: make_estimate(difference, 0.055) for name in make_cells(0.5)}
        rows.append(Row(labels={"Detector": first, "Against": second}, cells=cells))
    return Table(
        key="detector_differences", title="Differences between detectors", labels=("Detector", "Against"),
        columns=make_columns(suffix=", difference"), rows=tuple(rows), note="The first detector minus the second one.",
    )  # fmt: skip


def make_metrics() -> Table:
    columns = (
        Column(key="auroc", label="AUROC", chance=0.5),
        Column(key="brier_score", label="Brier score", better="low"),
        Column(key="abstention", label="Abstention", better="none"),
    )
    rows = [
        Row(
            labels={"Detector": name, "Images": "Clean"},
            cells={
                "auroc": make_estimate(value),
                "brier_score": make_estimate(1 - value),
            },
        )
        for name, value in QUALITY.items()
    ]
    return Table(
        key="detector_metrics", title="All metrics", labels=("Detector", "Images"), columns=columns, rows=tuple(rows)
    )


def make_sheet(folder: Path, names: Sequence[str]) -> Sheet:
    """A sheet with a strip for each detector; the first picture of each is written, the second is missing."""
    rng = np.random.default_rng(0)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((320, 240)).save(folder / name)
    pictures = tuple(Picture(path=str(folder / name), title=name, caption="98.2 %") for name in (*names, "gone.png"))
    strips = tuple(Strip(title=detector, pictures=pictures) for detector in QUALITY)
    return Sheet(key="worst_real", title="Real images that look most generated", strips=strips)


def make_evaluation() -> Result:
    return Result(
        experiment="evaluation",
        title="How well do these detectors do on the same images?",
        summary="Of 5 detectors that finished, changeling has the highest AUROC (clean): 94.0 % (92.0 % to 96.0 %).",
        settings={"split": "test", "threshold": "the detector's own, or 0.5", "seed": 0},
        tables=(
            make_leaderboard(),
            make_metrics(),
            make_breakdown("by_generator", "Generator", GENERATORS),
            make_breakdown("by_source", "Source", SOURCES),
            make_differences(),
        ),
        dataset={"name": "pets", "hash": "0123456789ab", "images": 2000},
        versions={"python": "3.11"},
        notes=("onnx:broken.onnx failed and has no results: it has no image input.",),
    )

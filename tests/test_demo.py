"""The demo, with weights and images from the package index, and again without it."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.backbones import registry
from changeling.demo import GENERATED, PHOTOGRAPHS
from changeling.detect.detector import Detector
from changeling.detect.model import load_model
from changeling.results.result import Result
from tests import helpers

pytestmark = pytest.mark.network


def run_demo(folder: Path, **environment: str) -> str:
    command = [sys.executable, "-m", "changeling", "demo", "--output", str(folder)]
    ran = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, timeout=600, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_demo_writes_verdicts_and_a_report_and_downloads_once(tmp_path: Path) -> None:
    first = run_demo(tmp_path / "demo")
    images = sorted(path.relative_to(tmp_path / "demo" / "pictures") for path in tmp_path.rglob("pictures/*/*"))
    assert len(images) == 2 + len(PHOTOGRAPHS.pictures) + len(GENERATED.pictures)
    assert len(GENERATED.pictures) <= 12
    assert all(path.name in first for path in images)
    assert "Table 1" in first
    assert "Table 2" in first
    assert "Table 4" in first
    results = [Result.load(path) for path in sorted((tmp_path / "demo" / "results").iterdir())]
    assert {result.experiment for result in results} == {"detector", "distances", "probe", "disentangle", "embedding"}
    page = (tmp_path / "demo" / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("<img") >= 12  # verdicts on the sample pictures
    again = run_demo(tmp_path / "again", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "nowhere"))
    assert "Table 1" in again


def test_the_bundled_detector_matches_its_backbone_and_has_held_out_metrics() -> None:
    trained = load_model()
    trained.check_backbone(registry.load_backbone(trained.model.backbone))
    overall, resaved = trained.model.held_out[:2]
    for held in (overall, resaved):
        assert held.images > 1000
        assert 0.75 < held.auroc[1] < held.auroc[0] < held.auroc[2] < 1
    assert trained.model.real_below < trained.model.fake_above
    assert len(trained.model.held_out) > 10


def test_resaving_an_image_hardly_ever_flips_its_verdict(tmp_path: Path) -> None:
    detector = Detector.load()
    from changeling.demo import fetch_samples
    from changeling.progress import silent

    paths = fetch_samples(tmp_path / "samples", silent)
    if helpers.SHARED.exists():
        paths += sorted(helpers.SHARED.glob("*/*.jpg"))[::40]
    copies = []
    for number, path in enumerate(paths):
        image = Image.open(path).convert("RGB")
        image = image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.LANCZOS)
        buffer = BytesIO()
        image.save(buffer, "JPEG" if number % 2 else "WEBP", quality=75)
        copies.append(tmp_path / f"{number}.img")
        copies[-1].write_bytes(buffer.getvalue())
    before, after = list(detector.detect(paths)), list(detector.detect(copies))
    flipped = [{a.label, b.label} == {"real", "fake"} for a, b in zip(before, after, strict=True)]
    moved = [abs((a.probability or 0) - (b.probability or 0)) for a, b in zip(before, after, strict=True)]
    assert sum(flipped) <= 0.02 * len(paths)
    assert np.median(moved) < 0.1

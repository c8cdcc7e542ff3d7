"""The demo, with weights and images from the package index, and again without it."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from changeling.backbones import registry
from changeling.cli import app
from changeling.demo.run import STUDIES, describe_unsure, find_command
from changeling.demo.samples import GENERATED, PHOTOGRAPHS, fetch_samples
from changeling.detect.detector import Detector
from changeling.detect.model import load_model
from changeling.experiments import probe_curve
from changeling.experiments.crossgen import CrossgenSettings
from changeling.experiments.disentangle import DisentangleSettings
from changeling.experiments.linear_probe import ProbeSettings
from changeling.progress import silent
from changeling.results.folder import load_results
from tests import helpers

pytestmark = pytest.mark.network


@pytest.fixture
def quick_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo run the same experiments with settings that take seconds: one C, one draw, few training steps."""
    quick = {
        "probe": ProbeSettings(C=1.0),
        "crossgen": CrossgenSettings(draws=1),
        "disentangle": DisentangleSettings(epochs=1, min_steps=1),
    }
    monkeypatch.setattr(probe_curve, "MAX_EPOCHS", 20)
    for name, study in STUDIES.items():
        monkeypatch.setitem(STUDIES, name, study.model_copy(update={"settings": {**study.settings, **quick}}))


@pytest.mark.usefixtures("quick_studies")
def test_the_demo_writes_verdicts_and_reports_and_needs_no_network_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = CliRunner().invoke(app, ["demo", "--output", str(tmp_path / "demo")])
    assert ran.exit_code == 0, ran.output
    images = sorted((tmp_path / "demo" / "pictures").rglob("*.*"))
    assert len(images) == 2 + len(PHOTOGRAPHS.pictures) + len(GENERATED.pictures)
    assert len(GENERATED.pictures) <= 12
    assert all(path.name in ran.output for path in images)
    assert {result.experiment for result in load_results(tmp_path / "demo")} == {"contrast", "detector"}
    page = (tmp_path / "demo" / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("<img") >= 12  # verdicts on the sample pictures
    for name, study in STUDIES.items():
        results = load_results(tmp_path / "demo" / name)
        assert {result.experiment for result in results} == set(study.experiments)
        assert all(result.tables or result.maps for result in results)
        address = f"../{name}/report/index.html"
        assert f'href="{address}"' in page
        assert (tmp_path / "demo" / "report" / address).exists()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    samples = fetch_samples(tmp_path / "again", silent)
    assert len(samples) == len(images)
    assert {verdict.label for verdict in Detector.load().detect(samples[:3])} <= {"real", "fake", "unsure"}


def test_the_last_line_names_a_command_that_the_shell_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "changeling").touch(mode=0o755)
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    assert find_command() == ".venv/bin/changeling"
    monkeypatch.chdir(folder.parent)
    assert find_command() == "bin/changeling"
    monkeypatch.setenv("PATH", str(folder))
    assert find_command() == "changeling"


def test_unsure_is_explained_with_how_often_it_is_expected() -> None:
    model = load_model().model
    assert model.false_positives
    assert model.false_negatives
    text = describe_unsure(model)
    for rate, kind in ((model.false_positives, "real"), (model.false_negatives, "generated")):
        assert f"{100 - 100 * rate.right - 100 * rate.wrong:.1f} % of the {kind} images" in text
    without_rates = model.model_copy(update={"false_positives": None, "false_negatives": None})
    assert "held-out" not in describe_unsure(without_rates)


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
    paths = fetch_samples(tmp_path / "samples", silent)
    if helpers.SHARED.exists():
        paths += sorted(helpers.SHARED.glob("*/*.jpg"))[::160]
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

"""A real study, small and fast, a page of it, and a page of the same study at the paper's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.experiments import probe_curve
from changeling.experiments.disentangle import DisentangleSettings
from changeling.experiments.embedding import EmbeddingSettings
from changeling.experiments.linear_probe import ProbeSettings
from changeling.features.captions import extract_captions
from changeling.report import write_report
from changeling.results.result import Picture, Result, Sheet, Strip
from changeling.studies.runner import run_experiments
from changeling.studies.settings import Study
from tests import helpers
from tests.experiments.conftest import make_text_backbone, store
from tests.report import samples

FAST = Study(
    settings={
        "probe": ProbeSettings(C=1.0),
        "disentangle": DisentangleSettings(epochs=2, min_steps=1, batch=128),
        "embedding": EmbeddingSettings(clusters=8),
    }
)
SHAPES = ((640, 480), (512, 512), (900, 300), (240, 640), (640, 427), (2000, 120))


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """All experiments on 104 clusters by two generators, with features of two backbones, and of captions of one."""
    dataset = helpers.tiny_dataset(tmp_path_factory.mktemp("study") / "tiny", clusters=104)
    rng = np.random.default_rng(0)
    for backbone in ("planted", "other-planted"):
        features = rng.normal(size=(104, 8))[dataset.clusters] + 0.3 * rng.normal(size=(len(dataset), 8))
        features[:, 0] += dataset.labels
        store(dataset, backbone, features.astype(np.float32))
    extract_captions(dataset, make_text_backbone(rng.normal(size=(dataset.captions.num_rows, 8)).astype(np.float32)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_curve, "MAX_EPOCHS", 20)
        return list(run_experiments(dataset, FAST))


@pytest.fixture(scope="session")
def study(studied: list[Result], tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """The real study, and an experiment of somebody else's: a cluster some files of which are gone, odd shapes."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    pictures = []
    for i, size in enumerate(SHAPES):
        path = folder / f"{i}.png"
        if i not in (1, 4):
            Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize(size).save(path)
        probability = (0.012, 0.99996, 0.874, 0.52, 0.9431, 0.2)[i]
        label = "unsure" if i == 3 else "fake" if probability > 0.5 else "real"
        pictures.append(Picture(path=str(path), title=path.name, probability=probability, label=label))
    cluster = (one.model_copy(update={"role": "child" if i else "parent"}) for i, one in enumerate(pictures))
    sheets = (
        Sheet(key="a", title="A cluster", strips=(Strip(title="c1", caption="Said of it.", pictures=tuple(cluster)),)),
        Sheet(key="b", title="Verdicts", strips=(Strip(title="Least sure", pictures=tuple(pictures)),)),
    )
    odd = Result(experiment="odd", title="Pictures", summary="Of odd shapes.", settings={"seed": 1}, sheets=sheets)
    return [*studied, odd]


@pytest.fixture(scope="session")
def full(studied: list[Result]) -> list[Result]:
    """The study at the paper's size."""
    return samples.paper_size(studied, 400)


@pytest.fixture(scope="session")
def report(study: list[Result], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `study`."""
    return write_report(study, tmp_path_factory.mktemp("page") / "report" / "index.html")


@pytest.fixture(scope="session")
def full_report(full: list[Result], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `full`."""
    return write_report(full, tmp_path_factory.mktemp("full") / "index.html")

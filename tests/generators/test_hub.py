"""What is fetched from a Hub: a pipeline's own files at a commit, never pickles; and no code of it is run."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file

from changeling.build.draw import fetch_build_generator, load_build_generator
from changeling.build.record import check_record, write_or_check_record
from changeling.datasets.dataset import Dataset
from changeling.errors import BuildError
from changeling.generators.autoencoders import Taef2
from changeling.generators.families import load_generator
from changeling.generators.hub import fetch_model
from changeling.generators.revision import Revision
from changeling.generators.settings import GeneratorSettings
from tests.backbones.hub import Harmful
from tests.build.builds import drawing, make_build
from tests.generators import hub
from tests.generators.hub import COMMIT, GATED, serving
from tests.generators.requests import check_refused
from tests.generators.tiny import changed


@pytest.fixture
def repositories(models: Path, tmp_path: Path) -> Path:
    """Those of the tiny pipelines, and what else may lie in a repository."""
    root = tmp_path / "repositories"
    for name in ("sd", "sd2", "vae"):
        shutil.copytree(models / name, root / name)
    for file in ("README.md", "v1-4.ckpt", "v1-4.safetensors", "pipeline.py", "unet/diffusion_pytorch_model.bin"):
        (root / "sd" / file).write_bytes(pickle.dumps(Harmful(tmp_path / "mark")))
    return root


@pytest.fixture
def fetched(repositories: Path, tmp_path: Path) -> Iterator[list[str]]:
    """The files that a Hub over these repositories was asked for so far."""
    with serving(repositories, tmp_path / "cache") as files:
        yield files
    assert not (tmp_path / "mark").exists()


def test_a_pipelines_own_files_are_fetched_once(fetched: list[str], tmp_path: Path) -> None:
    generator = load_generator(drawing("somebody/sd"), tmp_path)
    assert generator.record["revision"] == COMMIT
    weights = [name for name in fetched if name.endswith(".safetensors")]
    assert sorted(weights) == [
        "sd/safety_checker/model.safetensors",
        "sd/text_encoder/model.safetensors",
        "sd/unet/diffusion_pytorch_model.safetensors",
        "sd/vae/diffusion_pytorch_model.safetensors",
    ]
    others = set(fetched) - set(weights) - {"sd/pipeline.py"}  # which diffusers fetches, and nobody runs
    assert all(name.endswith(".json") for name in others)
    fetched.clear()
    assert load_generator(drawing("somebody/sd", revision=COMMIT), tmp_path).record == generator.record
    assert fetched == []


@pytest.mark.parametrize(("model", "folder"), [("sd", "sd/vae"), ("vae", "vae")])
def test_only_the_autoencoder_is_fetched_for_a_reconstruction(
    model: str, folder: str, fetched: list[str], tmp_path: Path
) -> None:
    generator = load_generator(GeneratorSettings(model=f"somebody/{model}", kind="reconstruction"), tmp_path)
    assert generator.record["revision"] == COMMIT
    assert sorted(fetched) == [f"{folder}/config.json", f"{folder}/diffusion_pytorch_model.safetensors"]


def test_only_the_weights_of_taef2_are_fetched(repositories: Path, fetched: list[str], tmp_path: Path) -> None:
    (repositories / "taef2").mkdir()
    save_file(Taef2().state_dict(), repositories / "taef2" / "taef2.safetensors")
    (repositories / "taef2" / "example.safetensors").write_bytes(b"")
    generator = load_generator(GeneratorSettings(model="somebody/taef2", kind="reconstruction"), tmp_path)
    assert (generator.record["revision"], generator.record["pipeline"]) == (COMMIT, "Taef2")
    assert fetched == ["taef2/taef2.safetensors"]


def test_only_the_checker_is_fetched_from_its_model(fetched: list[str], tmp_path: Path) -> None:
    generator = load_generator(drawing("somebody/sd2", safety_checker="other/sd"), tmp_path)
    assert generator.record["safety_checker"] == f"other/sd@{COMMIT}"
    assert sorted(name for name in fetched if name.startswith("sd/")) == [
        "sd/feature_extractor/preprocessor_config.json",
        "sd/safety_checker/config.json",
        "sd/safety_checker/model.safetensors",
    ]


@pytest.mark.parametrize("kind", ["text-to-image", "reconstruction"])
def test_the_error_of_a_gated_model_says_how_to_accept_its_licence(
    kind: str, fetched: list[str], tmp_path: Path
) -> None:
    check_refused(
        drawing(f"{GATED}/sd", kind=kind),
        tmp_path,
        r"gated/sd is behind a licence: accept it on the Hugging Face Hub, and log in \(`hf auth login`\)",
    )
    assert fetched == []


@pytest.mark.parametrize("kind", ["text-to-image", "reconstruction"])
@pytest.mark.parametrize(
    ("model", "revision", "reason"),
    [("somebody/none", "", "Repository Not Found"), ("somebody/sd", "v9", "Revision Not Found")],
)
def test_a_missing_repository_or_revision_is_named_in_the_error(
    model: str, revision: str, reason: str, kind: str, fetched: list[str], tmp_path: Path
) -> None:
    check_refused(drawing(model, kind=kind, revision=revision), tmp_path, f"{model} cannot be loaded, .*{reason}")
    assert fetched == []


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_weights_in_pickles_are_not_fetched(part: str, repositories: Path, fetched: list[str], tmp_path: Path) -> None:
    (weights,) = (repositories / "sd" / part).glob("*.safetensors")
    weights.rename(weights.with_suffix(".bin"))
    check_refused(drawing("somebody/sd"), tmp_path, "somebody/sd cannot be loaded")
    assert not [name for name in fetched if name.endswith(".bin")]


@pytest.mark.parametrize("index", [{"unet": ["mine", "Net"]}, {"_class_name": ["pipeline", "Mine"]}], ids=str)
def test_code_of_a_repository_is_not_run(
    index: dict[str, object], repositories: Path, models: Path, fetched: list[str], tmp_path: Path
) -> None:
    folder = changed(models / "sd", repositories / "other", **index)
    for path in (folder / "unet" / "mine.py", folder / "pipeline.py"):
        path.write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'mark')!r}).touch()\n")
    check_refused(drawing("somebody/other"), tmp_path, "somebody.other")
    assert not (tmp_path / "mark").exists()


def test_a_resumed_build_uses_the_recorded_commits(
    repositories: Path, fetched: list[str], parents: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = drawing("somebody/sd2", safety_checker="other/sd")
    build = make_build(parents, tmp_path / "fakes", tmp_path, {"sd": settings}, clusters=2)
    generator = load_build_generator(build, "sd")
    write_or_check_record(build, "sd", generator)
    monkeypatch.setattr(hub, "NEWEST", "f" * 40)  # both are changed, and the old commit is still served
    assert fetch_model("somebody/sd2", "", tmp_path).revision == Revision("commit", "f" * 40)
    again = load_build_generator(build, "sd")
    assert again.record == generator.record
    assert again.record["revision"] == COMMIT
    assert again.record["safety_checker"] == f"other/sd@{COMMIT}"
    assert write_or_check_record(build, "sd", again)
    check_record(build, "sd")
    other = replace(build, generators={"sd": settings.model_copy(update={"revision": "f" * 40})})
    with pytest.raises(BuildError, match=r"made with revision '0123.*', now it is 'ffff"):
        check_record(other, "sd")


def test_a_checkers_commit_can_be_named(fetched: list[str], tmp_path: Path) -> None:
    generator = load_generator(drawing("somebody/sd2", safety_checker=f"other/sd@{COMMIT}"), tmp_path)
    assert generator.record["safety_checker"] == f"other/sd@{COMMIT}"
    check_refused(
        drawing("somebody/sd2", safety_checker=f"other/sd@{40 * 'e'}"), tmp_path, "other/sd@e+ cannot be loaded"
    )


@pytest.mark.parametrize("checker", ["other/sd", "other/sd@main"])
@pytest.mark.parametrize("revision", ["", "main"])
def test_branches_and_tags_are_resolved_once(
    checker: str, revision: str, fetched: list[str], parents: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = drawing("somebody/sd2", safety_checker=checker, revision=revision)
    build = make_build(parents, tmp_path / "fakes", tmp_path, {"sd": settings}, clusters=2)
    begun = write_or_check_record(build, "sd", load_build_generator(build, "sd"))
    monkeypatch.setattr(hub, "NEWEST", "f" * 40)
    check_record(build, "sd")
    fetched.clear()
    fetch_build_generator(build, "sd")
    assert fetched == []
    assert write_or_check_record(build, "sd", load_build_generator(build, "sd")) == begun


def test_a_checkers_folder_may_have_any_name(models: Path, parents: Dataset, tmp_path: Path) -> None:
    shutil.copytree(models / "sd", tmp_path / "sd@2")
    shutil.copytree(models / "sd2", tmp_path / "bare")
    settings = drawing("bare", safety_checker="sd@2")
    build = make_build(parents, tmp_path / "fakes", tmp_path, {"sd": settings}, clusters=2)
    begun = write_or_check_record(build, "sd", load_build_generator(build, "sd"))
    assert begun["safety_checker"].startswith("sd@2@files ")
    check_record(build, "sd")
    assert write_or_check_record(build, "sd", load_build_generator(build, "sd")) == begun

"""The public Python API: it is what docs/api.md lists, it is typed, and importing it loads nothing else."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import changeling
from changeling import (
    ChangelingError,
    Dataset,
    Detector,
    EvidenceReader,
    Result,
    Study,
    TrainingSettings,
    evaluate_detectors,
    export_huggingface,
    extract_features,
    import_coco,
    import_folder,
    load_backbone,
    load_protocol,
    load_results,
    run_study,
    train_detector,
)
from changeling.errors import BackboneError, StudyError
from changeling.experiments.registry import EXPERIMENTS
from tests import helpers

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
SOURCE = ROOT / "src" / "changeling" / "__init__.py"


def test_the_page_lists_the_public_names() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE)) == sorted(changeling.__all__)


def test_every_public_name_can_be_imported_and_has_a_docstring() -> None:
    for name in changeling.__all__:
        assert inspect.getdoc(getattr(changeling, name)), name
    assert set(changeling.__all__) <= set(dir(changeling))


def test_type_checkers_see_the_names_where_they_are_imported_from() -> None:
    imported = {
        alias.name: node.module
        for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("changeling.")
        for alias in node.names
    }
    assert imported == {name: f"changeling.{module}" for name, module in changeling._MODULES.items()}


def test_public_functions_are_annotated_and_take_options_by_keyword() -> None:
    positional = {("build_dataset", "folder"), ("run_study", "folder"), ("find_images", "stdin")}
    positional.add(("load_backbone", "progress"))  # as where the package calls it
    functions = {name: getattr(changeling, name) for name in changeling.__all__}
    found = set()
    for name, function in functions.items():
        if inspect.isfunction(function):
            signature = inspect.signature(function)
            assert signature.return_annotation is not inspect.Signature.empty
            for parameter in signature.parameters.values():
                assert parameter.annotation is not inspect.Parameter.empty, (function, parameter)
                if parameter.default is not parameter.empty and parameter.kind is not parameter.KEYWORD_ONLY:
                    found.add((name, parameter.name))
    assert found == positional


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'detekt'"):
        getattr(changeling, "detekt")  # noqa: B009 (mypy knows that it does not exist)


def test_importing_the_package_loads_no_other() -> None:
    code = "import sys; before = set(sys.modules); import changeling; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    packages = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert packages == {"changeling"}


def test_the_detector_needs_no_heavy_package() -> None:
    code = "import sys; from changeling import Detector, Verdict, find_images; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "sklearn", "pyarrow", "matplotlib"} & set(loaded)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 12 real and 12 fake images."""
    for number in range(12):
        for folder, draw in (("real", helpers.natural), ("fake/alpha", helpers.generated)):
            path = tmp_path / "pictures" / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(number).save(path)
    return tmp_path / "pictures"


def test_researcher_imports_studies_and_reads_results(pictures: Path, tiny_onnx: Path) -> None:
    folder, backbone = pictures.parent, f"onnx:{tiny_onnx}"
    dataset = import_folder(str(pictures), str(folder / "dataset"))
    features = extract_features(dataset, backbone)
    assert features.values.shape == (24, helpers.DIM)
    assert features.valid.all()
    notes: list[str] = []
    study = Study(dataset="dataset", output="study", backbones=(backbone,), experiments=("distances", "confounds"))
    results = run_study(study, folder, note=notes.append)
    assert [result.experiment for result in results] == ["distances", "confounds"]
    assert {result.experiment for result in load_results(str(folder / "study"))} == {"distances", "confounds"}
    assert (folder / "study" / "report" / "index.html").exists()
    assert notes[-1] == f"report: {folder / 'study' / 'report' / 'index.html'}"
    assert results[0].summary in notes[0]


def test_study_extracts_missing_features(tiny_dataset: Dataset, tiny_onnx: Path) -> None:
    study = Study(dataset="dataset", output="study", backbones=(f"onnx:{tiny_onnx}@pre",), experiments=("distances",))
    (result,) = run_study(study, tiny_dataset.path.parent)
    assert result.sources[0].backbone == f"onnx:{tiny_onnx}@pre"


def test_a_study_that_cannot_start_is_an_error_that_users_can_correct(tiny_dataset: Dataset) -> None:
    study = Study(dataset="dataset", backbones=("onnx:missing.onnx",))
    with pytest.raises(BackboneError, match=r"missing\.onnx: no such ONNX file"):
        run_study(study, tiny_dataset.path.parent)
    with pytest.raises(StudyError, match="does not exist"):
        run_study(Study(dataset="elsewhere"), tiny_dataset.path.parent)
    assert issubclass(StudyError, ChangelingError)


def test_a_study_that_fails_reports_the_results_so_far(
    tiny_dataset: Dataset, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Result:
        raise StudyError("the second experiment fails")

    monkeypatch.setitem(EXPERIMENTS, "confounds", replace(EXPERIMENTS["confounds"], run=fail))
    study = Study(
        dataset="dataset", output="study", backbones=(f"onnx:{tiny_onnx}",), experiments=("distances", "confounds")
    )
    with pytest.raises(StudyError, match="the second experiment fails"):
        run_study(study, tiny_dataset.path.parent)
    folder = tiny_dataset.path.parent / "study"
    assert [result.experiment for result in load_results(folder)] == ["distances"]
    assert "confounds" not in (folder / "tables.csv").read_text()
    assert (folder / "report" / "index.html").exists()


def test_newsroom_trains_detects_and_compares(pictures: Path, tiny_onnx: Path) -> None:
    folder = pictures.parent
    dataset = import_folder(pictures, folder / "dataset")
    settings = TrainingSettings(seed=3)
    trained = train_detector(dataset, str(folder / "mine"), backbone=f"onnx:{tiny_onnx}", settings=settings)
    paths = sorted(pictures.rglob("*.png"))
    verdicts = list(trained.detect(paths))
    assert verdicts == list(Detector.load(folder / "mine").detect(paths))
    protocol = load_protocol("universal-fake-detect").model_copy(update={"split": "all"})
    result = evaluate_detectors(
        dataset, [f"mine=changeling:{folder / 'mine'}"], folder / "evaluation", protocol=protocol
    )
    assert "mine has the highest AUROC" in result.summary
    assert (folder / "evaluation" / "leaderboard.html").exists()


def test_builder_imports_captioned_photographs(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    helpers.natural(0).save(tmp_path / "images" / "000000000001.jpg")
    (tmp_path / "captions.json").write_text(
        '{"images": [{"id": 1, "file_name": "000000000001.jpg"}], '
        '"annotations": [{"id": 1, "image_id": 1, "caption": "A gradient."}]}'
    )
    notes: list[str] = []
    dataset = import_coco(tmp_path / "captions.json", tmp_path / "images", tmp_path / "coco", note=notes.append)
    assert (len(dataset), dataset.captions.num_rows) == (1, 1)
    assert notes == ["photographs: 1 of 1"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _, __: Detector.load(runtime="fast"), "there is no runtime 'fast'; use one of auto"),  # type: ignore[arg-type]
        (lambda _, __: load_backbone("clip-vit-b16", runtime="gpu"), "there is no runtime 'gpu'"),  # type: ignore[arg-type]
        (lambda _, __: load_protocol("gen-image"), "protocol gen-image: no such file, and no ready protocol; did"),
        (lambda _, __: EvidenceReader(Path("none.pem")), "trust list none.pem: No such file"),
        (lambda data, _: export_huggingface(data, "out", licence="CC BY"), "'CC BY' is not a licence identifier"),
        (lambda data, path: import_folder(path, data.path), "is a dataset already; choose another output folder or"),
        (lambda data, path: export_huggingface(data, path), "exists already; choose another output folder"),
        (lambda data, path: evaluate_detectors(data, ["resnet"], path), "detector 'resnet' is of no known kind; use "),
        (lambda data, path: evaluate_detectors(data, ["changeling"], path), "the split 'test' has 0 real and 0 fake"),
    ],
)
def test_errors_name_things_and_not_options_of_the_command_line(
    call: Callable[[Dataset, Path], object], message: str, tmp_path: Path
) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "dataset", clusters=2)  # none of them in the test split
    (folder := tmp_path / "folder").mkdir()
    (folder / "note.txt").touch()
    with pytest.raises(ChangelingError) as raised:
        call(dataset, folder)
    assert message in str(raised.value)
    assert "--" not in str(raised.value)

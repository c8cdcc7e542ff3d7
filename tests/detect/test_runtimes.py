"""How a detector is run: what is measured, what is chosen, and for how long the choice holds."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from changeling.backbones.onnx import OnnxBackbone
from changeling.cli import app
from changeling.detect import runtimes
from changeling.detect.confirmation import ConfirmedBackbone
from changeling.detect.detector import Detector
from changeling.detect.model import TrainedModel
from changeling.detect.processor import Processor, read_processor
from changeling.detect.runtime_names import Runtime
from changeling.detect.runtimes import MeasuredRuntime, RuntimeChoice
from changeling.errors import BackboneError, ModelError
from changeling.progress import Progress, silent
from tests import helpers


@pytest.fixture
def trained(tiny_backbone: OnnxBackbone) -> TrainedModel:
    return helpers.tiny_detector(tiny_backbone)


def load_shifted(shift: float) -> Callable[[str, Progress], OnnxBackbone]:
    """A loader of the compact runtime: the tiny backbone with features that are shifted a little."""

    class Shifted(OnnxBackbone):
        def encode(self, pixels: np.ndarray) -> np.ndarray:
            return super().encode(pixels) + np.float32(shift)

    return lambda name, _: Shifted(Path(name.removeprefix("onnx:")), name)


def offer_compact(monkeypatch: pytest.MonkeyPatch, shift: float) -> None:
    monkeypatch.setattr(runtimes, "has_compact_graph", lambda _: True)
    monkeypatch.setitem(runtimes.LOADERS, Runtime.COMPACT, load_shifted(shift))


def test_a_runtime_is_measured_against_the_exact_one(trained: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_compact(monkeypatch, 1e-2)
    exact, compact = runtimes.measure_runtimes(trained, runtimes.AUTOMATIC, silent)
    assert (exact.runtime, exact.speed, exact.difference) == (Runtime.EXACT, 1, 0)
    assert compact.runtime is Runtime.COMPACT
    assert compact.difference > runtimes.MAX_DIFFERENCE
    assert min(exact.seconds, compact.seconds, compact.speed) > 0


def test_a_backbone_without_a_compact_graph_has_one_runtime(trained: TrainedModel) -> None:
    assert runtimes.list_runtimes(trained.model.backbone) == [Runtime.EXACT]


@pytest.mark.parametrize(
    ("speed", "difference", "chosen"),
    [
        (1.2, 1e-6, Runtime.COMPACT),
        (1.2, 1e-3, Runtime.EXACT),  # other probabilities
        (1.2, float("nan"), Runtime.EXACT),
        (1.01, 0.0, Runtime.EXACT),  # not clearly faster
    ],
)
def test_a_runtime_is_chosen_if_it_agrees_and_is_faster(speed: float, difference: float, chosen: Runtime) -> None:
    measured = [MeasuredRuntime(Runtime.EXACT, 0.5, 1, 0), MeasuredRuntime(Runtime.COMPACT, 0.4, speed, difference)]
    assert runtimes.choose_runtime(measured) == chosen


def test_a_quantized_graph_is_never_chosen_but_runs_if_it_is_asked_for(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = [MeasuredRuntime(Runtime.EXACT, 0.5, 1, 0), MeasuredRuntime(Runtime.QUANTIZED, 0.2, 2.5, 0)]
    assert runtimes.choose_runtime(measured) == Runtime.EXACT
    assert "quantized changes probabilities, so it runs only if it is asked for" in runtimes.explain_choice(measured)
    offer_compact(monkeypatch, 0.0)
    monkeypatch.setitem(runtimes.LOADERS, Runtime.QUANTIZED, load_shifted(0.1))
    assert isinstance(runtimes.load_backbone(trained, Runtime.QUANTIZED, silent), ConfirmedBackbone)


def test_a_choice_holds_for_one_detector_on_one_processor(
    trained: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtimes.read_choice(trained) is None
    path = RuntimeChoice.describe(trained, Runtime.COMPACT).save()
    assert runtimes.read_choice(trained) is Runtime.COMPACT
    other = TrainedModel(trained.model.model_copy(update={"weights": "other"}), trained.head)
    assert runtimes.read_choice(other) is None
    with monkeypatch.context() as patch:
        patch.setattr(runtimes, "read_processor", lambda: Processor("another", 2, ()))
        assert runtimes.read_choice(trained) is None
    for broken in (path.read_text().replace("compact", "auto"), "{", ""):
        path.write_text(broken)
        assert runtimes.read_choice(trained) is None


def fail_to_measure(*_: object) -> list[MeasuredRuntime]:
    raise AssertionError("runtimes are measured")


def test_a_runtime_is_chosen_on_first_use_only(trained: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_compact(monkeypatch, 0.0)
    measured = [MeasuredRuntime(Runtime.EXACT, 0.5, 1, 0), MeasuredRuntime(Runtime.COMPACT, 0.4, 1.2, 0)]
    monkeypatch.setattr(runtimes, "measure_runtimes", lambda *_: measured)
    assert type(runtimes.load_backbone(trained, Runtime.EXACT, silent)) is OnnxBackbone
    assert runtimes.read_choice(trained) is None
    assert type(runtimes.load_backbone(trained, Runtime.AUTO, silent)) is not OnnxBackbone
    assert runtimes.read_choice(trained) is Runtime.COMPACT
    monkeypatch.setattr(runtimes, "measure_runtimes", fail_to_measure)
    assert type(runtimes.load_backbone(trained, Runtime.AUTO, silent)) is not OnnxBackbone


def test_nothing_is_measured_again_if_the_choice_no_longer_holds(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_compact(monkeypatch, 0.0)
    path = RuntimeChoice.describe(trained, Runtime.COMPACT).save()
    monkeypatch.setattr(runtimes, "read_processor", lambda: Processor("another", 2, ()))
    monkeypatch.setattr(runtimes, "measure_runtimes", fail_to_measure)
    assert type(runtimes.load_backbone(trained, Runtime.AUTO, silent)) is OnnxBackbone
    path.unlink()  # the compact graph may be there, but nothing was chosen
    with pytest.raises(AssertionError, match="runtimes are measured"):
        runtimes.load_backbone(trained, Runtime.AUTO, silent)


def test_each_backbone_has_a_choice_of_its_own(trained: TrainedModel) -> None:
    others = [
        TrainedModel(trained.model.model_copy(update=change), trained.head)
        for change in ({"weights": "other"}, {"backbone": "other"}, {"weights": "../.."})
    ]
    RuntimeChoice.describe(trained, Runtime.COMPACT).save()
    for other in others:
        RuntimeChoice.describe(other, Runtime.EXACT).save()
    assert runtimes.read_choice(trained) is Runtime.COMPACT
    assert {runtimes.read_choice(other) for other in others} == {Runtime.EXACT}


def test_nothing_is_measured_if_the_cache_is_read_only(
    trained: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()
    offer_compact(monkeypatch, 0.0)
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path / "cache")
    monkeypatch.setattr(runtimes, "measure_runtimes", fail_to_measure)
    assert type(runtimes.load_backbone(trained, Runtime.AUTO, silent)) is OnnxBackbone


def test_the_exact_graph_runs_where_no_compact_graph_can_be_made(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, _: Progress) -> OnnxBackbone:
        raise BackboneError(f"{name} differs")

    monkeypatch.setattr(runtimes, "has_compact_graph", lambda _: True)
    monkeypatch.setitem(runtimes.LOADERS, Runtime.COMPACT, fail)
    assert type(runtimes.load_backbone(trained, Runtime.AUTO, silent)) is OnnxBackbone
    assert runtimes.read_choice(trained) is Runtime.EXACT  # not tried again


def test_a_full_disk_leaves_the_exact_graph(trained: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str, __: Progress) -> OnnxBackbone:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runtimes, "has_compact_graph", lambda _: True)
    monkeypatch.setitem(runtimes.LOADERS, Runtime.COMPACT, fail)
    assert type(runtimes.load_backbone(trained, Runtime.AUTO, silent)) is OnnxBackbone
    assert runtimes.read_choice(trained) is None


@pytest.mark.parametrize(
    ("speed", "difference", "reason"),
    [
        (1.2, 1e-6, "1.20 times as fast, and no probability changes by more than 1e-05"),
        (1.2, 1e-3, "compact changes a probability by 1.0e-03, more than 1e-05"),
        (1.01, 0.0, "compact is 1.01 times as fast, less than 1.05"),
        (0.0, 0.0, "this backbone has no other runtime"),
    ],
)
def test_the_reason_of_a_choice_is_given(speed: float, difference: float, reason: str) -> None:
    measured = [MeasuredRuntime(Runtime.EXACT, 0.5, 1, 0)]
    measured += [MeasuredRuntime(Runtime.COMPACT, 0.4, speed, difference)] if speed else []
    assert runtimes.explain_choice(measured) == reason


def test_the_chosen_runtime_is_loaded(trained: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained.save(tmp_path / "detector")
    offer_compact(monkeypatch, 0.0)
    RuntimeChoice.describe(trained, Runtime.EXACT).save()
    assert type(Detector.load(tmp_path / "detector").backbone) is OnnxBackbone
    RuntimeChoice.describe(trained, Runtime.COMPACT).save()
    chosen = Detector.load(tmp_path / "detector")
    assert type(chosen.backbone) is not OnnxBackbone
    chosen.backbone.weights += "-compact"  # type: ignore[misc]
    assert type(pickle.loads(pickle.dumps(chosen)).backbone) is not OnnxBackbone  # noqa: S301
    exact = Detector.load(tmp_path / "detector", runtime=Runtime.EXACT)
    assert type(exact.backbone) is OnnxBackbone


def test_a_runtime_that_a_backbone_does_not_have_is_refused(trained: TrainedModel, tmp_path: Path) -> None:
    trained.save(tmp_path / "detector")
    with pytest.raises(BackboneError, match="has no compact graph"):
        Detector.load(tmp_path / "detector", runtime=Runtime.COMPACT)


def test_features_of_a_compact_graph_suit_a_head_for_the_exact_one(trained: TrainedModel, tiny_onnx: Path) -> None:
    backbone = helpers.tiny_backbone(tiny_onnx)
    backbone.weights += "-compact"
    trained.check_backbone(backbone)
    backbone.weights = "other-compact"
    with pytest.raises(ModelError, match="was trained on"):
        trained.check_backbone(backbone)


def test_a_processor_is_read_from_the_system(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: sse avx2 amx_bf16 fma\n\n")
    processor = read_processor(tmp_path / "cpuinfo")
    assert (processor.name, processor.instructions) == ("Some CPU", ("avx2", "amx_bf16"))
    unknown = read_processor(tmp_path / "none")
    assert unknown.instructions == ()
    assert unknown.cores == processor.cores >= 1


def test_doctor_prints_and_saves_its_choice(trained: TrainedModel, tmp_path: Path) -> None:
    trained.save(tmp_path / "detector")
    result = CliRunner().invoke(app, ["doctor", "--model", str(tmp_path / "detector")])
    assert result.exit_code == 0, result.output
    assert f"processor     {read_processor().name}" in result.output
    assert "chosen: exact: this backbone has no other runtime (" in result.output
    path = runtimes.find_choice_file(trained.model.backbone, trained.model.weights)
    assert RuntimeChoice.model_validate_json(path.read_bytes()) == RuntimeChoice.describe(trained, Runtime.EXACT)

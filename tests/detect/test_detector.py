"""The detector on tiny backbones, with hostile files, and in a process whose memory is measured."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling import engine
from changeling.backbones.onnx import OnnxBackbone
from changeling.detect import detector
from changeling.detect.detector import Detector, Verdict
from changeling.detect.model import Head, Label
from changeling.errors import ModelError
from changeling.images.decode import read_file
from changeling.images.deliveries import DELIVERIES, deliver_in_all_ways
from tests import helpers, hostile

# MiB for all hostile files: the largest image has 88 million pixels, which take 710 MiB with an alpha channel
MAX_MEMORY = 400 + 710 * engine.count_decoding_threads()


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Eleven paths; one file is not an image, one does not exist."""
    paths = [tmp_path / f"{n}.png" for n in range(11)]
    for n, path in enumerate(paths):
        (helpers.natural if n % 2 else helpers.generated)(n).save(path)
    paths[4].write_bytes(b"not an image")
    paths[10].unlink()
    return [str(path) for path in paths]


def test_probability_and_label_come_from_the_head(images: list[str], tiny_backbone: OnnxBackbone) -> None:
    trained = helpers.tiny_detector(tiny_backbone)
    verdicts = list(Detector(trained, tiny_backbone).detect(images))
    assert [verdict.path for verdict in verdicts] == images
    assert {verdict.model for verdict in verdicts} == {"tiny"}
    assert {verdict.label for verdict in verdicts} >= {"real", "fake"}
    for verdict in verdicts:
        if verdict.status != "ok":
            continue
        prepared = tiny_backbone.preprocessing(tiny_backbone.preprocessing.decode(read_file(verdict.path)).image)
        feature = tiny_backbone.encode(prepared[None])[0].astype(np.float64)
        score = feature @ trained.head.weight + trained.head.bias
        probability = 1 / (1 + np.exp(-6 * score))
        assert verdict.probability == pytest.approx(probability, abs=1e-5)
        assert verdict.label == ("fake" if probability > 0.6 else "real" if probability < 0.4 else "unsure")
        assert verdict.reason == ("between" if verdict.label == "unsure" else None)
        assert verdict.error is None


def test_unsure_verdicts_have_a_reason(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    images = {"white": Image.new("RGB", (300, 200), "white"), "icon": helpers.natural(1, side=31)}
    images |= {"natural": helpers.natural(1), "generated": helpers.generated(2)}
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in images]
    trained = helpers.tiny_detector(tiny_backbone)
    verdicts = list(Detector(trained, tiny_backbone).detect([*paths, paths[1]]))
    labels = [(verdict.label, verdict.reason) for verdict in verdicts]
    assert labels == [("unsure", "flat"), ("unsure", "too small"), ("real", None), ("fake", None), labels[1]]
    wide = replace(trained, model=trained.model.model_copy(update={"real_below": 0.0, "fake_above": 1.0}))
    verdicts = list(Detector(wide, tiny_backbone).detect(paths))
    assert [verdict.reason for verdict in verdicts] == ["flat", "too small", "between", "between"]


def test_a_single_path_is_an_error(tiny_backbone: OnnxBackbone) -> None:
    with pytest.raises(TypeError, match="put a single one in a list"):
        list(Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone).detect("photo.jpg"))


def test_unreadable_files_get_verdicts_in_order(images: list[str], tiny_backbone: OnnxBackbone) -> None:
    verdicts = list(Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone).detect(images))
    unreadable = {n: verdict for n, verdict in enumerate(verdicts) if verdict.status != "ok"}
    assert {n: verdict.status for n, verdict in unreadable.items()} == {4: "unsupported", 10: "missing"}
    for n, verdict in unreadable.items():
        assert verdict == Verdict(images[n], None, None, "tiny", verdict.status, verdict.error)
        assert verdict.error


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 64])
def test_verdicts_do_not_depend_on_the_batch_size(
    batch: int, images: list[str], tiny_backbone: OnnxBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_detector = Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone)
    expected = list(tiny_detector.detect(images))
    monkeypatch.setattr(detector, "BATCH_SIZE", batch)
    for one, other in zip(tiny_detector.detect(images), expected, strict=True):
        assert one.probability == (None if other.probability is None else pytest.approx(other.probability, abs=1e-6))
        assert replace(one, probability=other.probability) == other


def test_paths_are_strings_or_paths_from_any_iterable(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    path = tmp_path / "x.png"
    helpers.natural(0).save(path)
    tiny_detector = Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone)
    paths: list[str | Path] = [str(path), path]
    verdicts = list(tiny_detector.detect(iter(paths)))
    assert verdicts[0] == verdicts[1]
    assert verdicts[0].path == str(path)
    assert list(tiny_detector.detect([])) == []


@pytest.mark.parametrize("other", ["weights", "preprocessing", "length"])
def test_a_backbone_with_other_features_is_refused(other: str, tiny_onnx: Path, tmp_path: Path) -> None:
    backbone = helpers.tiny_backbone(tiny_onnx)
    trained = helpers.tiny_detector(backbone)
    Detector(trained, backbone)
    if other == "weights":
        backbone = helpers.tiny_backbone(helpers.tiny_onnx(tmp_path / "x.onnx", seed=1))
    elif other == "preprocessing":
        changed = helpers.TINY.model_copy(update={"crop": 30})
        backbone = helpers.tiny_backbone(helpers.tiny_onnx(tmp_path / "x.onnx", preprocessing=changed))
    else:
        trained = replace(trained, head=Head(np.ones(15, np.float32), 0.0))
    with pytest.raises(ModelError, match="takes 15 numbers, not 16" if other == "length" else f"with {other} "):
        Detector(trained, backbone)


def test_a_detector_is_loaded_from_a_folder(tmp_path: Path, images: list[str], tiny_backbone: OnnxBackbone) -> None:
    trained = helpers.tiny_detector(tiny_backbone)
    trained.save(tmp_path / "model")
    loaded = Detector.load(tmp_path / "model")
    assert loaded.model == trained.model
    assert list(loaded.detect(images)) == list(Detector(trained, tiny_backbone).detect(images))


def test_a_stable_verdict_has_the_median_and_the_range_over_deliveries(
    images: list[str], tiny_backbone: OnnxBackbone
) -> None:
    trained = helpers.tiny_detector(tiny_backbone)
    preprocessing = tiny_backbone.preprocessing
    for verdict in Detector(trained, tiny_backbone).detect_stable(images[:4]):
        image = preprocessing.decode(read_file(verdict.path)).image
        views = np.stack([preprocessing(view) for view in (image, *deliver_in_all_ways(image))])
        probabilities = trained.predict_probabilities(tiny_backbone.encode(views))
        assert len(probabilities) == 1 + len(DELIVERIES)
        assert verdict.probability == pytest.approx(np.median(probabilities), abs=1e-6)
        assert (verdict.lowest, verdict.highest) == pytest.approx((min(probabilities), max(probabilities)), abs=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "label", "reason"),
    [
        ([0.1, 0.2, 0.3], "real", None),
        ([0.9, 0.8, 0.7], "fake", None),
        ([0.9, 0.5, 0.9], "fake", None),
        ([0.9, 0.5, 0.5], "unsure", "between"),
        ([0.1, 0.5, 0.1], "real", None),
        ([0.9, 0.1, 0.9], "unsure", "unstable"),
        ([0.1, 0.1, 0.9], "unsure", "unstable"),
        ([0.1, 0.5, 0.9], "unsure", "unstable"),
    ],
)
def test_an_image_is_unstable_if_it_is_real_by_one_delivery_and_fake_by_another(
    probabilities: list[float], label: Label, reason: str | None, tmp_path: Path, tiny_backbone: OnnxBackbone
) -> None:
    """The backbone gives features that the head maps to these probabilities, one for each view."""
    trained = helpers.tiny_detector(tiny_backbone)
    tiny_detector = Detector(trained, tiny_backbone)
    weight = trained.head.weight.astype(np.float64)
    scores = np.log(np.divide(probabilities, np.subtract(1, probabilities))) / 6
    features = (scores - trained.head.bias)[:, None] * weight / (weight @ weight)

    helpers.natural(0).save(tmp_path / "x.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_backbone, "encode", lambda _: features.astype(np.float32))
        (verdict,) = tiny_detector.detect_stable([tmp_path / "x.png"])
    assert (verdict.label, verdict.reason) == (label, reason)
    assert verdict.probability == pytest.approx(np.median(probabilities), abs=1e-5)


def test_an_image_whose_label_depends_on_its_delivery_is_unsure(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    """The checkerboard by which the tiny detector recognises a generated image does not survive scaling."""
    paths = [tmp_path / "generated.png", tmp_path / "natural.png", tmp_path / "white.png", tmp_path / "icon.png"]
    images = [helpers.generated(2), helpers.natural(1), Image.new("RGB", (300, 200), "white"), helpers.natural(1, 31)]
    for image, path in zip(images, paths, strict=True):
        image.resize((4 * image.width, 4 * image.height), Image.Resampling.NEAREST).save(path)
    images[3].save(paths[3])
    tiny_detector = Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone)
    (plain, *_), stable = list(tiny_detector.detect(paths)), list(tiny_detector.detect_stable(paths))
    assert (plain.label, plain.lowest, plain.highest) == ("fake", None, None)
    assert [(v.label, v.reason) for v in stable] == [
        ("unsure", "unstable"),
        ("real", None),
        ("unsure", "flat"),
        ("unsure", "too small"),
    ]
    for verdict in stable:
        assert verdict.lowest is not None
        assert verdict.probability is not None
        assert verdict.highest is not None
        assert verdict.lowest <= verdict.probability <= verdict.highest


def test_stable_detection_reads_each_file_once_and_yields_errors_in_order(
    images: list[str], tmp_path: Path, tiny_backbone: OnnxBackbone
) -> None:
    tiny_detector = Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone)
    opens = helpers.FileOpens(tmp_path)
    with opens:
        verdicts = list(tiny_detector.detect_stable(images))
    assert opens.counts == {f"{n}.png": 1 for n in range(10)}
    assert [verdict.path for verdict in verdicts] == images
    for n in (4, 10):
        assert verdicts[n] == Verdict(images[n], None, None, "tiny", verdicts[n].status, verdicts[n].error)
    with pytest.raises(TypeError, match="put a single one in a list"):
        list(tiny_detector.detect_stable("photo.jpg"))


HOSTILE = """
import json, pathlib, sys, warnings
from changeling.detect.detector import Detector
warnings.simplefilter("ignore")
folder, *_ = sys.argv[1:]
with open(folder + "/list.json") as file:
    paths = json.load(file)
tiny_detector = Detector.load(folder + "/model")
rows = [(v.path, v.label, v.probability, v.status, v.error) for v in tiny_detector.detect(paths)]
# not ru_maxrss, which starts at the value of the parent process
status = pathlib.Path("/proc/self/status").read_text()
print(json.dumps([rows, int(status.split("VmHWM:")[1].split()[0]) >> 10]))
"""


def test_every_hostile_file_gets_a_verdict_within_bounded_memory(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    helpers.tiny_detector(tiny_backbone).save(tmp_path / "model")
    cases = hostile.cases()
    paths = []
    for number, case in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        paths.append(case.make(tmp_path / str(number)))
    (tmp_path / "list.json").write_text(json.dumps(paths))
    rows, peak = json.loads(helpers.run_unprivileged(HOSTILE, str(tmp_path)))
    assert [row[0] for row in rows] == paths
    for case, (_, label, probability, status, error) in zip(cases, rows, strict=True):
        assert status == case.status, case.name
        assert (label in ("real", "fake", "unsure")) == (status == "ok"), case.name
        assert (probability is not None and 0 <= probability <= 1) == (status == "ok"), case.name
        assert bool(error) == (status != "ok"), case.name
    print(f"{len(rows)} hostile files, peak memory {peak} MiB on {os.cpu_count()} cores")
    assert peak < MAX_MEMORY

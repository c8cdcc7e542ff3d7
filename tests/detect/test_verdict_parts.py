"""Verdicts in parts: those without parts, also after an interruption; new ones where anything has changed."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest

from changeling.backbones.onnx import OnnxBackbone
from changeling.detect import detection as detection_module
from changeling.detect.detection import (
    Detection,
    detect_missing_parts,
    find_runtime_to_resume,
    has_current_part,
    remove_outdated_parts,
)
from changeling.detect.detector import Detector, Verdict
from changeling.detect.evidence.evidence import Evidence
from changeling.detect.evidence.inspect import EvidenceReader, VerdictWithEvidence
from changeling.detect.runtime_names import Runtime
from changeling.detect.verdict_parts import VerdictParts, read_verdicts, remove_parts, verdict_parts
from changeling.errors import ChangelingError
from tests import helpers
from tests.detect.evidence.signing import make_signer

COUNT, PART_SIZE = 22, 8


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection_module, "PART_SIZE", PART_SIZE)


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{number:02d}.png" for number in range(COUNT)]
    for number, path in enumerate(paths):
        (helpers.natural if number % 2 else helpers.generated)(number).save(path)
    paths[3].write_bytes(b"no image")
    paths[9].unlink()
    return [*map(str, paths), "a\0b.png", "caf\udce9.png"]


@pytest.fixture
def detection(tiny_backbone: OnnxBackbone) -> Detection:
    return Detection(Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone))


@pytest.fixture
def parts(images: list[str], tmp_path: Path) -> VerdictParts:
    return verdict_parts(tmp_path / "verdicts.csv", len(images), PART_SIZE)


def find_outdated(detection: Detection, images: Sequence[str], parts: VerdictParts) -> list[int]:
    remove_outdated_parts(detection, images, parts)
    return parts.missing


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("evidence", [False, True])
def test_verdicts_in_parts_are_those_without_parts(
    stable: bool, evidence: bool, detection: Detection, images: list[str], parts: VerdictParts
) -> None:
    detection = Detection(detection.detector, stable, EvidenceReader() if evidence else None)
    reports: list[tuple[str, int, int]] = []
    detect_missing_parts(detection, images, parts, lambda *report: reports.append(report))
    verdicts = list(read_verdicts(parts))
    assert verdicts == list(detection.detect(images))
    assert [verdict.path for verdict in verdicts] == images
    assert all(isinstance(verdict, VerdictWithEvidence) == evidence for verdict in verdicts)
    assert reports == [("detecting", done, len(images)) for done in range(1, len(images) + 1)]


def test_an_interrupted_detection_is_resumed(
    detection: Detection, images: list[str], parts: VerdictParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: str, done: int, __: int) -> None:
        if done == PART_SIZE + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detect_missing_parts(detection, images, parts, interrupt)
    assert find_outdated(detection, images, parts) == [1, 2]
    monkeypatch.chdir(parts.folder)  # whose name is absolute, as those of the images
    detected: list[int] = []
    detect_missing_parts(detection, images, parts, lambda _, done, __: detected.append(done))
    assert detected[0] == PART_SIZE + 1
    assert list(read_verdicts(parts)) == list(detection.detect(images))


def test_an_interruption_loses_at_most_64_images(tmp_path: Path) -> None:
    parts = verdict_parts(tmp_path / "verdicts.csv", 100)
    assert max(parts.count_rows([index]) for index in parts.indices) <= 64


def test_parts_are_detected_again_if_a_file_or_a_setting_changed(
    detection: Detection, images: list[str], parts: VerdictParts, tiny_backbone: OnnxBackbone
) -> None:
    detect_missing_parts(detection, images, parts)
    assert find_outdated(detection, images, parts) == []
    helpers.natural(99).save(images[9])  # was missing
    assert find_outdated(detection, images, parts) == [1]
    detect_missing_parts(detection, images, parts)
    assert find_outdated(detection, [*images[:-1], "other.png"], parts) == [2]
    trained = helpers.tiny_detector(tiny_backbone)
    for other in (
        Detection(detection.detector, is_stable=True),
        Detection(detection.detector, evidence_reader=EvidenceReader()),
        Detection(Detector(trained.with_prior(0.1), tiny_backbone)),
    ):
        detect_missing_parts(detection, images, parts)
        assert find_outdated(other, images, parts) == list(parts.indices)


def test_the_trust_list_is_a_setting(tmp_path: Path, detection: Detection) -> None:
    path = tmp_path / "trust-list.pem"
    path.write_text(make_signer("Camera Maker").authority)
    detection = Detection(detection.detector, evidence_reader=EvidenceReader(path))
    header = detection.make_header([])
    assert pickle.loads(pickle.dumps(detection)).make_header([]) == header  # noqa: S301
    path.write_text(make_signer("Other Maker").authority)
    assert Detection(detection.detector, evidence_reader=EvidenceReader(path)).make_header([]) != header


def test_a_detection_is_pickled_without_its_weights(detection: Detection, images: list[str]) -> None:
    data = pickle.dumps(detection)
    assert len(data) < 10_000
    assert list(pickle.loads(data).detect(images)) == list(detection.detect(images))  # noqa: S301


def test_a_part_contains_every_field(parts: VerdictParts, detection: Detection) -> None:
    details = {"b": "\n", "a": "2"}
    evidence = (Evidence("camera data", "found", "say ü", "captured", "weak", "easily", details),)
    verdicts = [
        Verdict("caf\udce9\n.png", "unsure", 0.1 + 0.2, "tiny", reason="unstable", lowest=5e-324, highest=1 - 1e-16),
        Verdict("", None, None, "tiny", "missing", "the path is empty"),
        VerdictWithEvidence("a", "real", 0.0, "tiny", evidence=evidence),
    ]
    parts.write(0, detection.make_header([]), verdicts)
    assert parts.read(0) == verdicts


def test_a_resumed_detection_has_the_runtime_of_its_parts(
    detection: Detection, images: list[str], parts: VerdictParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    compact, other = "clip-vit-b16@blocks", "clip-vit-b16"  # the second has no compact graph
    assert find_runtime_to_resume(parts, compact) is Runtime.AUTO
    detection.write_part(parts, 1, images[slice(*parts.row_range(1))])
    assert find_runtime_to_resume(parts, other) is Runtime.EXACT
    monkeypatch.setattr(Detector, "runtime", Runtime.COMPACT)
    detection.write_part(parts, 0, images[slice(*parts.row_range(0))])
    assert find_runtime_to_resume(parts, compact) is Runtime.COMPACT
    assert find_runtime_to_resume(parts, other) is Runtime.AUTO
    assert find_outdated(detection, images, parts) == [1, 2]  # part 1 has another runtime


def test_parts_of_other_images_are_not_resumed(detection: Detection, images: list[str], parts: VerdictParts) -> None:
    assert not has_current_part(detection, images, parts)
    detection.write_part(parts, 1, images[slice(*parts.row_range(1))])
    assert has_current_part(detection, images, parts)
    assert not has_current_part(detection, images[::-1], parts)


def test_parts_that_name_no_runtime_are_exact(detection: Detection, images: list[str], parts: VerdictParts) -> None:
    detection.write_part(parts, 0, images[slice(*parts.row_range(0))])
    older = parts.path(0).read_text().replace(',"runtime":"exact"', "")
    assert older != parts.path(0).read_text()
    parts.path(0).write_text(older)
    assert find_outdated(detection, images, parts) == [1, 2]


@pytest.mark.parametrize("content", ["", "{}\n", '{"made_of": "x"}\n{"path": 1}\n', '{"made_of": "x"}\n{"pa'])
def test_a_file_that_is_not_a_part_is_an_error(content: str, parts: VerdictParts, detection: Detection) -> None:
    parts.folder.mkdir()
    parts.path(0).write_text(content)
    with pytest.raises(ChangelingError, match=r"part-00000.jsonl is not a part of verdicts .*; remove it"):
        parts.read_header(0), parts.read(0)


def test_parts_are_removed_with_those_of_an_earlier_run(parts: VerdictParts, detection: Detection) -> None:
    header = detection.make_header([])
    for index in (0, 2, 7):
        parts.write(index, header, [])
    remove_parts(parts)
    assert not parts.folder.exists()
    parts.write(0, header, [])
    (parts.folder / "mine.txt").touch()
    remove_parts(parts)
    assert [path.name for path in parts.folder.iterdir()] == ["mine.txt"]


def test_a_full_disk_is_an_error_in_one_line(
    detection: Detection, images: list[str], parts: VerdictParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, _: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(ChangelingError, match=r"verdicts\.csv\.parts: the disk is full; finished parts are kept"):
        detect_missing_parts(detection, images, parts)

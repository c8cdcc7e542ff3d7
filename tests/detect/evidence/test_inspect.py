"""All evidence of a file, from hostile bytes as well, and how it is joined with verdicts."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.PngImagePlugin import PngInfo

from changeling.backbones.onnx import OnnxBackbone
from changeling.detect.detector import Detector
from changeling.detect.evidence.inspect import EvidenceReader
from changeling.errors import ImageError
from changeling.images.decode import ImageFile
from tests import helpers
from tests.detect.evidence.signing import encode, encode_with_exif
from tests.detect.evidence.test_generator_parameters import WEB_UI, save
from tests.hostile import cases

KINDS = ("content credentials", "digital source type", "camera data", "generator parameters")
READER = EvidenceReader()
FILES = {
    name: encode_with_exif(name, {0x0110: "X100"}, {0x9286: b"UNICODE\0" + b"ab" * 20}) for name in ("JPEG", "WEBP")
}
FILES["PNG"] = save({"parameters": WEB_UI})


def read_states(data: bytes) -> dict[str, str]:
    return {item.kind: item.state for item in READER.read(ImageFile("x", data))}


def test_there_is_one_item_of_each_kind() -> None:
    assert read_states(FILES["PNG"]) == dict.fromkeys(KINDS, "absent") | {"generator parameters": "found"}
    assert read_states(FILES["JPEG"]) == dict.fromkeys(KINDS, "absent") | {"camera data": "found"}


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(max_examples=60)
def test_broken_files_are_unreadable_or_give_one_item_of_each_kind(name: str, data: st.DataObject) -> None:
    broken = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(0, 5))):
        broken[data.draw(st.integers(0, min(len(broken), 1200) - 1))] = data.draw(st.integers(0, 255))
    del broken[data.draw(st.integers(0, len(broken))) :]
    try:
        items = READER.read(ImageFile("x", bytes(broken)))
    except ImageError:
        return
    assert tuple(item.kind for item in items) == KINDS
    assert all("\n" not in item.summary and item.summary for item in items)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF", b"II*\0"]))
@settings(max_examples=60)
def test_random_bytes_are_no_image(data: bytes, start: bytes) -> None:
    with pytest.raises(ImageError):
        READER.read(ImageFile("x", start + data))


def test_a_truncated_png_keeps_what_stands_before_its_pixels() -> None:
    data = FILES["PNG"]
    assert read_states(data[: len(data) // 2])["generator parameters"] == "found"


def test_a_bomb_of_a_text_field_makes_a_file_unreadable() -> None:
    texts = PngInfo()
    texts.add_text("parameters", "a" * 5_000_000, zip=True)
    with pytest.raises(ImageError):
        READER.read(ImageFile("x", encode("PNG", pnginfo=texts)))


def test_hostile_files_get_evidence_or_an_error(tmp_path: Path) -> None:
    paths = [case.make(tmp_path) for case in cases() if case.status != "oversized"]  # which take long to make
    for file in READER.inspect(paths):
        assert (file.error is None) == (file.status == "ok")
        assert tuple(item.kind for item in file.evidence) == (KINDS if file.status == "ok" else ())


def test_verdict_and_evidence_come_from_one_reading_of_a_file(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    names = ["a.png", "b.jpg", "gone.png", "a.png"]
    (tmp_path / "a.png").write_bytes(FILES["PNG"])
    (tmp_path / "b.jpg").write_bytes(FILES["JPEG"])
    paths = [str(tmp_path / name) for name in names]
    detector = Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone)
    with helpers.FileOpens(tmp_path) as opens:
        found = list(READER.detect(detector.detect, paths))
    assert opens.counts == {"a.png": 2, "b.jpg": 1}  # each as often as it is given
    assert [verdict.path for verdict in found] == paths
    for verdict, plain in zip(found, detector.detect(paths), strict=True):
        assert (verdict.label, verdict.probability, verdict.status) == (plain.label, plain.probability, plain.status)
    present = [[item.kind for item in verdict.evidence if item.state == "found"] for verdict in found]
    assert present == [["generator parameters"], ["camera data"], [], ["generator parameters"]]
    assert found[2].evidence == ()


def test_evidence_has_no_part_in_the_verdict(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    plain, labelled = BytesIO(), BytesIO()
    texts = PngInfo()
    texts.add_text("parameters", WEB_UI)
    helpers.natural(1, side=64).save(plain, "PNG")
    helpers.natural(1, side=64).save(labelled, "PNG", pnginfo=texts)
    (tmp_path / "plain.png").write_bytes(plain.getvalue())
    (tmp_path / "labelled.png").write_bytes(labelled.getvalue())
    detector = Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone)
    first, second = READER.detect(detector.detect, [tmp_path / "plain.png", tmp_path / "labelled.png"])
    assert (first.label, first.probability) == (second.label, second.probability)
    assert first.evidence != second.evidence

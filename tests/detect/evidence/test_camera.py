"""Camera facts in EXIF data."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from changeling.detect.evidence.camera import read_camera_data
from changeling.detect.evidence.evidence import Evidence
from tests.detect.evidence.signing import encode, encode_with_exif

MAKE, MODEL, SOFTWARE, DESCRIPTION = 0x010F, 0x0110, 0x0131, 0x010E
PHOTOGRAPH: tuple[dict[int, Any], dict[int, Any]] = (
    {MAKE: "Canon", MODEL: "Canon EOS R5", SOFTWARE: "Adobe Photoshop 25.1"},
    {0x9003: "2024:05:01 10:11:12", 0x829A: 0.004, 0x829D: 2.8, 0x8827: 200, 0x920A: 50.0, 0xA434: "RF50mm F1.2"},
)


def read(data: bytes) -> Evidence:
    with Image.open(BytesIO(data)) as image:
        return read_camera_data(image)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_camera_lens_date_exposure_and_program_are_read(image_format: str) -> None:
    found = read(encode_with_exif(image_format, *PHOTOGRAPH))
    assert (found.state, found.suggests) == ("found", "captured")
    assert found.summary == 'EXIF names the camera "Canon EOS R5".'
    assert found.details == {
        "maker": "Canon",
        "camera": "Canon EOS R5",
        "lens": "RF50mm F1.2",
        "program": "Adobe Photoshop 25.1",
        "taken": "2024:05:01 10:11:12",
        "exposure": "1/250 s, f/2.8, ISO 200, 50 mm",
    }
    assert found.forging.startswith("Trivially")


@pytest.mark.parametrize(
    ("tags", "suggests", "summary"),
    [
        ({MAKE: "Apple", MODEL: "iPhone 15"}, "captured", 'EXIF names the camera "Apple iPhone 15".'),
        ({SOFTWARE: "GIMP 2.10"}, None, 'EXIF names no camera. The file was written by "GIMP 2.10".'),
        (
            {SOFTWARE: "Stable Diffusion XL"},
            "generated",
            'EXIF names no camera. It names "Stable Diffusion", which generates images.',
        ),
        (
            {MODEL: "X100", SOFTWARE: "Midjourney"},
            "generated",
            'EXIF names the camera "X100". It names "Midjourney", which generates images.',
        ),
    ],
)
def test_what_the_program_and_the_camera_suggest(tags: dict[int, str], suggests: str | None, summary: str) -> None:
    found = read(encode_with_exif("JPEG", tags, {}))
    assert (found.suggests, found.summary) == (suggests, summary)


@pytest.mark.parametrize(
    "tags", [{}, {DESCRIPTION: "the office of OpenAI"}, {MODEL: 'prompt:{"3": {}}'}, {MAKE: " \0"}]
)
def test_other_fields_are_no_evidence(tags: dict[int, str]) -> None:
    assert read(encode_with_exif("JPEG", tags, {})).state == "absent"
    assert read(encode("JPEG")).state == "absent"


@pytest.mark.parametrize("value", [IFDRational(1, 0), -1.0, 1e9, float("nan"), (1, 2, 3)])
def test_an_implausible_exposure_is_left_out(value: Any) -> None:
    image = Image.new("RGB", (1, 1))
    image.getexif().update({MODEL: "X", 0x829D: value})
    assert "exposure" not in read_camera_data(image).details

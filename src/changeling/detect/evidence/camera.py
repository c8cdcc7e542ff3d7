"""EXIF data: the camera, the exposure, and the program that wrote the file."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from PIL import Image

from changeling.detect.evidence.evidence import Evidence, Suggestion, quote, shorten
from changeling.detect.evidence.exif import read_exif
from changeling.detect.evidence.generator_names import find_generator_name

KIND: Final = "camera data"
# EXIF tags: what they are in plain words
_TEXTS = {
    "Make": "maker",
    "Model": "camera",
    "LensModel": "lens",
    "Software": "program",
    "DateTimeOriginal": "taken",
    "DateTime": "saved",
    "Artist": "artist",
    "ImageDescription": "description",
}
_NO_CAMERA = ("prompt:", "workflow:")  # ComfyUI stores its parameters where a camera stores its name
_CAMERA_WORTH = "Weak. An original photograph has such data, but so can any other image."
_PROGRAM_WORTH = "Moderate where it names a generator, otherwise none: most images pass through some program."
_FORGING = "Trivially: one command copies the data of a photograph into any image, and most websites remove it."


def read_camera_data(image: Image.Image) -> Evidence:
    """Return the camera facts of an image's EXIF data. Whatever Pillow raises on broken data is raised."""
    exif = read_exif(image)
    details = {_TEXTS[tag]: _read_text(exif[tag]) for tag in _TEXTS if tag in exif}
    details = {name: text for name, text in details.items() if text and not text.startswith(_NO_CAMERA)}
    if exposure := _describe_exposure(exif):
        details["exposure"] = exposure
    generator = find_generator_name(" ".join(details.get(name, "") for name in ("maker", "camera", "program")))
    camera = _join_names(details.get("maker", ""), details.get("camera", ""))
    if not camera and "program" not in details and not generator:
        return Evidence(KIND, "absent", "No EXIF data that names a camera or a program.", details=details)
    suggests: Suggestion | None = "generated" if generator else "captured" if camera else None
    worth = _CAMERA_WORTH if suggests == "captured" else _PROGRAM_WORTH
    return Evidence(KIND, "found", _summarize(camera, details, generator), suggests, worth, _FORGING, details)


def _join_names(maker: str, camera: str) -> str:
    """Return the maker and the camera, whose name often begins with its maker's."""
    return camera if camera.lower().startswith(maker.lower()) else f"{maker} {camera}".strip()


def _summarize(camera: str, details: dict[str, str], generator: str | None) -> str:
    summary = f"EXIF names the camera {quote(camera)}." if camera else "EXIF names no camera."
    if generator:
        return f"{summary} It names {quote(generator)}, which generates images."
    return summary if camera else f"{summary} The file was written by {quote(details['program'])}."


def _describe_exposure(exif: dict[str, object]) -> str:
    """Return exposure time, aperture, sensitivity and focal length, those that are plausible numbers."""
    parts = []
    if seconds := _read_number(exif.get("ExposureTime")):
        time = f"1/{round(1 / seconds)}" if seconds < 0.5 else f"{seconds:g}"
        parts.append(f"{time} s")
    if aperture := _read_number(exif.get("FNumber")):
        parts.append(f"f/{aperture:g}")
    if sensitivity := _read_number(exif.get("ISOSpeedRatings")):
        parts.append(f"ISO {sensitivity:g}")
    if focal_length := _read_number(exif.get("FocalLength")):
        parts.append(f"{focal_length:g} mm")
    return ", ".join(parts)


def _read_text(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return shorten(text, 120)


def _read_number(value: object) -> float | None:
    """Return a positive number below a million, or None for anything else."""
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    try:
        number = float(Fraction(value) if isinstance(value, str) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if 1e-6 < number < 1e6 else None

"""File features: properties of the file are found, the pixels do not matter, and no file raises another error."""

from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from changeling.errors import ImageError
from changeling.images.decode import read_file
from changeling.images.encode import encode_image, jpeg_encoding
from changeling.images.file_features import FILE_FEATURE_GROUPS, FILE_FEATURES, read_file_features
from tests import helpers, hostile

CASES = hostile.cases()


def write_and_read(
    path: Path, image_format: str = "JPEG", image: Image.Image | None = None, **options: Any
) -> Mapping[str, float]:
    """Save a picture and read the features of the file."""
    (image or helpers.natural(0, side=48)).save(path, image_format, **options)
    return dict(zip(FILE_FEATURES, read_file_features(read_file(path)).tolist(), strict=True))


def test_each_fact_has_one_name_and_one_group() -> None:
    assert len(set(FILE_FEATURES)) == len(FILE_FEATURES) == sum(map(len, FILE_FEATURE_GROUPS.values()))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_the_format_and_the_size(image_format: str, tmp_path: Path) -> None:
    features = write_and_read(tmp_path / "x", image_format, helpers.natural(0, side=64).crop((0, 0, 64, 40)))
    assert [name for name in FILE_FEATURE_GROUPS["format"][:9] if features[name]] == [image_format]
    assert [features[name] for name in FILE_FEATURE_GROUPS["size"]] == [64, 40, 40, 64, pytest.approx(1.6), 1, 0]
    size = (tmp_path / "x").stat().st_size
    assert features["log bytes per pixel"] == pytest.approx(np.log(size / (64 * 40)), abs=1e-5)


def test_the_tables_and_the_subsampling_of_a_jpeg(tmp_path: Path) -> None:
    for quality, subsampling, name in ((75, 0, "4:4:4"), (90, 1, "4:2:2"), (97, 2, "4:2:0")):
        features = write_and_read(tmp_path / "x", quality=quality, subsampling=subsampling)
        image_format = jpeg_encoding(quality, subsampling)
        for plane, table in zip(("luma", "chroma"), image_format.tables, strict=True):
            assert tuple(features[f"{plane} {place}"] for place in range(64)) == table
        assert [other for other in FILE_FEATURE_GROUPS["subsampling"] if features[other]] == [name]
    grey = write_and_read(tmp_path / "x", image=Image.new("L", (9, 9)))
    assert (grey["tables"], grey["bands"], grey["other"], grey["chroma 0"]) == (1, 1, 1, 0)
    png = write_and_read(tmp_path / "x", "PNG")
    assert not any(png[name] for name in (*FILE_FEATURE_GROUPS["tables"], *FILE_FEATURE_GROUPS["subsampling"]))


def test_how_the_numbers_are_written(tmp_path: Path) -> None:
    names = FILE_FEATURE_GROUPS["coding"]
    wanted: list[tuple[str, dict[str, Any], list[float]]] = [
        ("JPEG", {}, [0, 1, 0, 0, 0]),
        ("JPEG", {"optimize": True}, [0, 1, 1, 0, 0]),
        ("JPEG", {"restart_marker_blocks": 3}, [0, 1, 0, 3, 0]),
        ("PNG", {}, [0, 0, 0, 0, 0]),
        ("WEBP", {}, [0, 0, 0, 0, 0]),
        ("WEBP", {"lossless": True}, [0, 0, 0, 0, 1]),
    ]
    for image_format, options, values in wanted:
        features = write_and_read(tmp_path / "x", image_format, **options)
        assert [features[name] for name in names] == values, (image_format, options)
    progressive = write_and_read(tmp_path / "x", progressive=True)
    assert (progressive["progressive"], progressive["scans"] > 1) == (1, True)


def test_a_thumbnail_inside_the_metadata_is_not_taken_for_the_picture(tmp_path: Path) -> None:
    buffer = BytesIO()
    helpers.natural(1).save(buffer, "JPEG", progressive=True)
    exif = Image.Exif()
    exif[0x010E] = buffer.getvalue().decode("latin-1")
    features = write_and_read(tmp_path / "x", exif=exif)
    assert (features["progressive"], features["scans"], features["EXIF"]) == (0, 1, 1)


def test_metadata(tmp_path: Path) -> None:
    names = set(FILE_FEATURE_GROUPS["metadata"]) - {"log EXIF bytes", "log ICC bytes"}

    def found(image_format: str, **options: Any) -> dict[str, float]:
        features = write_and_read(tmp_path / "x", image_format, **options)
        return {name: features[name] for name in names if features[name]}

    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a cat, Steps: 50")
    jfif = {"JFIF": 1.0, "density": 1.0, "segments": 1.0}
    assert found("JPEG") == jfif
    assert found("JPEG", dpi=(72, 72)) == jfif | {"density": 72}
    assert found("JPEG", exif=exif) == jfif | {"EXIF": 1, "orientation": 6, "segments": 2}
    assert found("JPEG", icc_profile=b"x" * 99) == jfif | {"ICC profile": 1, "segments": 2}
    assert found("JPEG", comment=b"made by hand") == jfif | {"comment": 1, "segments": 2}
    assert found("JPEG", xmp=b"<x/>") == jfif | {"XMP": 1, "segments": 2}
    assert found("PNG") == {}
    assert found("PNG", pnginfo=text) == {"texts": 1}
    assert found("WEBP", exif=exif, icc_profile=b"x" * 9) == {"EXIF": 1, "orientation": 6, "ICC profile": 1}


def test_two_pictures_in_one_form_differ_by_their_bytes_alone(tmp_path: Path) -> None:
    image_format = jpeg_encoding(83, 1)
    rows = []
    for seed in (1, 2):
        (tmp_path / "x").write_bytes(encode_image(helpers.natural(seed, side=48), image_format))
        rows.append(read_file_features(read_file(tmp_path / "x")))
    assert {FILE_FEATURES[place] for place in np.flatnonzero(rows[0] != rows[1])} <= {"log bytes per pixel"}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_file_breaks_it(case: hostile.Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    row = np.zeros(len(FILE_FEATURES), np.float32)
    if case.status in ("missing", "folder", "special", "empty"):
        with pytest.raises(ImageError, match=r"\w"):
            read_file_features(read_file(path))
    with suppress(ImageError):  # what only decoding finds is not found
        row = read_file_features(read_file(path))
    assert row.any() or case.status != "ok"
    assert row.dtype == np.float32
    assert row.shape == (len(FILE_FEATURES),)
    assert np.isfinite(row).all()

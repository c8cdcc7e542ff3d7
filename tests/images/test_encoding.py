"""The form of a file: read from one, given to another picture, and the same form again."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from changeling.errors import ImageError
from changeling.images.encoding import PLAIN, SUFFIXES, Form, jpeg_form, read_form, square, write
from tests.hostile import picture, saved

forms = st.builds(jpeg_form, st.integers(1, 100), st.integers(0, 2)).flatmap(
    lambda form: st.sampled_from([form, Form("JPEG", form.tables, form.subsampling, progressive=True)])
)
OWN_TABLES = Form("JPEG", (tuple(range(1, 65)), tuple(range(65, 1, -1)), tuple([300] * 64)), 1)


def form_of(data: bytes, folder: Path) -> Form:
    (folder / "image").write_bytes(data)
    return read_form(str(folder / "image"))


def pixels(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("form")


@given(form=forms | st.sampled_from([PLAIN, Form("WEBP"), Form("WEBP", lossless=True), OWN_TABLES]))
def test_what_is_written_in_a_form_has_that_form(form: Form, folder: Path) -> None:
    data = write(picture((40, 24)), form)
    assert form_of(data, folder) == form
    assert write(picture((40, 24)), form) == data


@pytest.mark.parametrize(
    ("format", "options", "form"),
    [
        ("JPEG", {"quality": 75}, jpeg_form(75)),
        ("JPEG", {"quality": 30, "subsampling": 0, "progressive": True}, Form("JPEG", jpeg_form(30).tables, 0, True)),
        ("MPO", {"quality": 75, "save_all": True, "append_images": [picture()]}, jpeg_form(75)),
        ("PNG", {}, PLAIN),
        ("WEBP", {"quality": 30}, Form("WEBP")),
        ("WEBP", {"lossless": True}, Form("WEBP", lossless=True)),
        ("WEBP", {"lossless": True, "icc_profile": b"VP8 " * 99}, Form("WEBP", lossless=True)),
        ("WEBP", {"quality": 30, "icc_profile": b"VP8L" * 99}, Form("WEBP")),
        ("WEBP", {"lossless": True, "save_all": True, "append_images": [picture(seed=1)]}, Form("WEBP", lossless=True)),
        ("WEBP", {"quality": 30, "save_all": True, "append_images": [picture(seed=1)]}, Form("WEBP")),
        ("GIF", {}, PLAIN),
        ("BMP", {}, PLAIN),
        ("TIFF", {"compression": "jpeg"}, PLAIN),
    ],
    ids=str,
)
def test_the_form_of_a_file_is_told_from_its_header(
    format: str, options: dict[str, object], form: Form, tmp_path: Path
) -> None:
    assert form_of(saved(picture(), format, **options), tmp_path) == form


def test_a_lossy_webp_with_transparency_is_lossy(tmp_path: Path) -> None:
    ghost = picture().convert("RGBA")
    ghost.putalpha(picture(seed=1).convert("L"))
    assert form_of(saved(ghost, "WEBP", quality=50), tmp_path) == Form("WEBP")


def test_grey_pictures_have_one_table_and_the_usual_subsampling(tmp_path: Path) -> None:
    form = form_of(saved(picture().convert("L"), "JPEG", quality=80), tmp_path)
    assert form == Form("JPEG", jpeg_form(80).tables[:1], 2)
    assert form_of(write(picture(), form), tmp_path) == form


def test_what_is_no_image_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        form_of(b"no image", tmp_path)
    assert caught.value.status == "unsupported"
    with pytest.raises(ImageError) as caught:
        read_form(str(tmp_path / "none.jpg"))
    assert caught.value.status == "missing"


@pytest.mark.parametrize("form", [jpeg_form(60), PLAIN, Form("WEBP"), Form("WEBP", lossless=True)])
def test_nothing_but_pixels_is_written(form: Form) -> None:
    exif = Image.Exif()
    exif[0x010E] = "who made me"
    carried = saved(picture(), "PNG", exif=exif, icc_profile=b"profile" * 9, dpi=(300, 300))
    with Image.open(BytesIO(carried)) as image:
        image.load()
        assert {"exif", "icc_profile", "dpi"} <= image.info.keys()
        data = write(image, form)
    assert data == write(picture(), form)
    assert not any(part in data for part in (b"who made me", b"profile", b"Exif", b"pHYs"))
    with Image.open(BytesIO(data)) as image:
        assert not {"exif", "icc_profile", "dpi", "xmp", "comment"} & image.info.keys()


@pytest.mark.parametrize("form", [PLAIN, Form("WEBP", lossless=True)], ids=lambda form: form.kind)
def test_a_lossless_form_keeps_every_pixel(form: Form) -> None:
    np.testing.assert_array_equal(pixels(write(picture(), form)), np.asarray(picture()))


@pytest.mark.parametrize("quality", [30, 60, 90, 100])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_photograph_written_in_its_own_form_changes_little(quality: int, subsampling: int, tmp_path: Path) -> None:
    temple = Image.fromarray(load_sample_images().images[0])
    first = saved(temple, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(BytesIO(first)) as image:
        again = write(image.convert("RGB"), form_of(first, tmp_path))
    change = np.abs(pixels(again) - pixels(first))
    assert change.mean() < 0.7
    assert np.quantile(change, 0.99) <= 5


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_noise_with_fine_tables_is_written_too(
    subsampling: int, progressive: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    form = Form("JPEG", ((1,) * 64,) * 2, subsampling, progressive)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    data = write(Image.fromarray(noise), form)
    assert form_of(data, tmp_path) == form
    if subsampling == 0:
        assert len(data) > 3 * 300 * 300
        assert np.abs(pixels(data) - noise).max() <= 4
    assert capfd.readouterr().err == ""  # libjpeg complains there


@given(quality=st.integers(2, 100))
def test_finer_tables_at_a_higher_quality(quality: int) -> None:
    coarse, fine = jpeg_form(quality - 1), jpeg_form(quality)
    assert all(
        low >= high
        for one, other in zip(coarse.tables, fine.tables, strict=True)
        for low, high in zip(one, other, strict=True)
    )
    assert fine.subsampling == 2
    assert not fine.progressive


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (100, 20), (20, 20)])
@pytest.mark.parametrize("side", [20, 33])
def test_a_square_is_cut_from_the_middle(size: tuple[int, int], side: int) -> None:
    width, height = size
    ramp = np.broadcast_to(np.linspace(0, 250, width)[None, :, None], (height, width, 3)).astype(np.uint8)
    cut = square(Image.fromarray(ramp), side)
    assert cut.size == (side, side)
    middle = np.asarray(cut, dtype=np.float64).mean(axis=(0, 2))
    assert abs(middle.mean() - 125) < 6
    shown = 250 * min(size) / width  # of the ramp
    assert abs((middle[-1] - middle[0]) - shown) < 0.12 * shown + 6


def test_each_kind_has_a_suffix() -> None:
    assert SUFFIXES == {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}

"""How parents and children are encoded: by default, the file of a child is like that of its parent."""

from __future__ import annotations

import errno
import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.build.encoding import Encoder, write_image
from changeling.build.settings import BuildSettings
from changeling.errors import ImageError
from changeling.images.decode import read_file
from changeling.images.encode import PNG_ENCODING, Encoding, jpeg_encoding, read_encoding
from changeling.images.file_features import FILE_FEATURE_GROUPS, FILE_FEATURES, read_file_features
from tests import helpers
from tests.hostile import picture, saved

SIZE = (64, 48)
GREY, CLEAR = picture(SIZE).convert("L"), picture(SIZE).convert("RGBA")
CLEAR.putalpha(GREY)
ROTATED = Image.Exif()
ROTATED[0x0112] = 6
ROTATED[0x010E] = "who took it"
PARENTS = {
    "a usual JPEG": ("a.jpg", saved(picture(SIZE), "JPEG", quality=75)),
    "a fine JPEG": ("a.JPG", saved(picture(SIZE), "JPEG", quality=100, subsampling=0)),
    "a coarse JPEG": ("a.jpeg", saved(picture(SIZE), "JPEG", quality=5, subsampling=1)),
    "a progressive JPEG": ("a.jpg", saved(picture(SIZE), "JPEG", quality=85, progressive=True)),
    "an optimised JPEG": ("a.jpg", saved(picture(SIZE), "JPEG", quality=50, optimize=True)),
    "a JPEG with restarts": ("a.jpg", saved(picture(SIZE), "JPEG", quality=50, restart_marker_blocks=2)),
    "a grey JPEG": ("a.jpg", saved(GREY, "JPEG", quality=60)),
    "a CMYK JPEG": ("a.jpg", saved(picture(SIZE).convert("CMYK"), "JPEG", quality=60)),
    "a JPEG with three tables": ("a.jpg", saved(picture(SIZE), "JPEG", qtables=[[4] * 64, [9] * 64, [7] * 64])),
    "a JPEG with metadata": (
        "a.jpg",
        saved(picture(SIZE), "JPEG", exif=ROTATED, icc_profile=b"profile" * 99, comment=b"said", dpi=(300, 300)),
    ),
    "two JPEGs": ("a.mpo", saved(picture(SIZE), "MPO", save_all=True, append_images=[picture(SIZE, 1)])),
    "a PNG": ("a.png", saved(picture(SIZE), "PNG", dpi=(72, 72))),
    "a PNG with transparency": ("a.png", saved(CLEAR, "PNG")),
    "a PNG with a palette": ("a.png", saved(picture(SIZE).quantize(16), "PNG")),
    "a WebP": ("a.webp", saved(picture(SIZE), "WEBP", quality=40)),
    "a lossless WebP": ("a.webp", saved(picture(SIZE), "WEBP", lossless=True)),
    "a lossless WebP with a profile": ("a.webp", saved(picture(SIZE), "WEBP", lossless=True, icc_profile=b"x" * 999)),
    "a GIF": ("a.gif", saved(picture(SIZE), "GIF")),
    "a BMP": ("a.bmp", saved(picture(SIZE), "BMP")),
    "a TIFF": ("a.tif", saved(picture(SIZE), "TIFF", compression="jpeg")),
}


@pytest.fixture(params=PARENTS, ids=lambda name: name)
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name, data = PARENTS[request.param]
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def encoder(**settings: object) -> Encoder:
    return Encoder(BuildSettings.model_validate(settings))


def markers(jpeg: bytes) -> list[int]:
    """The kind of each segment of a JPEG file; those of its pixels without restarts."""
    found, at = [], 2
    while at < len(jpeg) - 2:
        if jpeg[at] == 0xFF and jpeg[at + 1] not in (0, 0xFF, *range(0xD0, 0xD8)):
            found.append(jpeg[at + 1])
            at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        else:
            at += 1
    return found


def test_a_child_has_exactly_the_encoding_of_its_parent(parent: Path) -> None:
    child = encoder().encode_child(helpers.generated(0, 64), read_file(parent))
    written = parent.with_name("child")
    written.write_bytes(child.data)
    expected = read_encoding(read_file(parent))
    assert read_encoding(read_file(written)) == expected
    assert (child.width, child.height) == (64, 64)
    assert child.format == expected.format
    assert child.suffix == {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}[expected.format]


def test_no_feature_of_a_file_distinguishes_a_child_from_its_parent(parent: Path) -> None:
    policy = encoder()
    old = policy.encode_parent(read_file(parent))
    new = policy.encode_child(helpers.generated(0, 64).resize((old.width, old.height)), read_file(parent))
    features = []
    for name, file in (("old", old), ("new", new)):
        parent.with_name(name).write_bytes(file.data)
        features.append(read_file_features(read_file(parent.with_name(name))))
    is_compared = np.array([name not in FILE_FEATURE_GROUPS["bytes per pixel"] for name in FILE_FEATURES])
    np.testing.assert_array_equal(features[0][is_compared], features[1][is_compared])
    assert (old.format, old.suffix) == (new.format, new.suffix)
    if old.format == "JPEG":
        assert markers(old.data) == markers(new.data)
        assert not set(markers(old.data)) & {*range(0xE1, 0xF0), 0xFE}  # neither applications' nor comments


@pytest.mark.parametrize("name", [name for name in PARENTS if "JPEG" in name and "CMYK" not in name])
def test_a_parent_in_its_own_encoding_changes_little(name: str, tmp_path: Path) -> None:
    path = tmp_path / PARENTS[name][0]
    path.write_bytes(PARENTS[name][1])
    with Image.open(path) as image, Image.open(BytesIO(encoder().encode_parent(read_file(path)).data)) as again:
        upright = image.rotate(-90, expand=True) if image.getexif().get(0x0112) == 6 else image
        change = np.abs(np.asarray(upright.convert("RGB"), np.float64) - np.asarray(again.convert("RGB"), np.float64))
    assert change.mean() < 4  # of noise, which is worse than any photograph: see tests/images/test_encode.py


def test_a_parent_with_exif_rotation_is_encoded_upright(tmp_path: Path) -> None:
    halves = Image.new("RGB", SIZE, (230, 20, 20))
    halves.paste((20, 20, 230), (0, 0, SIZE[0] // 2, SIZE[1]))  # blue on the left, which turns to the top
    (tmp_path / "turned.jpg").write_bytes(saved(halves, "JPEG", quality=90, exif=ROTATED))
    made = encoder().encode_parent(read_file(tmp_path / "turned.jpg"))
    assert (made.width, made.height) == SIZE[::-1]
    with Image.open(BytesIO(made.data)) as image:
        assert image.size == SIZE[::-1]
        assert not image.getexif()
        top, bottom = np.asarray(image)[8].mean(axis=0), np.asarray(image)[-8].mean(axis=0)
    np.testing.assert_allclose([top, bottom], [[20, 20, 230], [230, 20, 20]], atol=6)


def test_off_keeps_the_bytes_of_parents_and_encodes_children_as_png(parent: Path) -> None:
    policy = encoder(encoding="off")
    encoded, child = (
        policy.encode_parent(read_file(parent)),
        policy.encode_child(helpers.generated(0, 64), read_file(parent)),
    )
    assert encoded.data == parent.read_bytes()
    assert encoded.suffix == parent.suffix.lower()
    with Image.open(parent) as image:
        assert encoded.format == image.format
    assert policy.child_encoding(read_file(parent)) == PNG_ENCODING
    assert (child.format, child.suffix) == ("PNG", ".png")
    with Image.open(BytesIO(child.data)) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(helpers.generated(0, 64)))


@pytest.mark.parametrize("quality", [40, 90])
def test_fixed_encodes_parents_and_children_alike(quality: int, parent: Path) -> None:
    policy = encoder(encoding="fixed", quality=quality)
    for file in (
        policy.encode_parent(read_file(parent)),
        policy.encode_child(helpers.generated(0, 64), read_file(parent)),
    ):
        assert (file.format, file.suffix) == ("JPEG", ".jpg")
        parent.with_name("made").write_bytes(file.data)
        assert read_encoding(read_file(parent.with_name("made"))) == jpeg_encoding(quality)


@pytest.mark.parametrize("encoding", ["matched", "fixed", "off"])
def test_a_size_makes_parents_and_children_square(encoding: str, parent: Path) -> None:
    policy = encoder(encoding=encoding, size=40)
    for file in (
        policy.encode_parent(read_file(parent)),
        policy.encode_child(helpers.generated(0, 64), read_file(parent)),
    ):
        with Image.open(BytesIO(file.data)) as image:
            assert image.size == (file.width, file.height) == (40, 40)
    if encoding == "off":
        parent.with_name("made").write_bytes(policy.encode_parent(read_file(parent)).data)
        assert read_encoding(read_file(parent.with_name("made"))) == read_encoding(read_file(parent))


def test_the_record_has_everything_that_determines_the_encoding() -> None:
    assert encoder().record == {"encoding": "matched", "size": None}
    assert encoder(quality=7).record == encoder().record  # has no effect
    assert encoder(encoding="fixed", quality=7).record == {"encoding": "fixed", "size": None, "quality": 7}
    assert encoder(encoding="off", size=64).record == {"encoding": "off", "size": 64}


@pytest.mark.parametrize("encoding", ["matched", "off"])
def test_the_status_of_a_broken_parent_says_what_is_wrong(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(PARENTS["a usual JPEG"][1][:900])
    with pytest.raises(ImageError) as caught:
        encoder(encoding=encoding).encode_parent(read_file(tmp_path / "cut.jpg"))
    assert caught.value.status == "truncated"
    with pytest.raises(ImageError) as caught:
        encoder(encoding=encoding).encode_parent(read_file(tmp_path / "gone.jpg"))
    assert caught.value.status == "missing"


def test_a_written_file_is_complete_and_its_hash_is_returned(tmp_path: Path) -> None:
    data = PARENTS["a WebP"][1]
    assert write_image(tmp_path / "deep" / "a.webp", data) == hashlib.sha256(data).hexdigest()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.webp"]
    assert (tmp_path / "deep" / "a.webp").read_bytes() == data


def test_equal_images_have_equal_files(parent: Path) -> None:
    first, second = (encoder().encode_child(helpers.generated(3, 64), read_file(parent)) for _ in range(2))
    assert first == second
    assert first.data != encoder().encode_child(helpers.generated(4, 64), read_file(parent)).data


def test_a_parent_of_another_format_is_encoded_without_loss(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(saved(picture(SIZE), "BMP"))
    made = encoder().encode_parent(read_file(tmp_path / "a.bmp"))
    assert encoder().child_encoding(read_file(tmp_path / "a.bmp")) == Encoding("PNG")
    with Image.open(BytesIO(made.data)) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(picture(SIZE)))


def test_a_complete_file_is_never_overwritten_with_an_incomplete_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.webp", PARENTS["a WebP"][1])

    def fill_disk(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        write_image(tmp_path / "a.webp", PARENTS["a WebP"][1])
    assert (tmp_path / "a.webp").read_bytes() == PARENTS["a WebP"][1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.webp"]


def test_a_parent_that_is_too_large_for_its_new_format_is_oversized(tmp_path: Path) -> None:
    Image.new("RGB", (66_000, 2), "red").save(tmp_path / "long.png")
    with pytest.raises(ImageError, match="66000 x 2 pixels are too many for JPEG") as caught:
        encoder(encoding="fixed").encode_parent(read_file(tmp_path / "long.png"))
    assert caught.value.status == "oversized"
    assert encoder().encode_parent(read_file(tmp_path / "long.png")).width == 66_000  # as PNG


def test_a_very_long_parent_is_cropped_before_it_is_scaled(tmp_path: Path) -> None:
    """Its short side as long as the square's would be 30 million pixels by 512."""
    Image.new("RGB", (60_000, 1), "red").save(tmp_path / "long.png")
    file = encoder(size=512).encode_parent(read_file(tmp_path / "long.png"))
    assert (file.width, file.height) == (512, 512)

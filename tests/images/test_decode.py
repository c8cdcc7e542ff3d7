from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from changeling.errors import ImageError, Status
from changeling.images.decode import MAX_BYTES, inspect_image, read_file, read_image
from tests import hostile
from tests.helpers import run_unprivileged

# what Pillow thinks of broken metadata goes to no one
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")

CASES = hostile.cases()
READABLE = [case for case in CASES if case.status == "ok"]
READ = """
import json, sys
from changeling.errors import ImageError
from changeling.images.decode import read_image
try:
    read_image(sys.argv[1])
except ImageError as error:
    print(json.dumps([error.status, str(error)]))
"""


def near(one: object, other: tuple[int, ...], within: int) -> bool:
    return isinstance(one, tuple) and all(abs(a - b) <= within for a, b in zip(one, other, strict=True))


def test_the_table_is_long_and_its_names_differ() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", READABLE, ids=lambda case: case.name)
def test_what_can_be_read_is_read_as_a_viewer_shows_it(case: hostile.Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    picture = read_image(path)
    image = picture.image
    assert (picture.format, image.mode) == (case.format, "RGB")
    assert (picture.width, picture.height) == image.size == case.size
    middle = image.getpixel((image.width // 2, image.height // 2))
    assert case.colour is None or near(middle, case.colour, case.near), middle
    corner = image.getpixel((0, 0))
    assert case.corner is None or near(corner, case.corner, case.near), corner


@pytest.mark.parametrize("case", READABLE, ids=lambda case: case.name)
def test_the_header_says_the_same_without_decoding(case: hostile.Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    file = read_file(path)
    info = inspect_image(file)
    assert (info.format, (info.width, info.height)) == (case.format, case.size)
    assert file.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.mark.parametrize("case", [case for case in CASES if case.status != "ok"], ids=lambda case: case.name)
def test_what_cannot_be_read_says_why_in_a_word_and_a_line(case: hostile.Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    if case.status == "denied":
        status, message = json.loads(run_unprivileged(READ, path))
    else:
        with pytest.raises(ImageError) as caught:
            read_image(path)
        status, message = caught.value.status, str(caught.value)
    assert status == case.status, message
    assert message
    assert len(message.splitlines()) == 1
    assert "BytesIO" not in message


def test_a_header_is_inspected_though_pixels_are_broken(tmp_path: Path) -> None:
    whole = hostile.saved(hostile.picture(), "PNG")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    info = inspect_image(read_file(tmp_path / "cut.png"))
    assert (info.width, info.height, info.format) == (*hostile.SIZE, "PNG")


def test_a_file_too_long_for_memory_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_BYTES <= 1 << 30
    data = hostile.saved(hostile.picture(), "PNG")
    (tmp_path / "x.png").write_bytes(data)
    monkeypatch.setattr("changeling.images.decode.MAX_BYTES", len(data))
    assert read_image(tmp_path / "x.png").format == "PNG"
    monkeypatch.setattr("changeling.images.decode.MAX_BYTES", len(data) - 1)
    with pytest.raises(ImageError, match="more than") as caught:
        read_image(tmp_path / "x.png")
    assert caught.value.status == "oversized"


@pytest.mark.parametrize(
    ("image_format", "size", "short_side", "decoded"),
    [
        ("JPEG", (1600, 1200), 600, (800, 600)),
        ("JPEG", (1600, 1200), 601, (1600, 1200)),
        ("JPEG", (1600, 1200), 300, (400, 300)),
        ("JPEG", (1600, 1200), 10, (200, 150)),
        ("JPEG", (1200, 1600), 300, (300, 400)),
        ("JPEG", (94, 200), 48, (94, 200)),
        ("JPEG", (447, 447), 448, (447, 447)),
        ("JPEG", (896, 1000), 448, (448, 500)),
        ("JPEG", (895, 1000), 448, (895, 1000)),
        ("MPO", (1600, 1200), 300, (400, 300)),
        ("PNG", (1600, 1200), 300, (1600, 1200)),
    ],
)
def test_a_large_jpeg_is_decoded_smaller_but_not_below_the_short_side(
    image_format: str, size: tuple[int, int], short_side: int, decoded: tuple[int, int], tmp_path: Path
) -> None:
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    options = {"save_all": True, "append_images": [image]} if image_format == "MPO" else {}
    image.save(tmp_path / "x", image_format, **options)
    picture = read_image(tmp_path / "x", short_side=short_side)
    assert picture.image.size == decoded
    assert (picture.width, picture.height) == size
    full = read_image(tmp_path / "x").image
    assert full.size == size
    difference = [abs(a - b) for a, b in zip(_greys(picture.image), _greys(full.resize(decoded)), strict=True)]
    assert max(difference) <= 12


def _greys(image: Image.Image) -> bytes:
    return image.convert("L").resize((16, 16), Image.Resampling.BOX).tobytes()


def test_a_turned_jpeg_is_decoded_smaller_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1600, 1200)).save(tmp_path / "x.jpg", exif=exif)
    picture = read_image(tmp_path / "x.jpg", short_side=300)
    assert (picture.width, picture.height) == (1200, 1600)
    assert picture.image.size == (300, 400)


OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    "TIFF": {"compression": "tiff_lzw"},
}
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
FILES = {
    image_format: hostile.saved(hostile.picture((24, 20)), image_format, **OPTIONS.get(image_format, {}))
    for image_format in FORMATS
}
MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "zero"]), st.floats(0, 1), st.integers(0, 2**32)),
    min_size=1,
    max_size=6,
)


def mutated(data: bytes, kind: str, where: float, seed: int) -> bytes:
    at = int(where * len(data))
    draw = random.Random(seed)
    if kind == "cut":
        return data[:at]
    if kind == "insert":
        return data[:at] + draw.randbytes(draw.randint(1, 20)) + data[at:]
    changed = bytes(byte ^ (1 << draw.randrange(8)) for byte in data[at : at + 1]) if kind == "flip" else b"\0\0\0\0"
    return data[:at] + changed + data[at + len(changed) :]


@contextmanager
def refusing() -> Iterator[None]:
    """Let an ImageError pass, if it is a sound one, and nothing else."""
    try:
        yield
    except ImageError as refused:
        if refused.status == "ok" or refused.status not in get_args(Status):
            raise


@pytest.mark.parametrize("image_format", FILES)
@given(mutations=MUTATIONS)
@settings(max_examples=60)
def test_a_mutated_file_is_read_or_refused(
    image_format: str, mutations: list[tuple[str, float, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = FILES[image_format]
    for mutation in mutations:
        data = mutated(data, *mutation)
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(data)
    with refusing():
        picture = read_image(path)
        assert picture.image.mode == "RGB"
        assert picture.image.size == (picture.width, picture.height)
    with refusing():
        assert inspect_image(read_file(path)).format


def test_another_file_than_the_one_with_its_hash_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for colour in ("red", "blue"):
        Image.new("RGB", (8, 8), colour).save(path)
        if colour == "red":
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            assert read_image(path, sha256=sha256).image.getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(ImageError, match="is another file than when it was imported or made") as caught:
        read_image(path, sha256=sha256)
    assert caught.value.status == "corrupt"
    assert read_image(path, sha256="").width == read_image(path).width == 8  # no hash was written down


def test_a_file_without_its_end_is_to_be_fetched_again(tmp_path: Path) -> None:
    image = Image.effect_noise((64, 64), 50)
    image.save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:1000])
    with pytest.raises(ImageError, match="the end of the file is missing; get it again from its source") as caught:
        read_image(tmp_path / "cut.jpg")
    assert caught.value.status == "truncated"

"""Files that nobody should have to read, each with the row that it must become."""

from __future__ import annotations

import os
import random
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from changeling.errors import Status

Colour = tuple[int, int, int]
Bytes = Callable[[], bytes]
RED, PINK, GREY, WHITE, BLACK = (220, 40, 30), (237, 147, 142), (128, 128, 128), (255, 255, 255), (0, 0, 0)
SIZE = (64, 48)


@dataclass(frozen=True)
class Case:
    """A file, and what reading it must give: a status, or an image.

    Attributes:
        make: writes the file in a folder and returns its path.
        format, size: of the image.
        colour, corner: of its central and its first pixel, to within `near` (some codecs lose a little).
    """

    name: str
    make: Callable[[Path], str]
    status: Status = "ok"
    format: str = ""
    size: tuple[int, int] = SIZE
    colour: Colour | None = None
    corner: Colour | None = None
    near: int = 0


def picture(size: tuple[int, int] = SIZE, seed: int = 0) -> Image.Image:
    """Noise on a gradient: hardly any of it compresses away, so a cut anywhere cuts pixels."""
    width, height = size
    ramp = np.broadcast_to(np.linspace(0, 200, width)[None, :, None], (height, width, 3))
    noise = np.random.default_rng(seed).integers(0, 56, (height, width, 3))
    return Image.fromarray((ramp + noise).astype(np.uint8))


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """The image as a file of this format."""
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def written(name: str | bytes, make: Bytes) -> Callable[[Path], str]:
    """Something that writes the bytes under a name and returns the path."""

    def write(folder: Path) -> str:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))  # noqa: PTH118 (a name may be no UTF-8)
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(make())
        return os.fsdecode(path)

    return write


def _reads(name: str, image_format: str, make: Bytes, *facts: Any, **more: Any) -> Case:
    return Case(name, written(name, make), "ok", image_format, *facts, **more)


def _fails(name: str, status: Status, make: Bytes) -> Case:
    return Case(name, written(name, make), status)


def named(name: str) -> Callable[[Path], str]:
    """A path of which there is no file."""
    return lambda folder: f"{folder}/{name}"


def cases() -> list[Case]:
    """All of them."""
    return [*_cut(), *_bombs(), *_modes(), *_animated(), *_turned(), *_odd_metadata(), *_no_images(), *_no_files()]


# Cut after 1, 25, 50 and 90 % of the bytes, and before the last one. Each decoder decides whether a file is truncated
# or corrupt. PNG and GIF end with a mark that nobody needs.
_SHARES = (0.01, 0.25, 0.5, 0.9, 1.0)
_CUT: dict[str, tuple[Status, Status, Status, Status, Status]] = {
    "JPEG": ("truncated", "truncated", "truncated", "truncated", "truncated"),
    "PNG": ("truncated", "truncated", "truncated", "truncated", "ok"),
    "WEBP": ("unsupported", "corrupt", "corrupt", "corrupt", "corrupt"),
    "GIF": ("unsupported", "truncated", "truncated", "truncated", "ok"),
    "TIFF": ("unsupported", "truncated", "truncated", "truncated", "truncated"),
    "BMP": ("truncated", "truncated", "truncated", "truncated", "truncated"),
    "PPM": ("truncated", "truncated", "truncated", "truncated", "truncated"),
    "JPEG2000": ("corrupt", "corrupt", "corrupt", "corrupt", "corrupt"),
    "AVIF": ("unsupported", "unsupported", "unsupported", "truncated", "truncated"),
}


def _cut() -> list[Case]:
    def head(image_format: str, share: float) -> bytes:
        data = saved(picture(), image_format)
        return data[: min(int(len(data) * share), len(data) - 1)]

    return [
        Case(
            f"{image_format} cut at {share:.0%}",
            written(f"{image_format}-{share}", partial(head, image_format, share)),
            status,
            image_format,
        )
        for image_format, statuses in _CUT.items()
        for share, status in zip(_SHARES, statuses, strict=True)
    ]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG file from its parts: depth and kind of colour, filtered rows, and chunks to put before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = [_chunk(b"IHDR", header), *extra, _chunk(b"IDAT", zlib.compress(rows, 1)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def _claiming(image_format: str, side: int) -> bytes:
    """A file whose header claims `side` x `side` pixels that are not there."""
    if image_format == "PNG":
        return png(side, side, 8, 2, bytes(1000))
    data = bytearray(saved(picture(), image_format))
    places: dict[str, list[tuple[int, bytes]]] = {
        "JPEG": [(data.find(b"\xff\xc0") + 5, struct.pack(">HH", side, side))],
        "GIF": [(6, struct.pack("<HH", side, side)), (data.find(b"\x2c") + 5, struct.pack("<HH", side, side))],
        "BMP": [(18, struct.pack("<ii", side, side))],
        "PPM": [(2, b" %d %d 255\n" % (side, side))],
        "TIFF": [(data.find(struct.pack("<HHII", tag, 4, 1, was)), struct.pack("<HHII", tag, 4, 1, side))
                 for tag, was in zip((256, 257), SIZE, strict=True)],
    }  # fmt: skip
    for at, value in places[image_format]:
        data[at : at + len(value)] = value
    return bytes(data)


def _bombs() -> list[Case]:
    def bits(width: int, height: int) -> bytes:
        return png(width, height, 1, 0, (b"\0" + bytes((width + 7) // 8)) * height)

    def swollen(kind: bytes) -> bytes:
        return png(*SIZE, 8, 0, bytes(65 * 48), _chunk(kind, b"key\0\0" + zlib.compress(bytes(1 << 28), 1)))

    return [
        *(
            _fails(f"{image_format} claims 60,000 x 60,000", "oversized", partial(_claiming, image_format, 60_000))
            for image_format in ("PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF")
        ),
        _fails("PNG claims 10,000 x 10,000", "oversized", lambda: _claiming("PNG", 10_000)),
        _fails("JPEG claims 30,000 x 30,000", "oversized", lambda: _claiming("JPEG", 30_000)),
        _fails("BMP claims 9,000 x 9,000", "truncated", lambda: _claiming("BMP", 9_000)),
        _fails("PNG claims no pixels", "unsupported", lambda: png(0, 0, 8, 2, b"")),
        _fails("1-bit PNG of 20,000 x 20,000", "oversized", lambda: bits(20_000, 20_000)),
        _reads("1-bit PNG of 8,000 x 11,000", "PNG", lambda: bits(8_000, 11_000), (8_000, 11_000)),
        _fails("PNG with a text of 256 MiB", "corrupt", lambda: swollen(b"zTXt")),
        _fails("PNG with a profile of 256 MiB", "corrupt", lambda: swollen(b"iCCP")),
    ]  # fmt: skip


def _modes() -> list[Case]:
    def flat(image_format: str, mode: str, colour: Any, **options: Any) -> Bytes:
        return lambda: saved(Image.new(mode, SIZE, colour), image_format, **options)

    def array(image_format: str, value: float, kind: Any, first: float = 0) -> Bytes:
        def make() -> bytes:
            pixels: NDArray[Any] = np.full(SIZE[::-1], value, dtype=kind)
            pixels[0, 0] = first
            return saved(Image.fromarray(pixels), image_format)

        return make

    def rectangle(image_format: str, width: int, height: int) -> bytes:
        return saved(Image.new("RGB", (width, height), RED), image_format)

    def paletted(transparent: int | bytes | None) -> bytes:
        image = Image.new("P", SIZE, 1)
        image.putpalette([*WHITE, *RED, *BLACK])
        return saved(image, "PNG", **({} if transparent is None else {"transparency": transparent}))

    def rgb16() -> bytes:
        return png(*SIZE, 16, 2, (b"\0" + struct.pack(">3H", *(level * 257 for level in RED)) * SIZE[0]) * SIZE[1])

    def cmyk(adobe: bool) -> bytes:
        data = saved(Image.new("CMYK", SIZE, (0, 209, 220, 35)), "JPEG", quality=95)
        return data if adobe else data.replace(b"Adobe", b"Abode")  # without its mark, the inks are not inverted

    def ycck() -> bytes:
        data = bytearray(saved(Image.new("CMYK", SIZE, (255, 128, 128, 0)), "JPEG", quality=95))
        data[data.index(b"Adobe") + 11] = 2  # the transform: these are Y, Cb, Cr and K
        return bytes(data)

    half = (*RED, 128)
    return [
        _reads("RGB PNG", "PNG", flat("PNG", "RGB", RED), colour=RED),
        _reads("RGB with a transparent colour", "PNG", flat("PNG", "RGB", RED, transparency=RED), colour=WHITE),
        _reads("RGBA PNG", "PNG", flat("PNG", "RGBA", half), colour=PINK, near=1),
        _reads("RGBA WebP", "WEBP", flat("WEBP", "RGBA", half, lossless=True), colour=PINK, near=1),
        _reads("RGBA TIFF", "TIFF", flat("TIFF", "RGBA", half), colour=PINK, near=1),
        _reads("LA PNG", "PNG", flat("PNG", "LA", (0, 127)), colour=GREY, near=1),
        _reads("wholly transparent PNG", "PNG", flat("PNG", "RGBA", (*RED, 0)), colour=WHITE),
        _reads("1-bit PNG", "PNG", flat("PNG", "1", 1), colour=WHITE),
        _reads("1-bit TIFF", "TIFF", flat("TIFF", "1", 1, compression="group4"), colour=WHITE),
        _reads("grey JPEG", "JPEG", flat("JPEG", "L", 128), colour=GREY),
        _reads("palette", "PNG", lambda: paletted(None), colour=RED),
        _reads("palette, colour transparent", "PNG", lambda: paletted(1), colour=WHITE),
        _reads("palette, other transparent", "PNG", lambda: paletted(2), colour=RED),
        _reads("palette, half transparent", "PNG", lambda: paletted(b"\xff\x80"), colour=PINK, near=1),
        _reads("palette GIF, transparent", "GIF", flat("GIF", "P", 0, transparency=0), colour=WHITE),
        _reads("16-bit grey PNG", "PNG", array("PNG", 128 * 257, np.uint16), colour=GREY, corner=BLACK),
        _reads("16-bit grey TIFF", "TIFF", array("TIFF", 128 * 257, np.uint16), colour=GREY, corner=BLACK),
        _reads("16-bit big-endian TIFF", "TIFF", array("TIFF", 128 * 257, ">u2"), colour=GREY, corner=BLACK),
        _reads("16-bit RGB PNG", "PNG", rgb16, colour=RED),
        _reads("16-bit PPM", "PPM", lambda: b"P5 64 48 65535\n" + struct.pack(">H", 128 * 257) * 3072, colour=GREY),
        _reads("32-bit TIFF of 16-bit values", "TIFF", array("TIFF", 32896, "i4", 65535), colour=GREY, corner=WHITE),
        _reads("32-bit TIFF below zero", "TIFF", array("TIFF", -5, np.int32, 255), colour=BLACK, corner=WHITE),
        _reads("float TIFF in [0, 1]", "TIFF", array("TIFF", 0.5, np.float32, 1), colour=GREY, corner=WHITE),
        _reads("float TIFF to 1e6", "TIFF", array("TIFF", 5e5, "f4", 1e6), colour=GREY, corner=WHITE, near=1),
        _fails("float TIFF with NaN", "unsupported", array("TIFF", 0.5, np.float32, np.nan)),
        _fails("float TIFF with infinity", "unsupported", array("TIFF", 0.5, np.float32, np.inf)),
        _reads("LAB TIFF", "TIFF", flat("TIFF", "LAB", (128, 128, 128)), colour=(119, 119, 119), near=2),
        _reads("CMYK JPEG", "JPEG", lambda: cmyk(True), colour=RED, near=6),
        _reads("CMYK JPEG not by Adobe", "JPEG", lambda: cmyk(False), corner=None),
        _reads("YCCK JPEG", "JPEG", ycck),
        _reads("CMYK TIFF", "TIFF", flat("TIFF", "CMYK", (0, 255, 255, 0)), colour=(255, 0, 0)),
        _reads("YCbCr JPEG, progressive", "JPEG", flat("JPEG", "RGB", RED, progressive=True), colour=RED, near=3),
        _reads("MPO", "MPO", lambda: _frames("MPO"), colour=RED, near=3),
        _reads("BMP", "BMP", flat("BMP", "RGB", RED), colour=RED),
        _reads("AVIF", "AVIF", flat("AVIF", "RGB", RED), colour=RED, near=6),
        _reads("JPEG 2000", "JPEG2000", flat("JPEG2000", "RGB", RED), colour=RED, near=3),
        _reads("1 x 1", "PNG", lambda: rectangle("PNG", 1, 1), (1, 1), RED),
        _reads("1 x 30,000", "PNG", lambda: rectangle("PNG", 1, 30_000), (1, 30_000), RED),
        _reads("30,000 x 1", "JPEG", lambda: rectangle("JPEG", 30_000, 1), (30_000, 1), RED, near=3),
    ]  # fmt: skip


def _frames(image_format: str, **options: Any) -> bytes:
    first, *others = (Image.new("RGB", SIZE, colour) for colour in (RED, BLACK, WHITE))
    return saved(first, image_format, save_all=True, append_images=others, **options)


def _animated() -> list[Case]:
    def make(image_format: str) -> Bytes:
        return lambda: _frames(image_format, duration=50, **({"lossless": True} if image_format == "WEBP" else {}))

    def late_broken_gif() -> bytes:
        data = _frames("GIF")
        return data[: len(data) - 40]

    return [
        *(
            _reads(f"animated {image_format}", image_format, make(image_format), colour=RED, near=near)
            for image_format, near in (("GIF", 0), ("WEBP", 0), ("PNG", 0), ("AVIF", 6))
        ),
        _reads("GIF whose later frames are cut", "GIF", late_broken_gif, colour=RED),
        _reads("TIFF of three pages", "TIFF", lambda: _frames("TIFF"), colour=RED),
    ]


_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(orientation: int, image_format: str) -> bytes:
    """64 x 48 and black with a red corner, once it is turned as its EXIF says."""
    upright = Image.new("RGB", SIZE, BLACK)
    upright.paste(RED, (0, 0, 24, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(_UNDO[orientation]) if orientation in _UNDO else upright
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    return saved(stored, image_format, exif=exif, **lossless)


def _turned() -> list[Case]:
    wanted = [("JPEG", way) for way in range(1, 9)]
    wanted += [(image_format, way) for image_format in ("PNG", "WEBP", "TIFF", "AVIF") for way in (3, 6)]
    return [
        _reads(f"{image_format}, turned {way}", image_format, partial(turned, way, image_format), corner=RED, near=8)
        for image_format, way in wanted
    ]  # fmt: skip


def _odd_metadata() -> list[Case]:
    def jpeg(**options: Any) -> Bytes:
        return lambda: saved(Image.new("RGB", SIZE, RED), "JPEG", **options)

    orientation = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\6\0\0\0\0\0\0"
    broken = b"Raw profile type exif\0\nexif\n9\nxyz"

    def long_jpeg() -> bytes:
        data = jpeg()()
        return data[:2] + (b"\xff\xe5\xff\xff" + bytes(65_533)) * 300 + data[2:]

    def red_png(*extra: bytes) -> Bytes:
        return lambda: png(*SIZE, 8, 2, (b"\0" + bytes(RED) * SIZE[0]) * SIZE[1], *extra)

    def odd(name: str, make: Bytes) -> Case:
        return Case(name, written(f"{name}.jpg", make), "ok", "JPEG", colour=RED, near=3)

    return [
        odd("EXIF that is noise", jpeg(exif=b"Exif\0\0" + random.Random(0).randbytes(500))),
        odd("EXIF that is cut", jpeg(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12")),
        odd("EXIF with orientation 9", jpeg(exif=orientation.replace(b"\6", b"\x09"))),
        odd("profile that is noise", jpeg(icc_profile=random.Random(1).randbytes(3000))),
        odd("20 MB of metadata", long_jpeg),
        odd("bytes after the end", lambda: jpeg()() + random.Random(2).randbytes(5000)),
        odd("comment with NUL", jpeg(comment=b"\0\xff\0")),
        _reads("PNG, EXIF that is noise", "PNG", red_png(_chunk(b"eXIf", b"noise" * 9)), colour=RED),
        _reads("PNG, EXIF in a broken text", "PNG", red_png(_chunk(b"tEXt", broken)), colour=RED),
    ]  # fmt: skip


def _no_images() -> list[Case]:
    def short(name: str, data: bytes, status: Status = "unsupported") -> Case:
        return Case(name, written(name, lambda: data), status)

    return [
        short("no bytes.jpg", b"", "empty"),
        short("one byte.jpg", b"\xff"),
        short("random bytes.jpg", random.Random(3).randbytes(4096)),
        short("NULs.png", bytes(4096)),
        short("text.jpg", b"This is not an image.\n"),
        short("page.png", b"<!DOCTYPE html><html><img src='x.png'></html>"),
        short("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"),
        short("paper.pdf", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"),
        short("print.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"),
        short("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)),
        short("icon.ico", b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0" + bytes(100)),
        short("archive.zip", b"PK\x03\x04" + bytes(100)),
        short("PNG signature alone.png", b"\x89PNG\r\n\x1a\n"),
        short("JPEG marks alone.jpg", b"\xff\xd8\xff\xd9"),
        short("PNG with a byte too many.png", saved(picture(), "PNG").replace(b"IDAT", b"IDAT\x55"), "corrupt"),
    ]  # fmt: skip


def _no_files() -> list[Case]:
    red: Bytes = lambda: saved(Image.new("RGB", SIZE, RED), "PNG")  # noqa: E731

    def read(name: str, file: str | bytes, image_format: Bytes = red) -> Case:
        return Case(name, written(file, image_format), "ok", "PNG", colour=RED)

    def folder(where: Path) -> str:
        (where / "folder.jpg").mkdir()
        return str(where / "folder.jpg")

    def closed(kind: str) -> Callable[[Path], str]:
        def make(where: Path) -> str:
            path = where / f"closed {kind}"
            path.write_bytes(red()) if kind == "file" else path.mkdir()
            path.chmod(0)
            return str(path)

        return make

    def link(name: str, target: str) -> Callable[[Path], str]:
        def make(where: Path) -> str:
            (where / "target").write_bytes(red())
            (where / name).symlink_to(target)
            return str(where / name)

        return make

    def fifo(where: Path) -> str:
        os.mkfifo(where / "fifo.jpg")
        return str(where / "fifo.jpg")

    def unix_socket(where: Path) -> str:
        here = Path.cwd()
        os.chdir(where)  # the name of a socket must be short
        try:
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind("socket.jpg")
        finally:
            os.chdir(here)
        return str(where / "socket.jpg")

    def below_a_file(where: Path) -> str:
        (where / "file").write_bytes(red())
        return str(where / "file" / "x.jpg")

    return [
        read("wrong suffix", "png.jpg"),
        read("no suffix", "png"),
        read("suffix of a text", "png.txt"),
        read("newline in the name", "a\nb\r\n.png"),
        read("bytes that are no UTF-8 in the name", b"\xff\xfe\x80.png"),
        read("control characters in the name", "\x1b[31m\t\x07.png"),
        read("quotes and commas in the name", "\"a\",'b';[red].png"),
        read("name of 255 bytes", "x" * 251 + ".png"),
        read("name from right to left", "\u202egnp.\u05d0.png"),
        read("name like an option", "--help"),
        Case("link to an image", link("good link", "target"), "ok", "PNG", colour=RED),
        Case("link to nowhere", link("dangling", "nowhere"), "missing"),
        Case("link to itself", link("loop", "loop"), "missing"),
        Case("folder", folder, "folder"),
        Case("closed file", closed("file"), "denied"),
        Case("closed folder", closed("folder"), "denied"),
        Case("FIFO", fifo, "special"),
        Case("socket", unix_socket, "special"),
        Case("device of zeros", lambda _: "/dev/zero", "special"),
        Case("device of nothing", lambda _: "/dev/null", "special"),
        Case("no such file", named("none.jpg"), "missing"),
        Case("below a file", below_a_file, "missing"),
        Case("name too long", named("x" * 5000), "missing"),
        Case("NUL in the name", named("a\0b.jpg"), "missing"),
        Case("surrogate in the name", named("\ud800.jpg"), "missing"),
        Case("no name", lambda _: "", "missing"),
    ]

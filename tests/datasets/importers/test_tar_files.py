"""Tar files that nobody should have to unpack."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from changeling.datasets.importers import tar_files
from changeling.datasets.importers.tar_files import Sample, read_samples
from changeling.errors import DatasetError

END = bytes(1024)


def member(name: str, data: bytes = b"", *, size: int | None = None, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header, which may lie about the size, and the bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data) if size is None else size, kind, "/etc/passwd"
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def read(path: Path, content: bytes) -> list[Sample]:
    path.write_bytes(content)
    return list(read_samples(path))


def test_consecutive_files_with_one_key_are_a_sample(tmp_path: Path) -> None:
    files = [
        ("x/a.b.jpg", b"?"),
        ("x/a.JPG", b"1"),
        ("x/a.json", b"2"),
        ("y/a.txt", b"3"),
        ("a.cls", b"4"),
        ("z", b"5"),
    ]
    content = member("x", kind=tarfile.DIRTYPE) + b"".join(member(name, data) for name, data in files) + END
    assert read(tmp_path / "a.tar", content) == [
        Sample("x/a", b"1", {".json": b"2"}),
        Sample("y/a", None, {".txt": b"3"}),
        Sample("a", None, {".cls": b"4"}),
    ]
    assert read(tmp_path / "a.tar", END) == []


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar_file_is_read(form: int, tmp_path: Path) -> None:
    name = ("long/" * 30 if form != tarfile.USTAR_FORMAT else "") + "käse"
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        info = tarfile.TarInfo(f"{name}.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    assert list(read_samples(tmp_path / "a.tar")) == [Sample(name, b"abc")]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE], ids=repr
)
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.tar cannot be read: 'a\.jpg' is a link, a device or a sparse file"):
        read(tmp_path / "a.tar", member("a.json", b"{}") + member("a.jpg", kind=kind) + END)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_files, "_MAX_TEXT", 1000)
    monkeypatch.setattr(tar_files, "MAX_BYTES", 5000)
    good = member("a.json", bytes(1000)) + member("a.jpg", bytes(5000)) + END
    assert [len(sample.image or b"") for sample in read(tmp_path / "a.tar", good)] == [5000]
    for content, message in (
        (member("a.json", bytes(1001)), r"'a\.json' is too large, with 1,001 bytes"),
        (member("a.jpg", bytes(5001)), r"'a\.jpg' is too large, with 5,001 bytes"),
        (member("a.jpg", size=1 << 60), "is too large, with 1,152,921,504,606,846,976 bytes"),
        (member("x", bytes(6000), kind=tarfile.GNUTYPE_LONGNAME) + member("a.jpg"), "a header in it is too large"),
        (member("x", bytes(6000), kind=tarfile.XHDTYPE) + member("a.jpg"), "a header in it is too large"),
    ):
        with pytest.raises(DatasetError, match=message):
            read(tmp_path / "a.tar", content + END)
    passed_over = member("notes.xml", bytes(9000)) + good
    assert len(read(tmp_path / "a.tar", passed_over)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"nonsense", "truncated header"),
        (b"nonsense" * 1000, "invalid header"),
        (member("a.jpg", b"1"), "it ends too early, or is broken in the middle"),
        (member("a.jpg", b"1") + END[:500], "it ends too early, or is broken in the middle"),
        (member("a.jpg", b"1") + b"nonsense" * 128, "it ends too early, or is broken in the middle"),
        (member("a.jpg", size=2000) + END, "unexpected end of data"),
        (member("a.xml", size=2000) + END, "unexpected end of data"),
        (member("a.jpg", size=-1024) + END, r"'a\.jpg' has an invalid position or size"),
        (member("a.jpg", b"1") + member("a.jpg", b"2") + END, "'a' has more than one image, or two files .jpg"),
        (member("a.jpg", b"1") + member("a.png", b"2") + END, "'a' has more than one image, or two files .png"),
        (member("a.txt", b"1") + member("a.txt", b"2") + END, "'a' has more than one image, or two files .txt"),
        (member("a", kind=tarfile.GNUTYPE_LONGNAME) * 5000 + END, ""),
    ],
)
def test_broken_tar_files_are_an_error(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=rf"a\.tar(: sample| cannot be read:) {message}") as caught:
        read(tmp_path / "a.tar", content)
    assert "\n" not in str(caught.value)


def test_noise_never_hangs_or_crashes(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    whole = member("a" * 200, b"long.jpg", kind=tarfile.GNUTYPE_LONGNAME) + member("a.jpg", b"1") + member("b.json")
    whole += member("x", b"20 size=4\n19 path=b\n", kind=tarfile.XHDTYPE) + member("b.png", b"1234") + END
    said: list[str] = []
    for _ in range(500):
        data = bytearray(whole)
        for place in draw.integers(0, len(data), draw.integers(1, 4)):
            data[place] = draw.integers(256)
        for start in range(0, len(data) - 511, 512):  # checksums that are right, to get behind them
            block = data[start : start + 512]
            if any(block[148:156]) and draw.random() < 0.8:
                total = sum(block[:148]) + sum(block[156:]) + 8 * 32
                data[start + 148 : start + 156] = b"%06o\0 " % total
        try:
            read(tmp_path / "a.tar", bytes(data))
        except DatasetError as error:
            said.append(str(error))
    assert 100 < len(said) < 500
    assert not any("\n" in message for message in said)


def test_a_sample_whose_image_has_several_dots_is_an_error(tmp_path: Path) -> None:
    content = member("a.jpg", b"1") + member("photo.v2.JPG", b"2") + member("photo.v2.json", b"{}") + END
    with pytest.raises(DatasetError, match=r"a.tar: 'photo.v2.jpg' has several dots, and the part after the first is"):
        read(tmp_path / "a.tar", content)


def test_concatenated_tar_files_are_an_error(tmp_path: Path) -> None:
    one, other = (member(f"{name}.jpg", b"1") + END for name in "ab")
    assert len(read(tmp_path / "a.tar", one + bytes(20 * 512))) == 1
    with pytest.raises(DatasetError, match="there is data after its end; concatenated tar files are not supported"):
        read(tmp_path / "a.tar", one + bytes(5 * 512) + other)


def test_hidden_files_are_skipped(tmp_path: Path) -> None:
    content = member("./._a.jpg", b"?") + member("./a.jpg", b"1") + member("x/.thumb.png", b"?") + END
    assert read(tmp_path / "a.tar", content) == [Sample("./a", b"1")]

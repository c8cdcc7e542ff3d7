"""A build from beginning to end: what it writes, how far it is said to be, one child again, shards."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

from changeling.clusters.manifest import Dataset, ImageRow
from changeling.errors import BuildError
from changeling.generate import preflight, run
from changeling.generate.build import Build, build_parents
from changeling.generate.children import Parents
from changeling.generate.page import write_page
from changeling.generate.parts import part_path, read_header, read_part, write_part
from changeling.generate.settings import GeneratorSettings
from changeling.generate.status import Count, count, until
from tests.generate import builds

CHILDREN = 7 * builds.CAPTIONS
GENERATORS = {"tiny": builds.drawing("picky"), "tiny vae": builds.drawing("vae", kind="reconstruction")}


@pytest.fixture(scope="module", autouse=True)
def one_thread(small_parts: None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(
    parents: Dataset,
    models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Build:
    """A build that is done: of a text-to-image generator with a safety checker, and of reconstructions."""
    build = builds.make_build(parents, tmp_path_factory.mktemp("whole") / "fakes", models, GENERATORS)
    assert run.run(build)
    return build


@pytest.fixture
def copy(whole: Build, tmp_path: Path) -> Build:
    """The same, in a folder of its own."""
    shutil.copytree(whole.output, tmp_path / "fakes")
    return Build(whole.parents, tmp_path / "fakes", whole.generators, whole.settings, whole.seed, whole.root)


def show(build: Build) -> str:
    console = Console(width=120)
    with console.capture() as said:
        run.show_status(build, console)
    return said.get()


def test_the_dataset_is_what_was_asked_for(whole: Build, parents: Dataset) -> None:
    made = Dataset(whole.output)
    rows = made.images.to_pylist()
    assert len(rows) == 7 + CHILDREN + 7
    assert [row["role"] for row in rows] == ["parent"] * 7 + ["child"] * (CHILDREN + 7)
    of_parents = {row["cluster_id"]: row for row in parents.images.to_pylist()}
    for row in rows:
        assert row["split"] == of_parents[row["cluster_id"]]["split"]
        assert row["source"] == "camera"
        if row["status"] == "ok":
            assert hashlib.sha256(made.file(row["path"]).read_bytes()).hexdigest() == row["sha256"]
    assert {row["caption_index"] for row in rows if row["generator"] == "tiny"} == {0, 1, 2}
    assert {row["caption_index"] for row in rows if row["generator"] == "tiny vae"} == {None}
    assert made.captions.equals(parents.captions)
    files = {path.relative_to(whole.output).as_posix() for path in (whole.output / "images").rglob("*.*")}
    assert files == {row["path"] for row in rows if row["path"]}  # no orphan
    record = json.loads((whole.output / "generators.json").read_text())
    assert list(record) == ["tiny", "tiny vae"]
    assert record["tiny"]["steps"] == 1
    assert record["tiny"]["saved"] == {"encoding": "matched", "size": None}


def test_two_shards_give_the_same_bytes(whole: Build, tmp_path: Path) -> None:
    build = Build(whole.parents, tmp_path / "fakes", whole.generators, whole.settings, whole.seed, whole.root)
    assert run.run(build, (1, 2)) is None
    assert not (build.output / "images.parquet").exists()
    assert run.run(build, (0, 2))
    assert builds.contents(build.output) == builds.contents(whole.output)


def test_another_seed_makes_other_children(whole: Build, tmp_path: Path) -> None:
    other = Build(whole.parents, tmp_path / "fakes", whole.generators, whole.settings, 1, whole.root)
    made = run.run(other)
    assert made
    drawn = made.column("generator") == "tiny"
    assert not set(made.column("sha256")[drawn]) & set(Dataset(whole.output).column("sha256")[drawn]) - {None}


def test_a_further_generator_keeps_what_there_is(whole: Build, copy: Build) -> None:
    before = builds.contents(copy.output)
    more = Build(
        copy.parents, copy.output, {**GENERATORS, "third": builds.drawing("sd")}, copy.settings, copy.seed, copy.root
    )
    made = run.run(more)
    assert made
    assert len(made) == 7 + 2 * CHILDREN + 7
    after = builds.contents(copy.output)
    assert {name for name in before if after[name] != before[name]} == {
        "images.parquet",
        "generators.json",
        "build/index.html",
    }
    assert made.images.slice(0, 14 + CHILDREN).equals(Dataset(whole.output).images)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 2}, "made with steps 1, now it is 2"),
        ({"guidance": 3.0}, "made with guidance 7.5, now it is 3.0"),
        ({"scheduler": "DDIMScheduler"}, "scheduler.class 'PNDMScheduler', now it is 'DDIMScheduler'"),
    ],
)
def test_a_build_is_not_mixed_of_two_settings(copy: Build, settings: dict[str, object], message: str) -> None:
    next((copy.output / "build" / "tiny").glob("part-*1.parquet")).unlink()
    changed = {**GENERATORS, "tiny": GENERATORS["tiny"].model_copy(update=settings)}
    with pytest.raises(BuildError, match=re.escape(message)) as caught:
        run.run(Build(copy.parents, copy.output, changed, copy.settings, copy.seed, copy.root))
    assert "\n" not in str(caught.value)


def test_one_child_again_is_the_same_file(copy: Build) -> None:
    made = Dataset(copy.output)
    row = next(row for row in made.images.to_pylist() if row["generator"] == "tiny" and row["status"] == "ok")
    data = made.file(row["path"]).read_bytes()
    made.file(row["path"]).unlink()
    assert run.redraw(copy, row["image_id"]) == made.file(row["path"])
    assert made.file(row["path"]).read_bytes() == data


@pytest.mark.parametrize(
    ("image_id", "message"),
    [
        ("tiny/nobody/0", "there is no child 'tiny/nobody/0'; ids are in images.parquet, such as 'tiny/"),
        ("other/0.jpg/0", "there is no child"),
    ],
)
def test_who_is_no_child_cannot_be_drawn_again(whole: Build, image_id: str, message: str) -> None:
    with pytest.raises(BuildError, match=re.escape(message)):
        run.redraw(whole, image_id)


def test_what_is_not_made_yet_cannot_be_drawn_again(copy: Build) -> None:
    shutil.rmtree(copy.output / "build" / "tiny")
    with pytest.raises(BuildError, match="is not made yet"):
        run.redraw(copy, "tiny/0.jpg/0")


def test_a_child_that_comes_out_otherwise_is_not_put_back(copy: Build) -> None:
    row = next(row for row in Dataset(copy.output).images.to_pylist() if row["generator"] == "tiny" and row["sha256"])
    path = part_path(copy.output, "tiny", 0)
    rows = [ImageRow(**one | {"sha256": "0" * 64}) for one in read_part(path).to_pylist()]  # drawn elsewhere, say
    write_part(path, read_header(path), rows)
    before = builds.contents(copy.output)
    with pytest.raises(BuildError, match="has other bytes now; nothing was written"):
        run.redraw(copy, row["image_id"])
    assert builds.contents(copy.output) == before


def test_status_and_page_of_a_build_that_is_half_done(copy: Build) -> None:
    for index in (3, 4):
        (copy.output / "build" / "tiny" / f"part-{index:05d}.parquet").unlink()
    (copy.output / "images.parquet").unlink()
    of_parents, drawn, _ = count(copy)
    assert (of_parents.done, of_parents.left) == (7, 0)
    assert (drawn.done, drawn.total, drawn.left) == (CHILDREN - 8, CHILDREN, 8)
    assert drawn.status["ok"] == drawn.splits.total()
    assert drawn.redrawn > 0  # the checker flags about a third
    said = show(copy)
    assert f"{CHILDREN - 8}" in said
    assert "the dataset is not written yet; the last part was written" in said
    page = write_page(copy).read_text()
    assert "The build is not finished" in page
    assert 'http-equiv="refresh"' in page
    links = set(re.findall(r'<img src="([^"]+)"', page))
    assert len(links) == 7 + drawn.status["ok"] + 7
    assert all((copy.output / "build" / link).exists() for link in links)


def test_a_flagged_child_has_no_file_and_is_counted(parents: Dataset, models: Path, tmp_path: Path) -> None:
    strict = {"strict": builds.drawing("strict", redraws=1)}
    build = builds.make_build(parents, tmp_path / "fakes", models, strict, clusters=2)
    made = run.run(build)
    assert made
    assert list(made.column("status")) == ["ok"] * 2 + ["flagged"] * 6
    assert set(made.column("error")[2:]) == {"the safety checker flagged it 2 times"}
    assert not (build.output / "images" / "strict").exists()
    assert count(build)[1].status == {"flagged": 6}
    assert '<div class="none">flagged</div>' in write_page(build).read_text()
    with pytest.raises(BuildError, match="flagged it 2 times"):
        run.redraw(build, "strict/0.jpg/0")


def test_names_and_captions_are_text_on_the_page(parents: Dataset, models: Path, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    build = builds.make_build(parents, tmp_path / "fakes", models, {hostile: builds.drawing("sd")})
    build_parents(build)
    page = write_page(build).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_disk_that_is_too_small_is_refused_before_the_work(
    parents: Dataset,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "LONG", 1)
    monkeypatch.setattr(preflight, "free_bytes", lambda _: 10_000)
    build = builds.make_build(parents, tmp_path / "fakes", models, {"tiny": builds.drawing("sd")})
    with pytest.raises(BuildError, match=r"will take about 0\.0 GB, and the disk has 0\.0 GB free"):
        run.run(build)
    assert not list(build.output.glob("build/tiny/part-*"))


def test_before_a_long_build_its_length_is_said(
    parents: Dataset,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "LONG", 1)
    notes: list[str] = []
    build = builds.make_build(parents, tmp_path / "fakes", models, {"tiny": builds.drawing("sd")}, clusters=2)
    assert run.run(build, note=notes.append)
    (note,) = notes
    assert re.fullmatch(r"tiny on .+: one child took \d+\.\d\d s and \d+ kB; about 6 to go: .+, until .+ free", note)


def test_times_are_said_in_words() -> None:
    assert until(12).startswith("12 s, until ")
    assert until(150).startswith("2 min, until ")
    assert until(3 * 3600 + 600).startswith("3 h 10 min, until ")
    assert until(3 * 86400 + 7200).startswith("3 d 2 h, until ")
    assert Count("x", 10, sampled=2, bytes=20).disk_left == 100


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "1/0", "0/"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(BuildError, match="write I/N with I from 0 to N-1"):
        run.parse_shard(text)
    assert run.parse_shard("3/4") == (3, 4)


def test_a_model_that_is_not_there_is_one_line(parents: Dataset, tmp_path: Path) -> None:
    build = builds.make_build(
        parents, tmp_path / "fakes", tmp_path, {"none": GeneratorSettings(model="no/such/folder")}
    )
    with pytest.raises(BuildError, match="no such folder"):
        run.run(build)
    assert Parents(parents).left_out == 0

"""Drawing and writing the parts of one generator."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from changeling.build.children import draw_and_write_parts
from changeling.build.job import Build
from changeling.build.parts import BuildPartFormat
from changeling.build.runner import run_build
from changeling.datasets.dataset import Dataset
from changeling.generators.base import Generator
from tests import helpers
from tests.build.builds import (
    CAPTIONS,
    GENERATORS,
    PART_SIZE,
    make_build,
)


@pytest.mark.usefixtures("cached")
def test_a_batch_draws_the_same_bytes_twice_and_the_same_rows_as_single_children(
    models: Path, parents: Dataset, tmp_path: Path, finished: Path
) -> None:
    outputs = [tmp_path / folder / "fakes" for folder in ("one", "two")]
    generators = {"picky": GENERATORS["picky"]}
    for output in outputs:
        run_build(make_build(parents, output, models, generators, batch=3, clusters=4))
    assert helpers.contents(outputs[0]) == helpers.contents(outputs[1])
    assert BuildPartFormat().read_header(outputs[0] / "build" / "picky" / "part-00000.parquet").batch == 3
    columns = ["image_id", "seed", "status", "path", "width", "split"]
    together, alone = (pq.read_table(folder / "images.parquet", columns=columns) for folder in (outputs[0], finished))
    assert together.slice(4).equals(alone.slice(7 + 21, 4 * CAPTIONS))


def test_another_seed_draws_other_children(
    build: Build, loaded: dict[str, Generator], expected: dict[str, bytes]
) -> None:
    other = make_build(build.parents.dataset, build.output, build.root, GENERATORS, seed=1)
    draw_and_write_parts(other, "sd", loaded["sd"], [0])
    images = helpers.contents(build.output / "images")
    assert len(images) == PART_SIZE
    assert not set(images.values()) & set(expected.values())

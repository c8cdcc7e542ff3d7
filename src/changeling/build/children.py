"""The children of one generator: load it, try it, and draw, encode and write its parts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from changeling.build.draw import DoneCallback, draw_part, load_build_generator
from changeling.build.job import Build
from changeling.build.parts import BuildHeader, hash_children
from changeling.build.preflight import Note, run_preflight
from changeling.build.record import write_or_check_record
from changeling.build.write import write_children_part
from changeling.progress import Progress, silent

if TYPE_CHECKING:
    from changeling.generators.base import Generator


def build_children(build: Build, name: str, indices: Sequence[int], progress: Progress, note: Note) -> None:
    """Load a generator, try it if there is much to draw, and write these parts of its children.

    Raises:
        BuildError: the generator cannot be loaded or fails, differs from its record, or the disk is full.
    """
    parts = build.parts(name)
    progress(name, parts.row_range(indices[0])[0], parts.row_count)  # the model may take minutes to load
    generator = load_build_generator(build, name)
    write_or_check_record(build, name, generator)  # before the trial, which may take minutes
    run_preflight(build, name, generator, parts.count_rows(indices), note)
    draw_and_write_parts(build, name, generator, indices, progress)


def draw_and_write_parts(
    build: Build, name: str, generator: Generator, indices: Sequence[int], progress: Progress = silent
) -> None:
    """Draw and write these parts of a generator, except those that another process has written meanwhile.

    Each part is encoded and written while the next one is drawn.

    Raises:
        BuildError: the generator differs from its record or fails, or the disk is full.
    """
    record, batch, parts = write_or_check_record(build, name, generator), build.settings.batch, build.parts(name)
    redraws = build.generators[name].redraws
    writing: Future[None] | None = None
    with ThreadPoolExecutor(1) as pool:
        for index in indices:
            start, stop = parts.row_range(index)
            if not parts.exists(index):
                children = build.list_children(name, index)
                report_done = _report_from(progress, name, start, parts.row_count)
                drawn, batch = draw_part(generator, children, redraws, batch, report_done)
                header = BuildHeader(made_of=hash_children(record, children), batch=batch, device=generator.device)
                if writing:
                    writing.result()
                writing = pool.submit(write_children_part, build, name, index, header, drawn)
            progress(name, stop, parts.row_count)
        if writing:
            writing.result()


def _report_from(progress: Progress, name: str, start: int, total: int) -> DoneCallback:
    """A callback that reports how many children of a part that begins at `start` are done."""
    return lambda done: progress(name, start + done, total)

"""The time and the disk space that a build needs, from a few children of each generator, drawn and thrown away."""

from __future__ import annotations

from changeling.build.counts import count_images
from changeling.build.draw import load_build_generator
from changeling.build.estimate import format_bytes, format_duration, format_time_left
from changeling.build.job import Build
from changeling.build.preflight import Note, try_batch
from changeling.files import free_bytes


def forecast_build(build: Build, processes: int, note: Note) -> None:
    """Draw a few children of each unfinished generator, and note the time and disk space that the missing ones need.

    Nothing is written. `processes` is the number of GPUs or machines that share the build, each as fast as this one.

    Raises:
        BuildError: a generator cannot be loaded or fails, or the children will not fit on the disk.
    """
    total_seconds = total_bytes = 0.0
    for name in build.generators:
        remaining = count_images(build, name).remaining
        if not remaining:
            note(f"{name}: done")
            continue
        generator = load_build_generator(build, name)
        trial = try_batch(build, name, generator, remaining)
        seconds, size = trial.seconds * remaining, trial.bytes * remaining
        note(
            f"{name} on {generator.device}: {remaining:,} children of {trial.seconds:.2f} s and "
            f"{format_bytes(trial.bytes)}: {format_duration(seconds)}, {format_bytes(size)}"
        )
        total_seconds, total_bytes = total_seconds + seconds, total_bytes + size
    shared = "in one process" if processes == 1 else f"in {processes} processes as fast as this one"
    note(
        f"all children {shared}: {format_time_left(total_seconds / processes)}, "
        f"{format_bytes(total_bytes)} of {format_bytes(free_bytes(build.output))} free"
    )

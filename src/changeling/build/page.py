"""The page of a build, build/index.html: counts, and the first clusters with their captions, as they are written."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from changeling.build.counts import BuildCounter
from changeling.build.estimate import format_time_left
from changeling.build.job import Build
from changeling.build.parts import PARENTS
from changeling.files import atomic_write
from changeling.progress import Progress

SHOWN_CLUSTERS = 60
_SHOWN_BEFORE_CHILDREN = 6  # clusters, while no child is written
_MAX_CAPTIONS = 8  # per cluster, on average
_MIN_INTERVAL = 20.0  # seconds between two writes of the page
_MAX_SHARE = 0.05  # of the time, that writing the page may take


@dataclass(slots=True)
class _Cluster:
    parent: dict[str, Any]
    captions: dict[int, str]  # by caption_index
    children: list[dict[str, Any]] = field(default_factory=list)


class BuildPage:
    """build/index.html in the dataset folder. Images are linked, not embedded.

    Written again, it reads only the parts that are new, and those of the clusters that it shows.
    """

    def __init__(self, build: Build) -> None:
        self._build = build
        self._path = build.output / "build" / "index.html"
        self._counter = BuildCounter(build)
        self._next_write = 0.0

    def write(self) -> Path:
        """Write the page as of now; return its path."""
        began = time.monotonic()
        counts = self._counter.count()
        text = (
            _environment()
            .get_template("page.html")
            .render(
                name=self._build.output.absolute().name,
                counts=counts,
                clusters=_read_clusters(self._build),
                is_unfinished=any(count.remaining for count in counts),
                link=self._link,
                generators=list(self._build.generators),
                excluded_count=self._build.parents.excluded_count,
                format_time_left=format_time_left,
            )
        )
        with atomic_write(self._path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        ended = time.monotonic()
        self._next_write = ended + max(_MIN_INTERVAL, (ended - began) / _MAX_SHARE)
        return self._path

    def refresh_with(self, progress: Progress) -> Progress:
        """A progress callback that calls `progress`, and writes the page from time to time."""

        def report(what: str, done: int, total: int) -> None:
            progress(what, done, total)
            if time.monotonic() > self._next_write:
                self.write()

        return report

    def _link(self, image: str) -> str:
        return Path(os.path.relpath(self._build.output / image, self._path.parent)).as_posix()


def _read_clusters(build: Build) -> list[_Cluster]:
    """The first clusters that have written children; if none has, the first parents."""
    parents = _read_first_rows(build, PARENTS, SHOWN_CLUSTERS)
    clusters = {row["cluster_id"]: _Cluster(row, {}) for row in parents}
    for row in build.parents.captions.slice(0, SHOWN_CLUSTERS * _MAX_CAPTIONS).to_pylist():
        if row["cluster_id"] in clusters:
            clusters[row["cluster_id"]].captions[row["caption_index"]] = row["caption"]
    for name in build.generators:
        for row in _read_first_rows(build, name, SHOWN_CLUSTERS * _MAX_CAPTIONS):
            if row["cluster_id"] in clusters:
                clusters[row["cluster_id"]].children.append(row)
    with_children = [cluster for cluster in clusters.values() if cluster.children]
    return with_children or list(clusters.values())[:_SHOWN_BEFORE_CHILDREN]


def _read_first_rows(build: Build, name: str, count: int) -> list[dict[str, Any]]:
    """The written ones among the first rows of a generator or of `PARENTS`, from as many parts as hold `count`."""
    parts = build.parts(name)
    indices = parts.indices[: -(-count // parts.part_size)]
    return [row for index in indices if parts.exists(index) for row in parts.read(index).to_pylist()][:count]


def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("changeling.build", ".")
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)

"""The page that fills while a build goes on: counts, and the clusters so far with their captions."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from changeling.build.job import Build
from changeling.build.parts import PARENTS
from changeling.build.status import count, until
from changeling.files import atomic_write
from changeling.progress import Progress

SHOWN = 60  # clusters
_PAUSE = 20.0  # seconds between two writings of the page


@dataclass(slots=True)
class _Cluster:
    parent: dict[str, Any]
    captions: dict[int, str]  # by their index
    children: list[dict[str, Any]] = field(default_factory=list)


def write_page(build: Build) -> Path:
    """Write build/index.html anew. Images are linked, not carried."""
    path = build.output / "build" / "index.html"
    counts = count(build)
    template = _templates().get_template("page.html")
    text = template.render(
        name=build.output.absolute().name,
        counts=counts,
        clusters=_clusters(build),
        unfinished=any(one.left for one in counts),
        link=lambda image: Path(os.path.relpath(build.output / image, path.parent)).as_posix(),
        generators=list(build.generators),
        left_out=build.parents.left_out,
        until=until,
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


class Filling:
    """Progress that also writes the page anew now and then, so seldom that it takes no twentieth of the time."""

    def __init__(self, build: Build, progress: Progress) -> None:
        self._build, self._progress = build, progress
        self._next = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Pass it on, and write the page if it is time."""
        self._progress(what, done, total)
        began = time.monotonic()
        if began > self._next:
            write_page(self._build)
            took = time.monotonic() - began
            self._next = began + took + max(_PAUSE, 20 * took)


def _clusters(build: Build) -> list[_Cluster]:
    """The first clusters, with what is there of them."""
    parents = _rows(build, PARENTS, SHOWN)
    shown = {row["cluster_id"]: _Cluster(row, {}) for row in parents}
    for row in build.parents.captions.slice(0, SHOWN * 8).to_pylist():
        if row["cluster_id"] in shown:
            shown[row["cluster_id"]].captions[row["caption_index"]] = row["caption"]
    for name in build.generators:
        for row in _rows(build, name, SHOWN * 8):
            if row["cluster_id"] in shown:
                shown[row["cluster_id"]].children.append(row)
    return [cluster for cluster in shown.values() if cluster.children] or list(shown.values())[:6]


def _rows(build: Build, name: str, most: int) -> list[dict[str, Any]]:
    parts = build.parts(name)
    indices = parts.indices[: -(-most // parts.part_size)]
    return [row for index in indices if parts.exists(index) for row in parts.read(index).to_pylist()][:most]


def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader("changeling.build", ".")
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)

"""Many machines: builds and extractions on a Ray cluster, part by part, with the bytes of a run without it.

Every machine sees the same folders under the same paths. A part is one unit of work: it is drawn or encoded by an actor
that holds the model (one a GPU), decoded and saved by tasks on CPUs, and renamed last. What a lost worker or machine
had in hand is done again elsewhere.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
import socket
from collections import abc
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from changeling.backbones import registry
from changeling.backbones.registry import Backbone
from changeling.build import runner
from changeling.build.draw import draw_part
from changeling.build.encoding import Encoder
from changeling.build.job import Build
from changeling.build.parts import BuildHeader
from changeling.build.preflight import check_children
from changeling.build.record import agree, part_of
from changeling.build.write import save_part
from changeling.datasets.dataset import Dataset
from changeling.errors import ChangelingError, ImageError, ScaleError, Status, one_line
from changeling.features.extract import Summary, extract, loader, make_part
from changeling.features.store import part_path as features_path
from changeling.features.store import part_rows, read_header
from changeling.images.transforms import Preprocessing
from changeling.progress import Progress, silent

if TYPE_CHECKING:
    from changeling.generators.base import Generator

LOCAL = "local"  # as an address, Ray's own word: a cluster of this machine alone, that ends with the run
TRIES = 3  # passes over what is missing, before it is given up

Row = dict[str, Any]


def build_on_ray(build: Build, address: str, progress: Progress = silent) -> Dataset:
    """Make what is missing of a build on the cluster at `address`, and the dataset.

    Raises:
        ScaleError: there is no such cluster, or parts are lost again and again.
        BuildError: as `runner.run`; what is done is kept.
    """
    with cluster(address) as ray:
        made = runner.run(build, progress=progress, make=partial(_make, ray))
    if made is None:
        raise ScaleError(f"{build.output}: parts were lost {TRIES} times; what is done is kept, start again to go on")
    return made


def _make(ray: Any, build: Build, name: str, mine: Sequence[int], progress: Progress, _note: runner.Note) -> None:
    """Make the parts of a generator on the cluster; what is lost with a machine is in the next pass."""
    parts = build.parts(name)
    for _ in range(TRIES):
        mine = [index for index in mine if not parts.exists(index)]
        if not mine:
            break
        check_children(build, name)
        done = parts.row_count - parts.count_rows(mine)
        with closing(_rows(_drawing(ray, build, name, mine))) as rows:
            for number, row in enumerate(rows):
                done += row["images"]
                progress(name, done, parts.row_count)
                if number == 0:
                    check_children(build, name)  # the first part shows whether all will fit


def extract_on_ray(dataset: Dataset, backbone: Backbone, address: str, progress: Progress = silent) -> Summary:
    """Make what is missing of the features of `dataset` on the cluster at `address`.

    Raises:
        ScaleError: there is no such cluster, or parts are lost again and again.
        FeatureError: parts exist that other weights, preprocessing or images made.
    """
    begun = missing = _missing(dataset, backbone)
    with cluster(address) as ray:
        for _ in range(TRIES):
            if not missing:
                break
            done = len(dataset) - sum(stop - start for start, stop in missing.values())
            with closing(_rows(_encoding(ray, dataset, backbone, missing))) as rows:
                for row in rows:
                    done += row["images"]
                    progress(backbone.name, done, len(dataset))
            missing = _missing(dataset, backbone)
    if missing:
        raise ScaleError(f"{dataset.path}: parts were lost {TRIES} times; what is done is kept, start again to go on")
    there = extract(dataset, backbone, progress=progress)  # checks what is there
    now = sum(stop - start for start, stop in begun.values())
    unread = sum(len(read_header(features_path(dataset, backbone.name, index)).errors) for index in begun)
    return Summary(now - unread, there.found - now, there.failed)


def _missing(dataset: Dataset, backbone: Backbone) -> dict[int, tuple[int, int]]:
    """The parts that are not there yet: their rows, by index."""
    parts = enumerate(part_rows(len(dataset)))
    return {index: rows for index, rows in parts if not features_path(dataset, backbone.name, index).exists()}


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """Join the Ray cluster at `address`, or start one of this machine alone; leave it at the end.

    Raises:
        ScaleError: Ray is not installed, or no cluster is there.
    """
    if not importlib.util.find_spec("ray"):
        raise ScaleError("a cluster needs Ray: pip install 'changeling[ray]'")
    if address != LOCAL:
        _answers(address)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of its own doings it would tell at length
    import ray
    import ray.data  # sets its loggers, which are then set otherwise

    joined = not ray.is_initialized()
    try:
        if joined:
            _join(ray, address)
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
    except ray.exceptions.RayError as error:
        raise ScaleError(f"the cluster failed: {one_line(error)}; start again to go on") from None
    finally:
        if joined:
            ray.shutdown()


def _join(ray: Any, address: str) -> None:
    dashboard = False if address == LOCAL else None
    try:
        ray.init(address, include_dashboard=dashboard, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise ScaleError(f"no Ray cluster is at {address}: {one_line(error)}") from None


def _answers(address: str) -> None:
    """Raise ScaleError if nobody listens at HOST:PORT: Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise ScaleError(f"no Ray cluster is at {address}: {error.strerror or error}") from None


def _drawing(ray: Any, build: Build, name: str, missing: Sequence[int]) -> Any:
    """The pipeline of a build: actors draw, tasks save."""
    from changeling.generators.runtime import default_threads

    shared = _packed(build)
    parts = ray.data.from_items([{"index": index} for index in missing], override_num_blocks=len(missing))
    drawn = parts.map_batches(
        _Draw, fn_constructor_args=(shared, name, default_threads()), batch_size=1, **_actors(ray)
    )
    return drawn.map(_save, fn_args=(shared, name), num_cpus=1)


def _encoding(ray: Any, dataset: Dataset, backbone: Backbone, missing: dict[int, tuple[int, int]]) -> Any:
    """The pipeline of an extraction: tasks decode, actors encode and write."""
    shared = _packed(dataset)
    items = [{"index": index, "start": start, "stop": stop} for index, (start, stop) in missing.items()]
    parts = ray.data.from_items(items, override_num_blocks=len(items))
    decoded = parts.map(_decode, fn_args=(shared, backbone.preprocessing), num_cpus=1)
    return decoded.map_batches(_Encode, fn_constructor_args=(shared, backbone.name), batch_size=1, **_actors(ray))


def _rows(pipeline: Any) -> abc.Generator[Row, None, None]:
    """What becomes of each part, as it does; a worker's error of ours is raised here.

    Closed, the pipeline ends at once: later it would join whatever cluster it finds.
    """
    with closing(iter(pipeline.iter_rows())) as rows:
        for row in rows:
            if row["failure"]:
                raise pickle.loads(row["failure"])  # noqa: S301 - made by a stage of ours
            yield row


def _actors(ray: Any) -> Row:
    """One actor a GPU; without GPUs one a machine, beside which there is room for tasks."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    machines = sum(node["Alive"] for node in ray.nodes())
    kind = {"num_gpus": 1} if gpus else {"num_cpus": 0.5}
    pool = ray.data.ActorPoolStrategy(size=gpus or machines)
    return {"compute": pool, **kind}


def _packed(what: Build | Dataset) -> bytes:
    """What every worker is given, and the folder that its relative paths start from. Tables stay where they are."""
    return pickle.dumps((Path.cwd(), pickle.dumps(what)))


def _unpacked(shared: bytes) -> Any:
    """What `_packed` was given; the worker goes to its folder, which every machine has under the same path."""
    folder, what = pickle.loads(shared)  # noqa: S301 - made by the driver
    os.chdir(folder)
    return _opened(what)


@lru_cache(maxsize=1)
def _opened(what: bytes) -> Any:
    """Its tables are read once by each worker."""
    return pickle.loads(what)  # noqa: S301 - made by the driver


class _Draw:
    """An actor that holds a generator. It loads it with its first part: what fails there is said as it is."""

    def __init__(self, shared: bytes, name: str, threads: int) -> None:
        self._shared, self._name, self._threads = shared, name, threads

    @cached_property
    def _build(self) -> Build:
        build: Build = _unpacked(self._shared)
        return build

    @cached_property
    def _generator(self) -> Generator:
        return runner.load(self._build, self._name, self._threads)

    def __call__(self, rows: Row) -> Row:
        index, name, build = int(rows["index"][0]), self._name, self._build
        try:
            children = build.children(name, index)
            made_of = part_of(agree(build, name, self._generator), children)
            drawn, batch = draw_part(self._generator, children, build.generators[name].redraws, build.settings.batch)
        except ChangelingError as error:
            return {"index": [index], "part": [b""], "failure": [pickle.dumps(error)]}
        header = BuildHeader(made_of=made_of, batch=batch, device=self._generator.device)
        return {"index": [index], "part": [pickle.dumps((header, drawn))], "failure": [b""]}


def _save(row: Row, shared: bytes, name: str) -> Row:
    if row["failure"]:
        return {"index": row["index"], "images": 0, "failure": row["failure"]}
    build: Build = _unpacked(shared)
    header, drawn = pickle.loads(row["part"])  # noqa: S301 - made by the stage before
    save_part(build, name, row["index"], header, drawn, Encoder(build.settings))
    return {"index": row["index"], "images": len(drawn), "failure": b""}


def _decode(row: Row, shared: bytes, preprocessing: Preprocessing) -> Row:
    load = loader(_unpacked(shared), preprocessing)

    def read(number: int) -> NDArray[np.float32] | tuple[Status, str]:
        try:
            return load(number)
        except ImageError as error:
            return error.status, str(error)

    return row | {"part": pickle.dumps([read(number) for number in range(row["start"], row["stop"])])}


class _Encode:
    """An actor that holds a backbone."""

    def __init__(self, shared: bytes, backbone: str) -> None:
        self._dataset: Dataset = _unpacked(shared)
        self._backbone = registry.load_backbone(backbone)

    def __call__(self, rows: Row) -> Row:
        index, start, stop = (int(rows[key][0]) for key in ("index", "start", "stop"))
        read = pickle.loads(rows["part"][0])  # noqa: S301 - made by the stage before

        def load(number: int) -> NDArray[np.float32]:
            found = read[number - start]
            if isinstance(found, tuple):
                raise ImageError(*found)
            return np.asarray(found)

        try:
            make_part(self._dataset, self._backbone, index, load)
        except ChangelingError as error:
            return {"index": [index], "images": [0], "failure": [pickle.dumps(error)]}
        return {"index": [index], "images": [stop - start], "failure": [b""]}

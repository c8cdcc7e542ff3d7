"""Measure `changeling serve` under load, and compare it with the bare encoder and with a service of mosec.

    python benchmarks/serve.py FOLDER [--images N] [--mosec DIR]

FOLDER contains images. The contenders take turns, so that changes of the machine's speed affect all of them: the bare
encoder on preprocessed tensors, one by one and by four; `changeling serve`, with CLIENTS clients at a time and one
picture a request; and with `--mosec` the same detector as a service of mosec (`pip install --target DIR mosec==0.9.8`).
The benchmark prints, for each, images per second by the clock and seconds of processor time an image (of the service's
processes; the clients do not count), the ratios to the bare encoder, and the latency. Every answer is compared with its
picture's hash and with the verdict of `detect`. At last the service gets SIGTERM under load: no request that it has
taken may be lost.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from changeling.detect.detector import Detector
from changeling.detect.inputs import find_images
from changeling.detect.loading import load_image
from changeling.images.decode import ImageFile

ROUNDS = 2
CLIENTS = 4
TOLERANCE = 1e-5  # of a probability: `detect` encodes batches, the services single images
TIMEOUT = 600.0  # seconds


@dataclass(frozen=True)
class Picture:
    """A file to send, and what must be answered."""

    data: bytes
    sha256: str
    label: str | None
    probability: float

    def check(self, row: dict[str, Any]) -> None:
        """Raise ValueError unless an answer is that of this picture."""
        if row["sha256"] != self.sha256:
            raise ValueError(f"the answer of {row['sha256']} was sent to the client of {self.sha256}")
        if row["label"] != self.label or abs(row["probability"] - self.probability) > TOLERANCE:
            raise ValueError(f"{self.sha256}: {row['label']} {row['probability']}, not {self.label} {self.probability}")


@dataclass(frozen=True)
class Contender:
    """A way to judge pictures: work to do in each round, and the process that does it (0: this one).

    The work of a service returns the seconds of each answer, that of the encoder nothing.
    """

    name: str
    work: Callable[[], list[float]]
    pid: int = 0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--mosec", type=Path)
    arguments = parser.parse_args()
    paths = list(islice(find_images([arguments.folder], sys.stdin.buffer), arguments.images))
    detector = Detector.load()
    pictures = list_pictures(detector, paths)
    print(f"{len(pictures)} images of {arguments.folder}, {ROUNDS} rounds, {CLIENTS} clients", flush=True)
    with run_changeling() as service, run_mosec(arguments.mosec) as mosec_service:
        contenders = [*make_encoders(detector, pictures), make_changeling(service, pictures)]
        if mosec_service:
            contenders.append(make_mosec(mosec_service, pictures))
            contenders[-1].work()  # it loads the model after it has begun to answer
        print_rates(contenders, len(pictures))
        print_losses(service, pictures)


def list_pictures(detector: Detector, paths: Sequence[str]) -> list[Picture]:
    """Return the readable files with the verdicts of `detect`."""
    pictures = []
    for path, verdict in zip(paths, detector.detect(paths), strict=True):
        if verdict.probability is not None:
            data = Path(path).read_bytes()
            pictures.append(Picture(data, hashlib.sha256(data).hexdigest(), verdict.label, verdict.probability))
    return pictures


@dataclass(frozen=True)
class Service:
    """A service in a process of its own."""

    process: subprocess.Popen[bytes]
    address: str


@contextmanager
def run_service(command: Sequence[str], port: int, ready: str, **environment: str) -> Iterator[Service]:
    """Start a service and wait until `ready` answers 200; kill it at the end."""
    with subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL) as process:
        service = Service(process, f"http://127.0.0.1:{port}")
        try:
            while not is_ready(f"{service.address}{ready}"):
                if process.poll() is not None:
                    raise RuntimeError(f"{command} ended with {process.returncode}")
                time.sleep(0.2)
            yield service
        finally:
            process.terminate()


def run_changeling() -> Any:
    """Start `changeling serve`."""
    port = find_free_port()
    command = [sys.executable, "-m", "changeling", "serve", "--port", str(port)]
    return run_service(command, port, "/readyz")


@contextmanager
def run_mosec(folder: Path | None) -> Iterator[Service | None]:
    """Start the service of mosec, which is installed in a folder; None without a folder."""
    if folder is None:
        yield None
        return
    port = find_free_port()
    command = [sys.executable, "-m", "benchmarks.mosec_service", "--port", str(port), "--timeout", "600000"]
    path = os.pathsep.join(filter(None, (str(folder.absolute()), str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    # mosec looks for its program in the folders of the interpreter and of the user only
    with run_service(command, port, "/metrics", PYTHONPATH=path, PYTHONUSERBASE=str(folder.absolute())) as service:
        yield service


def make_encoders(detector: Detector, pictures: Sequence[Picture]) -> list[Contender]:
    """The encoder alone, on preprocessed tensors: one by one, as `changeling serve` does, and by four."""
    backbone = detector.backbone
    pixels = np.concatenate([load_image(ImageFile("", one.data), backbone.preprocessing).pixels for one in pictures])

    def encode_all(size: int) -> list[float]:
        for start in range(0, len(pixels), size):
            backbone.encode(pixels[start : start + size])
        return []

    return [Contender(f"bare encoder, batch {size}", partial(encode_all, size)) for size in (1, 4)]


def make_changeling(service: Service, pictures: Sequence[Picture]) -> Contender:
    """The service of `changeling serve`, to which every picture is sent once in a round."""

    def ask(client: httpx.Client, picture: Picture) -> None:
        answer = client.post("/v1/detect", files={"images": ("x", picture.data)})
        answer.raise_for_status()
        (row,) = answer.json()["results"]
        picture.check(row)

    return Contender("changeling serve", lambda: ask_all(service, pictures, ask), service.process.pid)


def make_mosec(service: Service, pictures: Sequence[Picture]) -> Contender:
    """The service of mosec, likewise."""

    def ask(client: httpx.Client, picture: Picture) -> None:
        answer = client.post("/inference", content=picture.data)
        answer.raise_for_status()
        picture.check(answer.json())

    return Contender("mosec", lambda: ask_all(service, pictures, ask), service.process.pid)


def ask_all(service: Service, pictures: Sequence[Picture], ask: Callable[[httpx.Client, Picture], None]) -> list[float]:
    """Send all pictures by CLIENTS clients at a time; return the seconds of each answer."""

    def measure(picture: Picture) -> float:
        started = time.perf_counter()
        ask(client, picture)
        return time.perf_counter() - started

    with httpx.Client(base_url=service.address, timeout=TIMEOUT) as client, ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(measure, pictures))


def print_rates(contenders: Sequence[Contender], images: int) -> None:
    """Print the speed of each contender, its ratio to the first one, and its latency."""
    wall: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    processor: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    latencies: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(ROUNDS):
        for contender in contenders:
            before, started = read_processor_seconds(contender.pid), time.perf_counter()
            latencies[contender.name] += contender.work()
            wall[contender.name].append((time.perf_counter() - started) / images)
            processor[contender.name].append((read_processor_seconds(contender.pid) - before) / images)
    for name in wall:
        seconds = [statistics.median(measured[name]) for measured in (wall, processor)]
        print(f"{name:24} {1 / seconds[0]:6.2f} images/s, {seconds[1]:.3f} s of processor time an image")
        if not latencies[name]:
            continue
        for bare in [contender.name for contender in contenders if not latencies[contender.name]]:
            for what, measured in (("wall time", wall), ("processor time", processor)):
                ratios = [first / own for first, own in zip(measured[bare], measured[name], strict=True)]
                low, high = min(ratios), max(ratios)
                print(f"  speed / {bare}, {what}: {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})")
        p50, p99 = np.percentile(latencies[name], [50, 99])
        print(f"  {len(latencies[name])} answers, all right; latency p50 {p50:.2f} s, p99 {p99:.2f} s", flush=True)


def print_losses(service: Service, pictures: Sequence[Picture]) -> None:
    """Send SIGTERM under load, and print what became of the requests."""
    outcomes: Counter[str] = Counter()
    stopped_at = [0.0]

    def ask(picture: Picture) -> None:
        sent = time.perf_counter()
        try:
            with httpx.Client(base_url=service.address, timeout=TIMEOUT) as client:
                answer = client.post("/v1/detect", files={"images": ("x", picture.data)})
        except httpx.ConnectError:
            outcomes["refused"] += 1
        except httpx.TransportError:
            outcomes["not taken" if stopped_at[0] and sent > stopped_at[0] else "lost"] += 1
        else:
            if answer.status_code == 200:
                picture.check(answer.json()["results"][0])
            outcomes[str(answer.status_code)] += 1
            if not stopped_at[0]:
                stopped_at[0] = time.perf_counter()
                service.process.send_signal(signal.SIGTERM)

    with ThreadPoolExecutor(2 * CLIENTS) as pool:
        list(pool.map(ask, pictures))
    service.process.wait(TIMEOUT)
    described = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    print(f"SIGTERM after the first answer, {2 * CLIENTS} clients: {described}; exit code {service.process.returncode}")
    if outcomes["lost"]:
        raise SystemExit(f"{outcomes['lost']} requests that were sent before SIGTERM are lost")


def read_processor_seconds(pid: int) -> float:
    """User and system time of this process (0), or of another one and of all processes below it."""
    if not pid:
        return time.process_time()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it has ended
        return 0.0
    ticks = int(fields[11]) + int(fields[12])
    below = sum(read_processor_seconds(int(child)) for group in children for child in group)
    return ticks / os.sysconf("SC_CLK_TCK") + below


def is_ready(url: str) -> bool:
    """Whether a service answers 200."""
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def find_free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


if __name__ == "__main__":
    main()

"""Send hostile uploads to a service while slow clients hold connections, and see whether good clients are served.

    python benchmarks/hostile_uploads.py --uploads 10000 --slow 200

The service runs a tiny detector in a process of its own. Uploads are files of the tests' hostile corpus, changed at
random. Printed are the answers by status, the times of the good clients, and the memory of the service's processes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from tests import helpers, hostile
from tests.server.helpers import make_picture

from changeling.errors import ImageError
from changeling.images.decode import read_file

SENDERS = 16
ALLOWED = {200, 413, 415, 422}
MIB = 1 << 20


@dataclass
class Findings:
    """What was seen."""

    answers: Counter[str] = field(default_factory=Counter)
    slow: Counter[str] = field(default_factory=Counter)
    good_seconds: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def main() -> None:
    """Run the service and all clients, print the findings, and fail if the service did."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--uploads", type=int, default=10_000)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=120, help="stop after this time, with fewer uploads")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = read_corpus(Path(folder))
        backbone = helpers.tiny_backbone(helpers.tiny_onnx(Path(folder) / "tiny.onnx"))
        helpers.tiny_detector(backbone).save(Path(folder) / "model")
        command = [sys.executable, "-m", "changeling", "serve", "--port", "0", "--model", f"{folder}/model"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            address = next(word for word in process.stderr.readline().split() if word.startswith("http://"))
            draw = random.Random(0)
            end = time.monotonic() + 60 * arguments.minutes
            changed = (change(draw.choice(corpus), corpus, draw) for _ in range(arguments.uploads))
            uploads = itertools.takewhile(lambda _: time.monotonic() < end, changed)
            findings = asyncio.run(attack(address, process.pid, uploads, arguments.slow))
            is_alive = process.poll() is None
            process.terminate()
            output = process.stderr.read()
    print_findings(findings)
    print(f"the service {'lived' if is_alive else 'died'}; it printed {output!r}")
    if not is_alive or not {int(status) for status in findings.answers if status.isdecimal()} <= ALLOWED:
        sys.exit(1)


def read_corpus(folder: Path) -> list[bytes]:
    """Return the content of all hostile files that can be uploaded, and of a few pictures."""
    contents = [make_picture(seed) for seed in range(10)]
    for number, case in enumerate(hostile.cases()):
        (folder / str(number)).mkdir()
        try:
            contents.append(read_file(case.make(folder / str(number))).data)
        except ImageError:
            continue  # a folder, a socket, no file
    return contents


def change(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Return a file with some bytes changed, cut, repeated, or taken from another file."""
    data = bytearray(content)
    for _ in range(draw.randint(0, 4)):
        start = draw.randrange(len(data) + 1)
        end = min(start + draw.choice((1, 2, 4, 64, 1024)), len(data))
        piece = draw.choice(others)
        data[start:end] = draw.choice((
            draw.randbytes(end - start),
            b"",
            bytes(data[start:end]) * 3,
            b"\xff" * (end - start),
            piece[draw.randrange(len(piece) + 1) :][:256],
        ))  # fmt: skip
    return bytes(data)


async def attack(address: str, pid: int, uploads: Iterator[bytes], slow: int) -> Findings:
    """Send all uploads, with slow and good clients beside them."""
    findings = Findings()
    async with httpx.AsyncClient(base_url=address, timeout=120) as client:
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.1)
        background = [asyncio.create_task(hold_connection(address, number, findings)) for number in range(slow)]
        background += [
            asyncio.create_task(send_good_pictures(client, findings)),
            asyncio.create_task(watch_memory(pid, findings)),
        ]
        await asyncio.gather(*(send_uploads(client, uploads, findings) for _ in range(SENDERS)))
        for task in background:
            task.cancel()
        for ended in await asyncio.gather(*background, return_exceptions=True):
            if isinstance(ended, AssertionError):  # a good client had a wrong answer
                raise ended
    return findings


async def send_uploads(client: httpx.AsyncClient, uploads: Iterator[bytes], findings: Findings) -> None:
    """Send files one by one, with settings that depend on the file."""
    for data in uploads:
        options = f"?stable={len(data) % 7 == 0}&evidence={len(data) % 2 == 0}"
        try:
            answer = await client.post(f"/v1/detect{options}", files={"images": ("x", data)})
            findings.answers[str(answer.status_code)] += 1
            if not findings.answers.total() % 250:
                print(f"{findings.answers.total()} uploads", file=sys.stderr, flush=True)
            if answer.status_code == 200:
                assert answer.json()["results"][0]["sha256"] == hashlib.sha256(data).hexdigest()
        except httpx.TransportError as error:
            findings.answers[type(error).__name__] += 1


async def send_good_pictures(client: httpx.AsyncClient, findings: Findings) -> None:
    """Send a picture a few times a second, and check its answer."""
    while True:
        seed = len(findings.good_seconds) % 20
        picture, started = make_picture(seed), time.perf_counter()
        answer = await client.post("/v1/detect", files={"images": ("good.png", picture)})
        findings.good_seconds.append(time.perf_counter() - started)
        assert answer.status_code == 200, answer.text
        (result,) = answer.json()["results"]
        assert (result["status"], result["sha256"]) == ("ok", hashlib.sha256(picture).hexdigest())
        await asyncio.sleep(0.2)


async def hold_connection(address: str, number: int, findings: Findings) -> None:
    """Send a byte of a request every five seconds, of its headers or of its body, and again after a refusal."""
    host, _, port = address.removeprefix("http://").partition(":")
    start = f"POST /v1/detect HTTP/1.1\r\nHost: {host}\r\nX-Slow: "
    if number % 2:
        start += (
            "1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 99999\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="images"; filename="slow"\r\n\r\n'
        )
    while True:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(start.encode())
        reading = asyncio.create_task(reader.read(12))
        while not reading.done():
            await asyncio.sleep(5)
            writer.write(b"x")
        (answer,) = await asyncio.gather(reading, return_exceptions=True)
        findings.slow[answer.decode() if isinstance(answer, bytes) else type(answer).__name__] += 1
        writer.close()


async def watch_memory(pid: int, findings: Findings) -> None:
    """Measure the resident memory of the service and its processes every second."""
    while True:
        findings.memory.append(sum(read_memory(one) for one in [pid, *list_children(pid)]))
        await asyncio.sleep(1)


def list_children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    files = Path(f"/proc/{pid}/task").glob("*/children")  # of each thread
    return [int(child) for file in files for child in file.read_text().split()]


def read_memory(pid: int) -> int:
    """Return the resident bytes of a process, 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def print_findings(findings: Findings) -> None:
    """Print what was seen."""
    print("answers to hostile uploads:", dict(sorted(findings.answers.items())))
    print("slow clients were answered:", dict(sorted(findings.slow.items())))
    middle, late, last = np.quantile(findings.good_seconds, (0.5, 0.99, 1.0))
    count = len(findings.good_seconds)
    print(f"good clients: {count} answers; {middle:.2f} s median, {late:.2f} s p99, {last:.2f} s at most")
    tenths = [max(part) / MIB for part in np.array_split(findings.memory, 10) if len(part)]
    print("memory in MiB, highest in each tenth of the time:", *(f"{value:.0f}" for value in tenths))


if __name__ == "__main__":
    main()

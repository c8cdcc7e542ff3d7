"""`command:...`: a program that reads paths and writes scores.

The program is started for each batch of images. It reads one path a line on standard input, until that ends, and writes
a JSON object a line: `{"path": "...", "score": 0.7}`, in any order. It may add a `label` (real, fake or unsure), and
write `{"path": "...", "error": "..."}` for a file that it cannot score.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from changeling.errors import DetectorError, one_line
from changeling.evaluation.base import (
    DetectorSettings,
    EvaluatedImage,
    Score,
    ScoringDetector,
    hash_identity,
    hash_program_file,
)
from changeling.evaluation.detectors.answers import parse_answer

_SHOWN = 160  # characters of output that an error shows


class CommandDetector:
    """A program that scores images; its scores are named by path, so that their order does not matter."""

    reads_files = True

    def __init__(self, arguments: Sequence[str], timeout: float, identity: str) -> None:
        self._arguments, self._timeout = list(arguments), timeout
        self.identity = identity

    def score(self, images: Sequence[EvaluatedImage]) -> list[Score]:
        """Return the score of each image. Raises DetectorError if the program fails, hangs or misses an image."""
        paths = [image.file.path for image in images]
        unique_paths = dict.fromkeys(paths)  # two rows of a dataset may share a file
        output = run_program(self._arguments, join_paths(unique_paths), self._timeout)
        answers = _parse_lines(output, set(unique_paths))
        missing = [path for path in unique_paths if path not in answers]
        if missing:
            raise DetectorError(
                f"the program wrote {len(answers)} scores for {len(unique_paths)} images; none for {missing[0]}"
            )
        return [answers[path] for path in paths]


def load_command(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Return the detector that a command line starts. Raises DetectorError if there is no such program."""
    try:
        arguments = shlex.split(argument)
    except ValueError as error:
        raise DetectorError(f"command:{argument}: {error}") from None
    program = shutil.which(arguments[0]) if arguments else None
    if program is None:
        raise DetectorError(f"command:{argument}: there is no such program; check the path")
    hashes = [hash_program_file(Path(name)) for name in (program, *arguments[1:])]
    return CommandDetector(arguments, settings.timeout, hash_identity("command", argument, *hashes))


def join_paths(paths: Iterable[str]) -> str:
    """Return a line for each path. Raises DetectorError if a path contains a line break."""
    lines = [f"{path}\n" for path in paths]
    for line in lines:
        if "\n" in line[:-1]:
            raise DetectorError(f"a path contains a line break, which cannot be passed to a program: {line[:-1]!r}")
    return "".join(lines)


def run_program(arguments: Sequence[str], text: str, timeout: float, env: Mapping[str, str] | None = None) -> str:
    """Run a program with text on its standard input, and return what it writes on standard output.

    Raises:
        DetectorError: it cannot be started, fails, or takes longer than `timeout` seconds. The processes that it
            started are killed in any case.
    """
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            start_new_session=True,
        )
    except OSError as error:
        raise DetectorError(f"{arguments[0]} cannot be started: {error.strerror}") from None
    try:
        output, errors = process.communicate(os.fsencode(text), timeout)
    except subprocess.TimeoutExpired:
        raise DetectorError(f"the program gave no answer within the timeout of {timeout:g} s") from None
    finally:
        _end_program(process)
    if process.returncode:
        last = (errors.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise DetectorError(f"the program failed with exit code {process.returncode}: {last[:_SHOWN]}")
    return os.fsdecode(output)


def _end_program(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and the processes that it started, and wait for the program only."""
    with suppress(ProcessLookupError, PermissionError):  # nothing of its group runs; macOS refuses for zombies
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()


def _parse_lines(output: str, paths: set[str]) -> dict[str, Score]:
    """Return the scores of a program's output by path. Raises DetectorError for a line that is not one."""
    answers: dict[str, Score] = {}
    for line in output.split("\n"):
        if not line.strip():
            continue
        answer = _parse_object(line)
        path = answer.get("path")
        if not isinstance(path, str) or path not in paths:
            raise DetectorError(f"the program wrote a score for {path!r}, which is not one of the paths that it read")
        if path in answers:
            raise DetectorError(f"the program wrote two scores for {path}")
        answers[path] = parse_answer(answer, path)
    return answers


def _parse_object(line: str) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise DetectorError(f"the program wrote {line[:_SHOWN]!r}, not a JSON object: {one_line(error)}") from None
    if not isinstance(answer, dict):
        raise DetectorError(f"the program wrote {line[:_SHOWN]!r}, not a JSON object")
    return answer

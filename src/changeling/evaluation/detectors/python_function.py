"""`python:MODULE:FUNCTION`: a Python function that takes a list of paths and returns a list of scores.

It runs in a process of its own, in the working folder, which is ended if it hangs.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from changeling.errors import DetectorError, one_line
from changeling.evaluation.base import (
    DetectorSettings,
    EvaluatedImage,
    Score,
    ScoringDetector,
    hash_identity,
    hash_program_file,
)
from changeling.evaluation.detectors.answers import check_score
from changeling.evaluation.detectors.command import join_paths, run_program

# Standard output is the function's: the scores go to a file descriptor of their own.
_SCRIPT = """
import importlib, json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sys.path.insert(0, os.getcwd())
function = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
scores = function([os.fsdecode(line.rstrip(b"\\n")) for line in sys.stdin.buffer])
json.dump([float(score) for score in scores], answers)
"""


class PythonFunction:
    """A function in a module that the working folder or the environment has."""

    reads_files = True

    def __init__(self, module: str, function: str, timeout: float, identity: str) -> None:
        self._arguments = [sys.executable, "-c", _SCRIPT, module, function]
        self._timeout = timeout
        self.identity = identity

    def score(self, images: Sequence[EvaluatedImage]) -> list[Score]:
        """Return the score of each image. Raises DetectorError if the function fails, hangs or returns too few."""
        paths = join_paths(image.file.path for image in images)
        output = run_program(self._arguments, paths, self._timeout)
        values = json.loads(output)
        if len(values) != len(images):
            raise DetectorError(f"the function returned {len(values)} scores for {len(images)} images")
        return [Score(check_score(value, image.file.path)) for value, image in zip(values, images, strict=True)]


def load_python_function(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Return the detector of a function. Raises DetectorError if there is no such module."""
    module, _, function = argument.partition(":")
    if not module or not function.isidentifier():
        raise DetectorError(f"python:{argument}: name it as python:MODULE:FUNCTION")
    path = _find_module(module)
    return PythonFunction(
        module, function, settings.timeout, hash_identity("python", argument, hash_program_file(path))
    )


def _find_module(module: str) -> Path:
    """Return the file of a module, without running it, unless it is in a package. Raises DetectorError."""
    local = Path(*module.split("."))
    for path in (local.with_suffix(".py"), local / "__init__.py"):
        if path.is_file():
            return path
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise DetectorError(f"python:{module}: {one_line(error)}") from None
    if spec is None or spec.origin is None:
        raise DetectorError(f"python:{module}: there is no such module in {Path.cwd()} or in this environment")
    return Path(spec.origin)

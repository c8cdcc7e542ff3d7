"""The table of kinds of detectors, and how a detector is named: `[NAME=]KIND[:ARGUMENT]`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from changeling.errors import EvaluationError
from changeling.evaluation.base import DetectorKind, DetectorSettings, ScoringDetector
from changeling.evaluation.detectors.changeling_detector import load_changeling
from changeling.evaluation.detectors.command import load_command
from changeling.evaluation.detectors.http_service import load_http, load_https
from changeling.evaluation.detectors.models.huggingface import load_hugging_face
from changeling.evaluation.detectors.models.linear_head import load_head
from changeling.evaluation.detectors.models.onnx_model import load_onnx
from changeling.evaluation.detectors.models.timm_model import load_timm
from changeling.evaluation.detectors.models.univfd import load_univfd
from changeling.evaluation.detectors.python_function import load_python_function
from changeling.evaluation.detectors.score_table import load_score_table

KINDS = {
    "changeling": DetectorKind("changeling[:FOLDER]", load_changeling),
    "head": DetectorKind("head:FILE.safetensors", load_head),
    "univfd": DetectorKind("univfd:FILE.pth", load_univfd),
    "hf": DetectorKind("hf:MODEL[#LABEL]", load_hugging_face),
    "timm": DetectorKind("timm:MODEL[#LABEL]", load_timm),
    "onnx": DetectorKind("onnx:FILE[#INDEX]", load_onnx),
    "python": DetectorKind("python:MODULE:FUNCTION", load_python_function),
    "command": DetectorKind("command:PROGRAM ARGUMENTS", load_command),
    "http": DetectorKind("http://HOST/PATH", load_http),
    "https": DetectorKind("https://HOST/PATH", load_https),
    "scores": DetectorKind("scores:FILE.csv", load_score_table),
}
_SPEC = re.compile(r"(?:(?P<name>[^:=]+)=)?(?P<spec>(?P<kind>[^:]+)(?::(?P<argument>.*))?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """A detector as it is named to be evaluated.

    Attributes:
        name: for tables: the part before the equals sign, or the specification itself.
        kind: a key of `KINDS`.
        argument: what follows the colon.
    """

    name: str
    kind: str
    argument: str

    def load(self, settings: DetectorSettings) -> ScoringDetector:
        """Load the detector. Raises ChangelingError."""
        return KINDS[self.kind].load(self.argument, settings)


def parse_specs(texts: Sequence[str]) -> list[DetectorSpec]:
    """Parse the names of detectors. Raises EvaluationError if a kind is unknown or two names are equal."""
    specs = [_parse_spec(text) for text in texts]
    for spec in specs:
        if sum(other.name == spec.name for other in specs) > 1:
            raise EvaluationError(f"two detectors are called {spec.name}; put NAME= before one of them")
    return specs


def _parse_spec(text: str) -> DetectorSpec:
    match = _SPEC.fullmatch(text)
    if match is None or match["kind"] not in KINDS:
        known = ", ".join(kind.usage for kind in KINDS.values())
        raise EvaluationError(f"detector {text!r} is of no known kind; use one of {known}")
    return DetectorSpec((match["name"] or match["spec"]).strip(), match["kind"], match["argument"] or "")

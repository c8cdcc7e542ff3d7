"""Tell images made by text-to-image models from natural ones, and study why they can be told apart.

>>> from changeling import Detector
>>> for verdict in Detector.load().detect(["photo.jpg"]):
...     print(verdict.label, verdict.probability)

The names of `__all__` are the public Python API, which `docs/api.md` describes. They are imported when they are first
used, so that `import changeling` is fast and loads no other package.
"""

from typing import TYPE_CHECKING

__version__ = "1.0.0"
__all__ = [
    "Backbone",
    "ChangelingError",
    "Dataset",
    "Detector",
    "EvidenceReader",
    "Explainer",
    "Features",
    "LabelledVerdict",
    "Protocol",
    "Result",
    "Study",
    "TrainingSettings",
    "Verdict",
    "__version__",
    "add_truth",
    "audit_dataset",
    "build_dataset",
    "evaluate_detectors",
    "evaluate_verdicts",
    "export_huggingface",
    "extract_features",
    "find_images",
    "import_coco",
    "import_folder",
    "load_backbone",
    "load_protocol",
    "load_results",
    "load_study",
    "run_study",
    "train_detector",
]

_MODULES = {  # of the names above
    "Backbone": "backbones.registry",
    "ChangelingError": "errors",
    "Dataset": "datasets.dataset",
    "Detector": "detect.detector",
    "EvidenceReader": "detect.evidence.inspect",
    "Explainer": "detect.explanation.explain",
    "Features": "features.store",
    "LabelledVerdict": "detect.labelled",
    "Protocol": "evaluation.protocols.protocol",
    "Result": "results.result",
    "Study": "studies.settings",
    "TrainingSettings": "detect.train",
    "Verdict": "detect.detector",
    "add_truth": "detect.labelled",
    "audit_dataset": "datasets.audit.audit",
    "build_dataset": "workflows.datasets",
    "evaluate_detectors": "workflows.evaluation",
    "evaluate_verdicts": "detect.labelled",
    "export_huggingface": "workflows.datasets",
    "extract_features": "workflows.features",
    "find_images": "detect.inputs",
    "import_coco": "workflows.datasets",
    "import_folder": "workflows.datasets",
    "load_backbone": "backbones.registry",
    "load_protocol": "evaluation.protocols.protocol",
    "load_results": "results.folder",
    "load_study": "studies.settings",
    "run_study": "workflows.studies",
    "train_detector": "detect.train",
}

if TYPE_CHECKING:
    from changeling.backbones.registry import Backbone, load_backbone
    from changeling.datasets.audit.audit import audit_dataset
    from changeling.datasets.dataset import Dataset
    from changeling.detect.detector import Detector, Verdict
    from changeling.detect.evidence.inspect import EvidenceReader
    from changeling.detect.explanation.explain import Explainer
    from changeling.detect.inputs import find_images
    from changeling.detect.labelled import LabelledVerdict, add_truth, evaluate_verdicts
    from changeling.detect.train import TrainingSettings, train_detector
    from changeling.errors import ChangelingError
    from changeling.evaluation.protocols.protocol import Protocol, load_protocol
    from changeling.features.store import Features
    from changeling.results.folder import load_results
    from changeling.results.result import Result
    from changeling.studies.settings import Study, load_study
    from changeling.workflows.datasets import build_dataset, export_huggingface, import_coco, import_folder
    from changeling.workflows.evaluation import evaluate_detectors
    from changeling.workflows.features import extract_features
    from changeling.workflows.studies import run_study
else:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

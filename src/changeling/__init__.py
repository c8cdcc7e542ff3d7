"""Tell images made by text-to-image models from natural ones, and study why they can be told apart.

>>> from changeling import Detector
>>> for verdict in Detector.load().detect(["photo.jpg"]):
...     print(verdict.label, verdict.probability)
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Detector", "Verdict", "__version__"]

if TYPE_CHECKING:
    from changeling.detect.detector import Detector, Verdict


def __getattr__(name: str) -> Any:
    if name in ("Detector", "Verdict"):
        from changeling.detect import detector

        return getattr(detector, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The fixtures of experiments, which tests of studies share."""

from tests.experiments.conftest import plant

__all__ = ["plant"]

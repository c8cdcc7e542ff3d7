"""The fixtures of builds, which tests of generators share."""

from tests.build.conftest import models, one_thread_of_a_cpu, parents

__all__ = ["models", "one_thread_of_a_cpu", "parents"]

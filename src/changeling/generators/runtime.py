"""PyTorch and diffusers as all generator families use them: device, precision, threads, errors, record."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from changeling.backbones.torch_model import default_device
from changeling.errors import BuildError, one_line
from changeling.generators.base import OutOfMemoryError, Record
from changeling.generators.hub import ModelFiles, silence_libraries
from changeling.generators.settings import GeneratorSettings

_VERSIONS = ("diffusers", "transformers", "torch", "numpy", "pillow")


def prepare_libraries(threads: int | None = None) -> None:
    """Silence the libraries, make PyTorch deterministic, and set its number of CPU threads if one is given."""
    silence_libraries()
    if threads:
        torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def default_threads() -> int:
    """The number of threads that PyTorch uses on this machine's CPU."""
    return int(torch.get_num_threads())


def get_device_name() -> str:
    """The name of the GPU, or the instruction set that PyTorch uses on the CPU."""
    device = default_device()
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    if device.type == "mps":
        return f"the GPU of an Apple processor ({platform.machine()})"
    return f"a CPU with {torch.backends.cpu.get_cpu_capability()}"


def select_dtype(settings: GeneratorSettings, gpu_default: torch.dtype) -> torch.dtype:
    """The dtype that the settings name; for "auto" `gpu_default` on CUDA, and float32 on MPS and on a CPU."""
    if settings.precision == "auto":
        return gpu_default if default_device().type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, settings.precision)
    return dtype


def base_record(settings: GeneratorSettings, model: ModelFiles, dtype: torch.dtype) -> Record:
    """The part of a generator's record that all families share."""
    device = default_device()
    return {
        "kind": settings.kind,
        "model": settings.model,
        "revision": str(model.revision),
        "precision": str(dtype).removeprefix("torch."),
        "device": device.type,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONS},
    }


@contextmanager
def convert_model_errors(model: str) -> Iterator[None]:
    """Raise OutOfMemoryError where the device's memory is too small, and BuildError for any other error of a model."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise OutOfMemoryError from None
    except Exception as error:  # models raise many kinds
        if "MPS backend out of memory" in str(error):
            raise OutOfMemoryError from None
        raise BuildError(
            f"{model} fails: {one_line(error) or type(error).__name__}; "
            "fix this and start the build again: finished parts are kept"
        ) from None

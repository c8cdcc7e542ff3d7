"""Export of PyTorch models to ONNX files in the cache, checked against PyTorch."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from changeling.backbones.onnx import measure_difference, open_session, write_metadata
from changeling.backbones.torch_model import TorchModel, compute_layers
from changeling.config import cache_dir
from changeling.errors import BackboneError, one_line
from changeling.files import atomic_write
from changeling.progress import Progress

TOLERANCE = 1e-4  # largest difference from PyTorch in a layer, relative to the layer's largest value
_MAX_BYTES = 2**31 - 2**24  # of weights: an ONNX file is limited to 2 GiB
_OPSET = 17


class ExportError(BackboneError):
    """The model cannot be exported to ONNX; it runs on PyTorch only."""


def export_to_onnx(model: TorchModel, name: str, progress: Progress) -> Path:
    """Return the model's ONNX file in the cache; on first use, export it and compare it with PyTorch.

    Raises:
        ExportError: the model is too large, cannot be exported, or the export gives other features.
    """
    slug = re.sub(r"[^\w.-]+", "-", name)[-80:]
    path = cache_dir() / f"{slug}-{model.weights}-{model.preprocessing.hash}.onnx"
    if not path.exists():
        size = sum(tensor.numel() * tensor.element_size() for tensor in model.network.state_dict().values())
        if size > _MAX_BYTES:
            raise ExportError(f"{name} is too large for an ONNX file: {size / 2**30:.1f} GiB")
        progress(f"exporting {name}", 0, 1)
        try:
            with atomic_write(path) as temporary:
                onnx.save(_trace(model, name), temporary)
                _check_features(temporary, model, name)
        except OSError:
            raise
        except Exception as error:  # the errors of the exporter and of onnxruntime share no base class
            raise ExportError(f"{name} cannot be exported to ONNX: {one_line(error)}") from None
        progress(f"exporting {name}", 1, 1)
    return path


class _TupleOutput(nn.Module):
    """The network with a tuple as output: the exporter does not take a dictionary."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.tower = network  # the name is part of the names of the weights in the file

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.tower(pixels).values())


def _trace(model: TorchModel, name: str) -> onnx.ModelProto:
    blank = model.blank_image()
    model.network.cpu()
    layers = list(compute_layers(model, blank, name))
    buffer = io.BytesIO()
    # With gradients, attention is traced as its parts and not as one operator that ONNX does not have. The tracer warns
    # of everything that could depend on the input's values or size; `_check_features` finds out whether anything does.
    # Where it fails, it prints the whole graph past `sys.stdout`.
    silence = patch.object(torch._C, "_jit_onnx_log", lambda *_: None)
    with warnings.catch_warnings(action="ignore"), torch.enable_grad(), silence:
        torch.onnx.export(
            _TupleOutput(model.network).eval(),
            (torch.from_numpy(blank),),
            buffer,  # type: ignore[arg-type]
            input_names=["pixel_values"],
            output_names=layers,
            dynamic_axes={axis: {0: "batch"} for axis in ("pixel_values", *layers)},
            opset_version=_OPSET,
            dynamo=False,
        )
    graph = onnx.load_model_from_string(buffer.getvalue())
    write_metadata(graph, weights=model.weights, preprocessing=model.preprocessing)
    return graph


def _check_features(path: Path, model: TorchModel, name: str) -> None:
    """Compare the ONNX file with PyTorch on random batches of one and of three images. Raises ValueError."""
    session = open_session(path)
    random = np.random.default_rng(0)
    side = model.preprocessing.crop
    for batch in (1, 3):
        pixels = random.normal(size=(batch, 3, side, side)).astype(np.float32)
        expected = compute_layers(model, pixels, name)
        exported = session.run(list(expected), {"pixel_values": pixels})
        for (layer, expected_features), features in zip(expected.items(), exported, strict=True):
            difference = measure_difference(features, expected_features)
            if not difference <= TOLERANCE:
                raise ValueError(f"it differs from PyTorch at @{layer} by {difference:.1e} of the largest value")

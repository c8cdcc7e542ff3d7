"""EfficientNet-Lite0 as an ONNX graph, built from a state dict with the names of `efficientnet-lite-pytorch`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from changeling.errors import BackboneError

State = Mapping[str, NDArray[np.float32]]

# of the sixteen blocks; every other size follows from the shapes of the weights
_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
_EPSILON = 1e-3  # of batch normalisation, as in TensorFlow


def read_checkpoint(path: Path) -> State:
    """Load the tensors of a PyTorch checkpoint with `weights_only`: no pickled code is run."""
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.float().numpy() for name, tensor in state.items()}


def build_efficientnet_lite0(state: State) -> ModelProto:
    """Build the graph: "pixel_values" (B, 3, H, W) -> "pre" (B, 1280), pooled, and "logits" (B, 1000)."""
    graph = _GraphBuilder(state)
    x = graph.add_conv("pixel_values", "_conv_stem", "_bn0", stride=2)
    for index, stride in enumerate(_STRIDES):
        x = graph.add_block(x, f"_blocks.{index}", stride)
    x = graph.add_conv(x, "_conv_head", "_bn1")
    x = graph.add_node("GlobalAveragePool", [x])
    pre = graph.add_node("Flatten", [x], output="pre", axis=1)
    graph.add_node("Gemm", [pre, *graph.add_tensors("_fc.weight", "_fc.bias")], output="logits", transB=1)
    return graph.to_model()


class _GraphBuilder:
    """Collects the nodes and tensors of an ONNX graph."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {
            name: numpy_helper.from_array(np.array(value, np.float32), name) for name, value in {"0": 0, "6": 6}.items()
        }

    def add_tensors(self, *names: str) -> list[str]:
        for name in names:
            if name not in self.state:
                raise BackboneError(f"the checkpoint has no tensor {name}: it is not an EfficientNet-Lite0")
            self.initializers[name] = numpy_helper.from_array(self.state[name], name)
        return list(names)

    def add_node(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{op}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def add_conv(self, x: str, name: str, norm: str, *, stride: int = 1, groups: int = 1, relu: bool = True) -> str:
        """Add a convolution with TensorFlow's padding, batch normalisation and, unless it ends a block, ReLU6."""
        strides = [stride, stride]
        weight = self.add_tensors(f"{name}.weight")
        x = self.add_node("Conv", [x, *weight], group=groups, strides=strides, auto_pad="SAME_UPPER")
        moments = (f"{norm}.weight", f"{norm}.bias", f"{norm}.running_mean", f"{norm}.running_var")
        x = self.add_node("BatchNormalization", [x, *self.add_tensors(*moments)], epsilon=_EPSILON)
        return self.add_node("Clip", [x, "0", "6"]) if relu else x

    def add_block(self, x: str, name: str, stride: int) -> str:
        """Add an inverted bottleneck (expand, depthwise, project), with a residual connection where shapes allow it."""
        y = x
        if f"{name}._expand_conv.weight" in self.state:
            y = self.add_conv(y, f"{name}._expand_conv", f"{name}._bn0")
        depthwise = f"{name}._depthwise_conv"
        (kernel,) = self.add_tensors(f"{depthwise}.weight")
        y = self.add_conv(y, depthwise, f"{name}._bn1", stride=stride, groups=self.state[kernel].shape[0])
        y = self.add_conv(y, f"{name}._project_conv", f"{name}._bn2", relu=False)
        expand = self.state.get(f"{name}._expand_conv.weight")
        in_channels = self.state[kernel].shape[0] if expand is None else expand.shape[1]
        is_residual = stride == 1 and in_channels == self.state[f"{name}._project_conv.weight"].shape[0]
        return self.add_node("Add", [y, x]) if is_residual else y

    def to_model(self) -> ModelProto:
        image = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 224, 224])
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name, size in (("pre", 1280), ("logits", 1000))
        ]
        graph = helper.make_graph(self.nodes, "efficientnet-lite0", [image], outputs, list(self.initializers.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

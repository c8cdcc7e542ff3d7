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

_STRIDES = (
    1,
    2,
    1,
    2,
    1,
    2,
    1,
    1,
    1,
    1,
    1,
    2,
    1,
    1,
    1,
    1,
)  # of the sixteen blocks; all else is in the shapes
_EPSILON = 1e-3  # of batch normalisation, TensorFlow's


def read_checkpoint(path: Path) -> State:
    """Load a PyTorch checkpoint's tensors, with torch and `weights_only`: no pickled code is run."""
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.float().numpy() for name, tensor in state.items()}


def efficientnet_lite0(state: State) -> ModelProto:
    """Build the graph: "pixel_values" (B, 3, H, W) -> "pre" (B, 1280), pooled, and "logits" (B, 1000)."""
    graph = _Graph(state)
    x = graph.conv("pixel_values", "_conv_stem", "_bn0", stride=2)
    for index, stride in enumerate(_STRIDES):
        x = graph.block(x, f"_blocks.{index}", stride)
    x = graph.conv(x, "_conv_head", "_bn1")
    x = graph.add("GlobalAveragePool", [x])
    pre = graph.add("Flatten", [x], output="pre", axis=1)
    graph.add("Gemm", [pre, *graph.tensors("_fc.weight", "_fc.bias")], output="logits", transB=1)
    return graph.model()


class _Graph:
    """Nodes and tensors on their way to a model."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {
            name: numpy_helper.from_array(np.array(value, np.float32), name) for name, value in {"0": 0, "6": 6}.items()
        }

    def tensors(self, *names: str) -> list[str]:
        for name in names:
            if name not in self.state:
                raise BackboneError(f"the checkpoint has no {name}: it is not an EfficientNet-Lite0")
            self.initializers[name] = numpy_helper.from_array(self.state[name], name)
        return list(names)

    def add(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{op}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x: str, name: str, norm: str, *, stride: int = 1, groups: int = 1, relu: bool = True) -> str:
        """Convolution with TensorFlow's padding, batch normalisation, and ReLU6 unless it ends a block."""
        strides = [stride, stride]
        weight = self.tensors(f"{name}.weight")
        x = self.add("Conv", [x, *weight], group=groups, strides=strides, auto_pad="SAME_UPPER")
        moments = (f"{norm}.weight", f"{norm}.bias", f"{norm}.running_mean", f"{norm}.running_var")
        x = self.add("BatchNormalization", [x, *self.tensors(*moments)], epsilon=_EPSILON)
        return self.add("Clip", [x, "0", "6"]) if relu else x

    def block(self, x: str, name: str, stride: int) -> str:
        """Inverted bottleneck: expand, depthwise, project; added to its input where the shapes allow."""
        y = x
        if f"{name}._expand_conv.weight" in self.state:
            y = self.conv(y, f"{name}._expand_conv", f"{name}._bn0")
        depthwise = f"{name}._depthwise_conv"
        (kernel,) = self.tensors(f"{depthwise}.weight")
        y = self.conv(y, depthwise, f"{name}._bn1", stride=stride, groups=self.state[kernel].shape[0])
        y = self.conv(y, f"{name}._project_conv", f"{name}._bn2", relu=False)
        first = f"{name}._expand_conv.weight" if f"{name}._expand_conv.weight" in self.state else kernel
        wide_in = self.state[first].shape[1 if first != kernel else 0]
        same = stride == 1 and wide_in == self.state[f"{name}._project_conv.weight"].shape[0]
        return self.add("Add", [y, x]) if same else y

    def model(self) -> ModelProto:
        image = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 224, 224])
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name, size in (("pre", 1280), ("logits", 1000))
        ]
        graph = helper.make_graph(self.nodes, "efficientnet-lite0", [image], outputs, list(self.initializers.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

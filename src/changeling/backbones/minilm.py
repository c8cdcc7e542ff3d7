"""MiniLM-L6, a BERT with six layers that encodes sentences, as an ONNX graph built from its state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from changeling.errors import BackboneError

State = Mapping[str, NDArray[np.float32]]

_HEADS = 12  # the only size that does not follow from the shapes of the weights
_EPSILON = 1e-12  # of layer normalisation
_MASKED = -1e9  # added to the attention of padding


def build_minilm(state: State) -> ModelProto:
    """Build the graph of a BERT encoder with the mean of its tokens, of unit length.

    "input_ids" and "attention_mask", int64 (B, T), the mask 0 for padding -> "sentence" (B, D).

    Raises:
        BackboneError: a tensor is missing.
    """
    graph = _GraphBuilder(state)
    x = graph.add_embeddings()
    mask = graph.add_node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    column = graph.add_node("Unsqueeze", [mask, graph.add_constant([-1])])
    bias = graph.add_attention_bias(mask)
    layers = {int(name.split(".")[2]) for name in state if name.startswith("encoder.layer.")}
    for layer in sorted(layers):
        x = graph.add_layer(x, bias, f"encoder.layer.{layer}")
    total = graph.add_node("ReduceSum", [graph.add_node("Mul", [x, column]), graph.add_constant([1])], keepdims=0)
    # the mean over the tokens only differs in length from their sum
    graph.add_node("LpNormalization", [total], output="sentence", axis=1, p=2)
    return graph.to_model()


class _GraphBuilder:
    """Collects the nodes and tensors of an ONNX graph."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.dim = self.get_tensor("embeddings.word_embeddings.weight").shape[1]

    def get_tensor(self, name: str) -> NDArray[np.float32]:
        if name not in self.state:
            raise BackboneError(f"the checkpoint has no tensor {name}: it is not a BERT encoder")
        return np.asarray(self.state[name], np.float32)

    def add_tensor(self, value: NDArray[Any]) -> str:
        name = f"tensor/{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add_scalar(self, value: float) -> str:
        return self.add_tensor(np.array([value], np.float32))

    def add_constant(self, value: list[int]) -> str:
        return self.add_tensor(np.array(value, np.int64))

    def add_node(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{op}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def add_embeddings(self) -> str:
        """Add the sum of the embeddings of each token, its position and the first token type."""
        length = self.add_node("Gather", [self.add_node("Shape", ["input_ids"]), self.add_constant([1])])
        positions = self.get_tensor("embeddings.position_embeddings.weight")
        types = self.get_tensor("embeddings.token_type_embeddings.weight")
        table = self.add_tensor(positions + types[:1])
        zero = self.add_constant([0])
        places = self.add_node("Slice", [table, zero, length, zero])
        words = self.add_tensor(self.get_tensor("embeddings.word_embeddings.weight"))
        tokens = self.add_node("Gather", [words, "input_ids"])
        return self.add_norm(self.add_node("Add", [tokens, places]), "embeddings.LayerNorm")

    def add_attention_bias(self, mask: str) -> str:
        """Add what is added to the attention to each token: (B, 1, 1, T), 0 or, for padding, -1e9."""
        is_padding = self.add_node("Sub", [self.add_scalar(1), mask])
        bias = self.add_node("Mul", [is_padding, self.add_scalar(_MASKED)])
        return self.add_node("Unsqueeze", [bias, self.add_constant([1, 2])])

    def add_layer(self, x: str, bias: str, name: str) -> str:
        """Add a transformer layer: attention and a feed-forward network, each with a residual and a norm after it."""
        attended = self.add_linear(
            self.add_attention(x, bias, f"{name}.attention.self"), f"{name}.attention.output.dense"
        )
        x = self.add_norm(self.add_node("Add", [x, attended]), f"{name}.attention.output.LayerNorm")
        hidden = self.add_gelu(self.add_linear(x, f"{name}.intermediate.dense"))
        changed = self.add_linear(hidden, f"{name}.output.dense")
        return self.add_norm(self.add_node("Add", [x, changed]), f"{name}.output.LayerNorm")

    def add_attention(self, x: str, bias: str, name: str) -> str:
        """Add scaled dot-product attention in `_HEADS` heads: (B, T, D) -> (B, T, D)."""
        size = self.dim // _HEADS
        query = self.add_heads(x, f"{name}.query", (0, 2, 1, 3))
        key = self.add_heads(x, f"{name}.key", (0, 2, 3, 1))
        value = self.add_heads(x, f"{name}.value", (0, 2, 1, 3))
        scale = self.add_scalar(size**-0.5)
        scores = self.add_node("Mul", [self.add_node("MatMul", [query, key]), scale])
        weights = self.add_node("Softmax", [self.add_node("Add", [scores, bias])], axis=-1)
        mixed = self.add_node("Transpose", [self.add_node("MatMul", [weights, value])], perm=(0, 2, 1, 3))
        return self.add_node("Reshape", [mixed, self.add_constant([0, 0, self.dim])])

    def add_heads(self, x: str, name: str, order: tuple[int, ...]) -> str:
        """Add a linear layer, and split (B, T, D) into (B, T, heads, size) with its axes in another order."""
        shape = self.add_constant([0, 0, _HEADS, self.dim // _HEADS])
        return self.add_node("Transpose", [self.add_node("Reshape", [self.add_linear(x, name), shape])], perm=order)

    def add_linear(self, x: str, name: str) -> str:
        weight, bias = (self.get_tensor(f"{name}.{kind}") for kind in ("weight", "bias"))
        return self.add_node("Add", [self.add_node("MatMul", [x, self.add_tensor(weight.T)]), self.add_tensor(bias)])

    def add_norm(self, x: str, name: str) -> str:
        tensors = [self.add_tensor(self.get_tensor(f"{name}.{kind}")) for kind in ("weight", "bias")]
        return self.add_node("LayerNormalization", [x, *tensors], axis=-1, epsilon=_EPSILON)

    def add_gelu(self, x: str) -> str:
        """Add the exact GELU, x (1 + erf(x / sqrt 2)) / 2."""
        scaled = self.add_node("Mul", [x, self.add_scalar(0.5**0.5)])
        gate = self.add_node("Add", [self.add_node("Erf", [scaled]), self.add_scalar(1)])
        return self.add_node("Mul", [self.add_node("Mul", [x, gate]), self.add_scalar(0.5)])

    def to_model(self) -> ModelProto:
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        output = helper.make_tensor_value_info("sentence", TensorProto.FLOAT, ["batch", self.dim])
        graph = helper.make_graph(self.nodes, "minilm-l6", inputs, [output], self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

"""CLIP's image tower as a graph that computes the class token after every block, and nothing else.

The features are those of the exported graph up to rounding, at less work:

- The last block needs no patch tokens after it. Its query, its products and its MLP run for the class token alone, and
  its keys and values are never computed: `q (x W)^T = (q W^T) x^T` and `a (x W) = (a x) W`. It costs almost nothing.
- Queries, keys and values of the other blocks are one matrix product, with their bias and the scale of the queries.
- Attention is one operator of onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from changeling.errors import BackboneError

_OUTPUT = "blocks"
_HEAD_DIM = 64  # of all CLIP vision transformers
_EPSILON = 1e-5
_QUICK_GELU = 1.702
_OPSET = 17
_IR_VERSION = 8
_NORM_PARTS = ("weight", "bias")

Array = NDArray[np.generic]
Multiply = Callable[[str, str, Array, Array], str]


def build_class_token_graph(exported: ModelProto) -> ModelProto:
    """Return a graph with the output "blocks": class tokens (B, blocks x D) of the tower in an exported float graph.

    Raises:
        BackboneError: the graph does not name its weights as the Hugging Face export of CLIP does.
    """
    writer = GraphWriter(TowerWeights(exported))
    writer.add_tower()
    return writer.make_model()


class TowerWeights:
    """The weights of an exported tower, by the names of its modules.

    Attributes:
        width: D, the length of a token.
        tokens: of an image: the class token and a token for each patch.
        patch: side of a patch in pixels.
        blocks: how many there are.
    """

    def __init__(self, exported: ModelProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in exported.graph.initializer}
        self._products = {node.name: node.input[1] for node in exported.graph.node if node.op_type == "MatMul"}
        self.tokens, self.width = self.vector("embeddings.position_embedding.weight").shape
        self.patch = self.vector("embeddings.patch_embedding.weight").shape[-1]
        self.blocks = sum(name.endswith("layer_norm1.weight") for name in self._tensors)

    @property
    def heads(self) -> int:
        """How many heads each attention has."""
        return int(self.width // _HEAD_DIM)

    def vector(self, name: str) -> NDArray[np.float32]:
        """Return the tensor that has kept its name in the export."""
        return self._read(f"vision_model.{name}")

    def linear(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the matrix (in, out) and the bias (out,) of a linear layer, whose matrix has a number for its name."""
        node = f"/vision_model/{name.replace('.', '/').replace('layers/', 'layers.')}/MatMul_quant"
        return self._read(self._products.get(node, node)), self.vector(f"{name}.bias")

    def _read(self, name: str) -> NDArray[np.float32]:
        if name not in self._tensors:
            raise BackboneError(f"this is not the exported graph of CLIP's image tower: it has no {name}")
        return numpy_helper.to_array(self._tensors[name])


class GraphWriter:
    """Writes nodes of the graph; its methods return names of tensors: tokens (B x T, D), or class tokens (B, D).

    Attributes:
        nodes: that were written.
        inputs: by the name of a linear layer for all tokens, the tensor that it is applied to.
    """

    def __init__(self, weights: TowerWeights) -> None:
        self.nodes: list[NodeProto] = []
        self.inputs: dict[str, str] = {}
        self._weights = weights
        self._constants: dict[str, TensorProto] = {}

    def add_tower(self) -> None:
        """Add everything from pixels to the class tokens of all blocks."""
        tokens, class_tokens, last = self.embed("pixel_values"), [], self._weights.blocks - 1
        for block in range(last):
            tokens = self.add_block(tokens, block)
            class_tokens.append(self.take_class_token(tokens))
        class_tokens.append(self.add_last_block(tokens, last))
        self.nodes.append(helper.make_node("Concat", class_tokens, [_OUTPUT], name=_OUTPUT, axis=1))

    def make_model(self) -> ModelProto:
        """Return the graph."""
        weights = self._weights
        side = weights.patch * round((weights.tokens - 1) ** 0.5)
        pixels = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, side, side])
        output = helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, ["batch", weights.blocks * weights.width])
        graph = helper.make_graph(self.nodes, "class_tokens", [pixels], [output], list(self._constants.values()))
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    def embed(self, pixels: str) -> str:
        """Add the patch embedding, the class token, the positions and the first layer norm."""
        weights = self._weights
        kernel = self._constant("patches", weights.vector("embeddings.patch_embedding.weight"))
        positions = weights.vector("embeddings.position_embedding.weight")
        patches = self._add("Conv", pixels, kernel, strides=[weights.patch] * 2)
        patches = self._add("Reshape", patches, self._shape(0, weights.width, -1))
        patches = self._add("Transpose", patches, perm=[0, 2, 1])
        class_token = weights.vector("embeddings.class_embedding") + positions[0]
        first = self._add("Slice", patches, self._shape(0), self._shape(1), self._shape(1))  # for the size of the batch
        first = self._add("Mul", first, self._constant("zero", np.zeros(1, np.float32)))
        first = self._add("Add", first, self._constant("class", class_token[None, None]))
        patches = self._add("Add", patches, self._constant("positions", positions[None, 1:]))
        return self._norm(self._as_rows(self._add("Concat", first, patches, axis=1)), "pre_layrnorm")

    def add_block(self, tokens: str, block: int) -> str:
        """Add a transformer block for all tokens."""
        weights, name = self._weights, f"encoder.layers.{block}"
        projections = [weights.linear(f"{name}.self_attn.{part}_proj") for part in "qkv"]
        matrix, bias = (np.concatenate(parts, axis=-1) for parts in zip(*projections, strict=True))
        normalised = self._norm(tokens, f"{name}.layer_norm1")
        joint = self.multiply_tokens(normalised, f"{name}.qkv", matrix, bias)
        parts = self._split(joint)
        attended = self._add(
            "MultiHeadAttention", *map(self._as_images, parts), domain="com.microsoft", num_heads=weights.heads
        )
        layer = f"{name}.self_attn.out_proj"
        attended = self.multiply_tokens(self._as_rows(attended), layer, *weights.linear(layer))
        return self._mlp(self._add("Add", tokens, attended), name, self.multiply_tokens)

    def add_last_block(self, tokens: str, block: int) -> str:
        """Add a transformer block for the class token alone.

        The bias of the keys is left out: it adds the same to all logits of a query, which softmax ignores.
        """
        weights, name = self._weights, f"encoder.layers.{block}"
        width, heads = weights.width, weights.heads
        normalised = self._norm(tokens, f"{name}.layer_norm1")
        images = self._as_images(normalised)
        (wq, bq), (wk, _), (wv, bv) = (weights.linear(f"{name}.self_attn.{part}_proj") for part in "qkv")
        scale = np.float32(_HEAD_DIM**-0.5)
        query = self.multiply(self.take_class_token(normalised), f"{name}.q", wq * scale, bq * scale)
        query = self._add("Reshape", query, self._shape(-1, heads, 1, _HEAD_DIM))
        keys = self._constant(f"{name}.k", wk.reshape(width, heads, _HEAD_DIM).transpose(1, 2, 0))
        query = self._add("Reshape", self._add("MatMul", query, keys), self._shape(-1, heads, width))
        logits = self._add("MatMul", query, self._add("Transpose", images, perm=[0, 2, 1]))
        mean = self._add("MatMul", self._add("Softmax", logits, axis=-1), images)
        mean = self._add("Reshape", mean, self._shape(-1, heads, 1, width))
        values = self._constant(f"{name}.v", wv.reshape(width, heads, _HEAD_DIM).transpose(1, 0, 2))
        attended = self._add("Reshape", self._add("MatMul", mean, values), self._shape(-1, width))
        attended = self._add("Add", attended, self._constant(f"{name}.v.bias", bv))
        layer = f"{name}.self_attn.out_proj"
        attended = self.multiply(attended, layer, *weights.linear(layer))
        return self._mlp(self._add("Add", self.take_class_token(tokens), attended), name, self.multiply)

    def take_class_token(self, tokens: str) -> str:
        """Add the selection of the class tokens."""
        index = self._constant("index", np.array(0, np.int64))
        return self._add("Gather", self._as_images(tokens), index, axis=1)

    def multiply_tokens(self, tokens: str, name: str, matrix: Array, bias: Array) -> str:
        """Add a linear layer that is applied to all tokens: nearly all of the work."""
        self.inputs[name] = tokens
        return self.multiply(tokens, name, matrix, bias)

    def multiply(self, tokens: str, name: str, matrix: Array, bias: Array) -> str:
        """Add a linear layer."""
        constants = self._constant(f"{name}.weight", matrix), self._constant(f"{name}.bias", bias)
        return self._add("Gemm", tokens, *constants)

    def _mlp(self, tokens: str, name: str, multiply: Multiply) -> str:
        """Add the second half of a block."""
        first, second = f"{name}.mlp.fc1", f"{name}.mlp.fc2"
        hidden = multiply(self._norm(tokens, f"{name}.layer_norm2"), first, *self._weights.linear(first))
        factor = self._constant("quick_gelu", np.array(_QUICK_GELU, np.float32))
        gate = self._add("Sigmoid", self._add("Mul", hidden, factor))
        hidden = self._add("Mul", hidden, gate)
        return self._add("Add", tokens, multiply(hidden, second, *self._weights.linear(second)))

    def _norm(self, tokens: str, name: str) -> str:
        parameters = [self._constant(f"{name}.{part}", self._weights.vector(f"{name}.{part}")) for part in _NORM_PARTS]
        return self._add("LayerNormalization", tokens, *parameters, axis=-1, epsilon=_EPSILON)

    def _split(self, joint: str) -> list[str]:
        """Split queries, keys and values."""
        parts = [f"{joint}/{part}" for part in "qkv"]
        sizes = self._shape(*[self._weights.width] * 3)
        self.nodes.append(helper.make_node("Split", [joint, sizes], parts, name=f"{joint}/split", axis=1))
        return parts

    def _as_rows(self, tokens: str) -> str:
        return self._add("Reshape", tokens, self._shape(-1, self._weights.width))

    def _as_images(self, tokens: str) -> str:
        return self._add("Reshape", tokens, self._shape(-1, self._weights.tokens, self._weights.width))

    def _add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        name = f"{operator}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def _shape(self, *sizes: int) -> str:
        return self._constant(f"shape/{'x'.join(map(str, sizes))}", np.array(sizes, np.int64))

    def _constant(self, name: str, value: Array) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

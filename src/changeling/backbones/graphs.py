"""Surgery on ONNX graphs: fold int8 weights back to float, cut a graph at a tensor, name its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from changeling.errors import BackboneError


def fold_int8(model: ModelProto) -> None:
    """Replace each dynamically quantised matrix product by a float one, in place.

    `DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul(scales)` becomes `MatMul` with the weights
    `(w - zero_point) * scale`. The activations are no longer rounded to eight bits; the weights keep the
    (small) rounding that they were stored with.

    Raises:
        BackboneError: a product is not of this form.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    users = _users(model)
    folded: dict[str, NodeProto] = {}
    for product in [node for node in graph.node if node.op_type == "MatMulInteger"]:
        try:
            quantised, weight, _, zero_point = product.input
            (cast,) = users[product.output[0]]
            (rescale,) = users[cast.output[0]]
            scales = makers[next(name for name in rescale.input if name != cast.output[0])]
            scale = next(name for name in scales.input if name in constants)
            values = _array(constants[weight]) - _array(constants[zero_point])
            name = f"{weight}_folded"
            graph.initializer.append(numpy_helper.from_array(values * _array(constants[scale]), name))
            folded[rescale.output[0]] = helper.make_node(
                "MatMul", [makers[quantised].input[0], name], [rescale.output[0]], name=product.name
            )
        except (KeyError, ValueError, StopIteration) as error:
            raise BackboneError(f"cannot fold {product.name}: not a dynamic int8 product ({error})") from None
    nodes = [folded.get(node.output[0], node) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    _prune(model)


def set_layers(model: ModelProto, layers: Mapping[str, str]) -> None:
    """Make the graph's outputs exactly `layers` (name -> tensor), each (B, D), and drop what none of them needs."""
    graph = model.graph
    del graph.output[:]
    for name, tensor in layers.items():
        graph.node.append(helper.make_node("Identity", [tensor], [name], name=f"layer/{name}"))
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None]))
    _prune(model)


def class_tokens(model: ModelProto, blocks: Sequence[str], name: str) -> str:
    """Append nodes that take token 0 of each (B, T, D) tensor in `blocks` and concatenate them; return the tensor."""
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(0, dtype=np.int64), f"{name}/index"))
    tokens = [f"{name}/{index}" for index in range(len(blocks))]
    for block, token in zip(blocks, tokens, strict=True):
        graph.node.append(helper.make_node("Gather", [block, f"{name}/index"], [token], name=token, axis=1))
    graph.node.append(helper.make_node("Concat", tokens, [f"{name}/all"], name=f"{name}/all", axis=1))
    return f"{name}/all"


def _prune(model: ModelProto) -> None:
    """Drop nodes and initializers from which no output can be reached."""
    graph = model.graph
    needed = {output.name for output in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):  # nodes are in topological order
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    given = {value.name for value in (*graph.input, *graph.initializer)}
    missing = needed - given - {name for node in kept for name in node.output} - {""}  # "": an input left out
    if missing:
        raise BackboneError(f"the graph does not make {', '.join(sorted(missing))}")
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(tensors)


def _users(model: ModelProto) -> dict[str, list[NodeProto]]:
    users: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def _array(tensor: onnx.TensorProto) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return numpy_helper.to_array(tensor).astype(np.float32)

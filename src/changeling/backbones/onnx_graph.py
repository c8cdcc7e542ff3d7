"""Changes to ONNX graphs: convert int8 weights to float, choose the outputs, take class tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from changeling.errors import BackboneError


def dequantise_weights(model: ModelProto) -> None:
    """Replace each dynamically quantised matrix product by a float one, in place.

    `DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul(scales)` becomes `MatMul` with the weights
    `(w - zero_point) * scale`. Activations are no longer rounded to eight bits; the weights keep the (small)
    rounding error of their int8 values.

    Raises:
        BackboneError: an integer matrix product has another form.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    consumers = _consumers(model)
    replacements: dict[str, NodeProto] = {}
    for product in [node for node in graph.node if node.op_type == "MatMulInteger"]:
        try:
            quantised, weight, _, zero_point = product.input
            (cast,) = consumers[product.output[0]]
            (rescale,) = consumers[cast.output[0]]
            scales = producers[next(name for name in rescale.input if name != cast.output[0])]
            scale = next(name for name in scales.input if name in constants)
            values = _to_float(constants[weight]) - _to_float(constants[zero_point])
            name = f"{weight}_folded"
            graph.initializer.append(numpy_helper.from_array(values * _to_float(constants[scale]), name))
            replacements[rescale.output[0]] = helper.make_node(
                "MatMul", [producers[quantised].input[0], name], [rescale.output[0]], name=product.name
            )
        except (KeyError, ValueError, StopIteration) as error:
            raise BackboneError(
                f"cannot convert {product.name} to float: it is not a dynamically quantised product ({error})"
            ) from None
    nodes = [replacements.get(node.output[0], node) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    _remove_unused(model)


def set_outputs(model: ModelProto, layers: Mapping[str, str]) -> None:
    """Make `layers` (name -> tensor, each (B, D)) the only outputs, and remove nodes that none of them needs."""
    graph = model.graph
    del graph.output[:]
    for name, tensor in layers.items():
        graph.node.append(helper.make_node("Identity", [tensor], [name], name=f"layer/{name}"))
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None]))
    _remove_unused(model)


def add_class_tokens(model: ModelProto, blocks: Sequence[str], name: str) -> str:
    """Append nodes that concatenate token 0 of each (B, T, D) tensor in `blocks`; return the name of the result."""
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(0, dtype=np.int64), f"{name}/index"))
    tokens = [f"{name}/{index}" for index in range(len(blocks))]
    for block, token in zip(blocks, tokens, strict=True):
        graph.node.append(helper.make_node("Gather", [block, f"{name}/index"], [token], name=token, axis=1))
    graph.node.append(helper.make_node("Concat", tokens, [f"{name}/all"], name=f"{name}/all", axis=1))
    return f"{name}/all"


def _remove_unused(model: ModelProto) -> None:
    """Remove nodes and initializers from which no output can be reached."""
    graph = model.graph
    needed = {output.name for output in graph.output}
    needed_nodes: list[NodeProto] = []
    for node in reversed(graph.node):  # nodes are in topological order
        if needed.intersection(node.output):
            needed_nodes.append(node)
            needed.update(node.input)
    available = {value.name for value in (*graph.input, *graph.initializer)}
    available |= {name for node in needed_nodes for name in node.output} | {""}  # "" is an omitted optional input
    if missing := needed - available:
        raise BackboneError(f"the graph does not compute {', '.join(sorted(missing))}")
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(needed_nodes))
    graph.initializer.extend(tensors)


def _consumers(model: ModelProto) -> dict[str, list[NodeProto]]:
    consumers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    return consumers


def _to_float(tensor: onnx.TensorProto) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return numpy_helper.to_array(tensor).astype(np.float32)

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from changeling.backbones import onnx_graph
from changeling.errors import BackboneError

DRAW = np.random.default_rng(0)
X: NDArray[np.float32] = DRAW.normal(size=(3, 5, 8)).astype(np.float32)
TENSORS: dict[str, NDArray[np.float32]] = {
    name: (DRAW.normal(size=shape) * spread).astype(np.float32)
    for name, shape, spread in (("first", (8, 6), np.arange(1, 7)), ("bias", (6,), 1), ("second", (6, 4), 2))
}


def small_model() -> ModelProto:
    """X (B, T, 8) -> first -> bias -> ReLU -> second -> y (B, T, 4), with an output from halfway too."""
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"], name="one"),
        helper.make_node("Add", ["a", "bias"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "second"], ["y"], name="two"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 5, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5, 4])],
        [numpy_helper.from_array(value, name) for name, value in TENSORS.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(model: ModelProto, x: NDArray[np.float32] = X) -> dict[str, NDArray[np.float32]]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": x}), strict=True))


def quantised(folder: Path, **options: Any) -> ModelProto:
    onnx.save(small_model(), folder / "float.onnx")
    quantize_dynamic(folder / "float.onnx", folder / "int8.onnx", **options)
    return onnx.load(folder / "int8.onnx")


def stored(model: ModelProto, weight: str) -> NDArray[np.float32]:
    """The weight that a quantised model stores, in float."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    levels, zero, scale = (
        tensors[f"{weight}_{what}"].astype(np.float32) for what in ("quantized", "zero_point", "scale")
    )
    return (levels - zero) * scale


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("weight_type", [QuantType.QInt8, QuantType.QUInt8])
def test_a_folded_graph_is_the_float_arithmetic_on_the_stored_weights(
    per_channel: bool, weight_type: QuantType, tmp_path: Path
) -> None:
    model = quantised(tmp_path, per_channel=per_channel, weight_type=weight_type)
    first, second = stored(model, "first"), stored(model, "second")
    assert 0 < np.abs(first - TENSORS["first"]).max() < 0.1  # int8 is near the weights, but not them
    expected = np.maximum(X @ first + TENSORS["bias"], 0) @ second
    assert np.abs(run(model)["y"] - expected).max() > 1e-3  # run as int8, the activations are rounded
    onnx_graph.dequantise_weights(model)
    np.testing.assert_allclose(run(model)["y"], expected, rtol=1e-5, atol=1e-5)
    assert not {"MatMulInteger", "ConvInteger"} & {node.op_type for node in model.graph.node}


def test_layers_of_a_folded_graph_need_no_integers(tmp_path: Path) -> None:
    model = quantised(tmp_path, per_channel=True)
    onnx_graph.dequantise_weights(model)
    onnx_graph.set_outputs(model, {"proj": "y"})
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Add", "Relu", "MatMul", "Identity"]
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT}


def test_a_float_graph_is_left_as_it_is() -> None:
    model = small_model()
    before = model.SerializeToString()
    onnx_graph.dequantise_weights(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("broken", ["no zero point", "used twice", "weights that are computed"])
def test_an_integer_product_of_another_form_is_refused(broken: str, tmp_path: Path) -> None:
    model = quantised(tmp_path, per_channel=True)
    product = next(node for node in model.graph.node if node.op_type == "MatMulInteger")
    if broken == "no zero point":
        del product.input[3]
    elif broken == "used twice":
        model.graph.node.append(helper.make_node("Identity", [product.output[0]], ["again"]))
    else:
        product.input[1] = "computed"
    with pytest.raises(BackboneError, match=r"cannot convert .* to float"):
        onnx_graph.dequantise_weights(model)


def test_set_layers_cuts_the_graph_and_drops_what_is_not_needed() -> None:
    model = small_model()
    onnx_graph.set_outputs(model, {"half": "c"})
    assert [output.name for output in model.graph.output] == ["half"]
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Add", "Relu", "Identity"]
    assert {tensor.name for tensor in model.graph.initializer} == {"first", "bias"}
    expected = np.maximum(X @ TENSORS["first"] + TENSORS["bias"], 0)
    flat = small_model()
    onnx_graph.set_outputs(flat, {"half": onnx_graph.add_class_tokens(flat, ["c"], "token")})
    np.testing.assert_allclose(run(flat)["half"], expected[:, 0], rtol=1e-5, atol=1e-6)


def test_class_tokens_are_the_first_of_each_block_in_order() -> None:
    model = small_model()
    onnx_graph.set_outputs(
        model,
        {
            "blocks": onnx_graph.add_class_tokens(model, ["c", "b", "y"], "tokens"),
            "y0": onnx_graph.add_class_tokens(model, ["y"], "last"),
        },
    )
    inner = X @ TENSORS["first"] + TENSORS["bias"]
    outer = np.maximum(inner, 0) @ TENSORS["second"]
    expected = np.concatenate([np.maximum(inner, 0)[:, 0], inner[:, 0], outer[:, 0]], axis=1)
    result = run(model)
    np.testing.assert_allclose(result["blocks"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result["y0"], outer[:, 0], rtol=1e-4, atol=1e-5)
    assert result["blocks"].shape == (3, 6 + 6 + 4)


def test_a_tensor_that_the_graph_does_not_make_is_refused() -> None:
    with pytest.raises(BackboneError, match="does not compute nothing"):
        onnx_graph.set_outputs(small_model(), {"proj": "y", "pre": "nothing"})

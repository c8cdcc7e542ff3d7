"""The ONNX graph against torch modules that are built here, on random weights of the real shapes."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from changeling.backbones.efficientnet import State, build_efficientnet_lite0, read_checkpoint
from changeling.errors import BackboneError

# kernel, stride, expansion, channels in, channels out, repeats: the table of the EfficientNet paper, ends not scaled
STAGES = [
    (3, 1, 1, 32, 16, 1),
    (3, 2, 6, 16, 24, 2),
    (5, 2, 6, 24, 40, 2),
    (3, 2, 6, 40, 80, 3),
    (5, 1, 6, 80, 112, 3),
    (5, 2, 6, 112, 192, 4),
    (3, 1, 6, 192, 320, 1),
]


def same_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """TensorFlow's padding: as many outputs as strides fit, the odd pixel below and to the right."""
    (kernel, _), (stride, _) = conv.kernel_size, conv.stride
    missing = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]]
    down, across = missing
    x = nn.functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
    return nn.functional.conv2d(x, conv.weight, None, conv.stride, 0, 1, conv.groups)


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    def __init__(self, kernel: int, stride: int, expansion: int, before: int, after: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv, self._bn0 = nn.Conv2d(before, wide, 1, bias=False), norm(wide)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = norm(wide)
        self._project_conv, self._bn2 = nn.Conv2d(wide, after, 1, bias=False), norm(after)
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = nn.functional.relu6(self._bn1(same_conv(self._depthwise_conv, y)))
        y = self._bn2(self._project_conv(y))
        assert isinstance(y, Tensor)
        return x + y if self.residual else y


class Lite0(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = nn.Conv2d(3, 32, 3, 2, bias=False), norm(32)
        self._blocks = nn.ModuleList(
            Block(kernel, stride if repeat == 0 else 1, expansion, before if repeat == 0 else after, after)
            for kernel, stride, expansion, before, after, repeats in STAGES
            for repeat in range(repeats)
        )
        self._conv_head, self._bn1 = nn.Conv2d(320, 1280, 1, bias=False), norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = nn.functional.relu6(self._bn0(same_conv(self._conv_stem, x)))
        for block in self._blocks:
            x = block(x)
        pre = nn.functional.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))
        return pre, self._fc(pre)


@pytest.fixture(scope="module")
def network() -> Lite0:
    torch.manual_seed(0)
    network = Lite0().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.1, 0.4)  # type: ignore[arg-type]
    return network


@pytest.fixture(scope="module")
def state(network: Lite0) -> State:
    return {name: tensor.float().numpy() for name, tensor in network.state_dict().items()}


def test_the_graph_gives_what_torch_gives(network: Lite0, state: State) -> None:
    model = build_efficientnet_lite0(state)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = [output.numpy() for output in network(x)]
    for name, wanted in zip(("pre", "logits"), expected, strict=True):
        (found,) = session.run([name], {"pixel_values": x.numpy()})
        assert found.shape == wanted.shape
        assert wanted.std() > 0.01
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * float(np.abs(wanted).max()))


def test_a_checkpoint_is_read_as_floats(network: Lite0, state: State, tmp_path: Path) -> None:
    torch.save(network.half().state_dict(), tmp_path / "x.pth")
    network.float()
    read = read_checkpoint(tmp_path / "x.pth")
    assert read.keys() == state.keys()
    assert {value.dtype for value in read.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(read["_fc.weight"], state["_fc.weight"], atol=1e-3)


class Harmful:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"x": Harmful(tmp_path / "mark")}, tmp_path / "x.pth")
    with pytest.raises(pickle.UnpicklingError):
        read_checkpoint(tmp_path / "x.pth")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("missing", ["_conv_stem.weight", "_blocks.7._bn1.running_var", "_fc.bias"])
def test_a_checkpoint_of_another_network_is_refused(state: State, missing: str) -> None:
    with pytest.raises(BackboneError, match=f"has no tensor {missing}"):
        build_efficientnet_lite0({name: value for name, value in state.items() if name != missing})

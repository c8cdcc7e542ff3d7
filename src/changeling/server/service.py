"""What the routes call: a detector, and everything that stands between it and untrusted requests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from changeling.detect.detector import Detector, Verdict
from changeling.detect.evidence.evidence import Evidence
from changeling.detect.explanation.contributions import BATCH_SIZE
from changeling.detect.explanation.explain import Explainer, Explanation
from changeling.detect.loading import LoadedImage
from changeling.detect.neighbours import load_neighbours
from changeling.errors import ImageError
from changeling.images.deliveries import DELIVERIES
from changeling.server.decoding import DecodedUpload, DecodingError, DecodingPool, DecodingTask
from changeling.server.errors import ServiceError, logger
from changeling.server.inference import InferenceThread, MakeThread, QueuedBackbone
from changeling.server.limits.admission import Admission, AdmittedWork
from changeling.server.limits.keys import KeyRing
from changeling.server.limits.uploads import Upload, UploadReader
from changeling.server.metrics import ServiceMetrics
from changeling.server.settings import ServerSettings

T = TypeVar("T")
_LOADED_AHEAD = 4  # images that wait for the model with their pixels
_LOADED_OF_A_REQUEST = 2  # one is decoded as another one is judged; the rest waits behind other requests


@dataclass(frozen=True, slots=True)
class DetectedUpload:
    """An upload with its verdict and evidence, or with the status and the error that it has instead."""

    upload: Upload
    status: str
    error: str | None = None
    verdict: Verdict | None = None
    evidence: tuple[Evidence, ...] = ()


class DetectionService:
    """A detector that answers many requests at a time."""

    def __init__(
        self,
        detector: Detector,
        settings: ServerSettings,
        folder: Path,
        make_thread: MakeThread = InferenceThread,
    ) -> None:
        """Start nothing yet. `folder` is that of the detector, for its card and its training images.

        Raises:
            ModelError: the detector's training images cannot be read.
        """
        self.detector = detector
        self.settings = settings
        self.metrics = ServiceMetrics()
        self.keys = KeyRing(settings.api_keys)
        self.uploads = UploadReader(settings)
        self.admission = Admission(settings.max_waiting_seconds, settings.max_waiting_pixels)
        self.is_ready = False
        self.failure: str | None = None  # why the service cannot start
        card = folder / "README.md"
        self.card = card.read_text(encoding="utf-8") if card.is_file() else None
        self._neighbours = load_neighbours(folder)
        self._pool = DecodingPool(settings.decoding_processes, settings.decoding_seconds, settings.decoding_memory)
        self._inference = make_thread(detector, self._measure)
        self._slots = asyncio.Semaphore(settings.decoding_processes + _LOADED_AHEAD)
        self._is_explaining = False
        self._warming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to warm up, after which the service is ready."""
        self._warming = asyncio.create_task(self._warm_up())

    async def stop(self) -> None:
        """End all threads and processes."""
        self.admission.close()
        if self._warming is not None:
            self._warming.cancel()
            with suppress(asyncio.CancelledError):
                await self._warming
        try:
            await asyncio.to_thread(self._inference.stop)
        finally:
            await asyncio.to_thread(self._pool.stop)

    def check_ready(self) -> None:
        """Raise ServiceError if the service takes no work now: 503 or 429."""
        self.check_running()
        self.admission.check_room()

    def check_running(self) -> None:
        """Raise ServiceError (503) if the service is starting or shutting down."""
        if not self.is_ready:
            message = "The service is starting; try again in 2 s."
            raise ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "starting", message, retry_after=2)
        self.admission.check_open()

    async def detect(self, uploads: list[Upload], *, stable: bool, evidence: bool) -> list[DetectedUpload]:
        """Return verdicts or errors in the order of the uploads. Raises ServiceError (429, 503)."""
        passes = 1 + len(DELIVERIES) if stable else 1
        own_slots = asyncio.Semaphore(_LOADED_OF_A_REQUEST)
        with self.admission.admit(passes * len(uploads)) as work:
            pixels = await self._admit_pixels(work, uploads)

            async def detect_upload(upload: Upload, own_pixels: int) -> DetectedUpload:
                try:
                    async with own_slots, self._slots:
                        decoded = await self._decode(upload, stable=stable, evidence=evidence)
                        work.pixels -= own_pixels
                        return await self._judge(decoded, upload)
                finally:
                    work.passes -= passes

            return await _run_all(map(detect_upload, uploads, pixels))

    async def explain(self, upload: Upload) -> Explanation | DetectedUpload:
        """Explain the score of an upload, or return it with its error. One explanation is made at a time.

        The model answers other requests between batches of the explanation, of which only one counts as waiting.

        Raises:
            ServiceError: the service is shutting down (503), or busy (429).
        """
        if self._is_explaining:
            message = "Another explanation is being made; try again in 10 s."
            raise ServiceError(HTTPStatus.TOO_MANY_REQUESTS, "busy", message, retry_after=10)
        with self.admission.admit(BATCH_SIZE) as work:
            self._is_explaining = True
            try:
                await self._admit_pixels(work, [upload])
                decoded = await self._decode(upload, stable=False, evidence=False)
                work.pixels = 0
                if isinstance(decoded, DetectedUpload):
                    return decoded
                return await self._explain(decoded.image, upload.name)
            finally:
                self._is_explaining = False

    async def _admit_pixels(self, work: AdmittedWork, uploads: list[Upload]) -> list[int]:
        """Return how many pixels each upload declares, and add them to the work. Raises ServiceError (429)."""
        pixels = await _run_all(map(self._count_pixels, uploads))
        self.admission.add_pixels(work, sum(pixels))
        return pixels

    async def _count_pixels(self, upload: Upload) -> int:
        """Return how many pixels an upload declares; 0 if its header cannot be read, and so it cannot be decoded."""
        try:
            return await self._pool.count_pixels(upload.file)
        except (ImageError, DecodingError):
            return 0

    async def _judge(self, decoded: DecodedUpload | DetectedUpload, upload: Upload) -> DetectedUpload:
        """Return the verdict on a decoded upload, or the upload with its error."""
        if isinstance(decoded, DetectedUpload):
            return decoded
        verdict = await self._inference.judge(decoded.image, upload.name)
        return DetectedUpload(upload, "ok", verdict=verdict, evidence=decoded.evidence)

    async def _decode(self, upload: Upload, *, stable: bool, evidence: bool) -> DecodedUpload | DetectedUpload:
        """Return a decoded upload, or the upload with its error."""
        preprocessing, trust_list = self.detector.backbone.preprocessing, self.settings.trust_list
        task = DecodingTask(upload.file, preprocessing, stable, evidence, trust_list)
        try:
            decoded = await self._pool.decode(task)
        except (ImageError, DecodingError) as error:
            self.metrics.images.labels(error.status).inc()
            return DetectedUpload(upload, error.status, str(error))
        self.metrics.images.labels("ok").inc()
        self.metrics.decoding_seconds.observe(decoded.seconds)
        return decoded

    async def _explain(self, image: LoadedImage, name: str) -> Explanation:
        """Explain in a thread of its own, which waits for the model; it ends before a cancellation does."""
        backbone = QueuedBackbone(self.detector.backbone, self._inference)
        explainer = Explainer(self.detector.trained, backbone, self._neighbours)
        size = image.width, image.height
        explaining = asyncio.create_task(asyncio.to_thread(explainer.explain_pixels, name, image.pixels[0], size))
        try:
            return await asyncio.shield(explaining)
        except asyncio.CancelledError:
            backbone.stop()
            await asyncio.wait({explaining})
            explaining.exception()  # that it was stopped, which no one waits for
            raise

    def _measure(self, seconds: float, passes: int) -> None:
        self.admission.measure(seconds, passes)
        self.metrics.pass_seconds.observe(seconds / passes)

    async def _warm_up(self) -> None:
        """Make the service ready, or set why it cannot be."""
        try:
            await self._pool.warm_up(self.detector.backbone.preprocessing)
            await self._inference.warm_up()
        except Exception as error:  # of any kind: no request has been read yet
            self.failure = str(error) or type(error).__name__
            logger.critical("the service cannot start: %s", self.failure)
        else:
            self.is_ready = True


async def _run_all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results in order. When one fails, the others are cancelled, and end before its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]

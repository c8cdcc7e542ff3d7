"""`http://...` and `https://...`: a service that scores image files, such as `changeling serve` (/v1/detect).

Each file is sent alone, as the field `images` of a multipart form. The answer is a JSON object with a `score` or a
`probability`, perhaps a `label`, or an `error`; or, as that of `changeling serve`, a list `results` with one such
object. Nothing else is contacted: redirects are errors. A service that is busy (429) is asked again after its
Retry-After. If the environment variable CHANGELING_API_KEY is set, it is sent as a bearer token.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from changeling.errors import DetectorError, one_line
from changeling.evaluation.base import DetectorSettings, EvaluatedImage, Score, ScoringDetector, hash_identity
from changeling.evaluation.detectors.answers import parse_answer

if TYPE_CHECKING:
    import httpx

_UNREADABLE = (415, 422)  # status codes of an image that the service cannot read
_BUSY = 429

_SHOWN = 160  # characters of an answer that an error shows


class HttpService:
    """A service that scores one image file for each request."""

    reads_files = True

    def __init__(self, url: str, timeout: float) -> None:
        self._url, self._timeout = url, timeout
        self.identity = hash_identity("http", url)

    def score(self, images: Sequence[EvaluatedImage]) -> list[Score]:
        """Return the score of each image. Raises DetectorError if the service fails, hangs or gives no score."""
        import httpx

        try:
            scores = asyncio.run(self._score_images(images))
        except (TimeoutError, httpx.TimeoutException):
            raise DetectorError(f"{self._url} gave no answer within the timeout of {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DetectorError(f"{self._url} cannot be reached: {one_line(error)}") from None
        if len(scores) > 1 and all(score.error for score in scores):
            raise DetectorError(f"{self._url} refused all of {len(scores)} images; the first: {scores[0].error}")
        return scores

    async def _score_images(self, images: Sequence[EvaluatedImage]) -> list[Score]:
        """Send the images one after the other. Raises TimeoutError if all together take too long."""
        import httpx

        key = os.environ.get("CHANGELING_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        deadline = asyncio.get_running_loop().time() + self._timeout
        async with (
            asyncio.timeout_at(deadline),
            httpx.AsyncClient(timeout=self._timeout, headers=headers, trust_env=False) as client,
        ):
            return [await self._score_image(client, image, deadline) for image in images]

    async def _score_image(self, client: httpx.AsyncClient, image: EvaluatedImage, deadline: float) -> Score:
        name = f"image{PurePath(image.file.path).suffix}"  # the file's own name may give its class away
        response = await self._post(client, name, image.file.data, deadline)
        if response.status_code in _UNREADABLE:
            return Score(None, error=f"{response.status_code}: {response.text[:_SHOWN]}")
        if response.status_code != 200:
            raise DetectorError(f"{self._url} answered {response.status_code}: {response.text[:_SHOWN]}")
        return parse_answer(self._parse_object(response), image.file.path)

    async def _post(self, client: httpx.AsyncClient, name: str, data: bytes, deadline: float) -> httpx.Response:
        """Send a file, again after a pause if the service is busy and the deadline leaves time for it."""
        while True:
            response = await client.post(self._url, files={"images": (name, data)})
            pause = read_pause(response)
            if response.status_code != _BUSY or asyncio.get_running_loop().time() + pause > deadline:
                return response
            await asyncio.sleep(pause)

    def _parse_object(self, response: httpx.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if isinstance(answer, dict) and isinstance(answer.get("results"), list) and len(answer["results"]) == 1:
            answer = answer["results"][0]
        if not isinstance(answer, dict):
            raise DetectorError(f"{self._url} answered {response.text[:_SHOWN]!r}, not a JSON object with a score")
        return answer


def load_http(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Return the service at http:ARGUMENT. Raises DetectorError if httpx is not installed."""
    return _load_service(f"http:{argument}", settings.timeout)


def load_https(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Return the service at https:ARGUMENT. Raises DetectorError if httpx is not installed."""
    return _load_service(f"https:{argument}", settings.timeout)


def _load_service(url: str, timeout: float) -> ScoringDetector:
    try:
        import httpx  # noqa: F401
    except ImportError:
        raise DetectorError(f"{url} needs httpx: pip install 'changeling[evaluate]'") from None
    return HttpService(url, timeout)


def read_pause(response: httpx.Response) -> float:
    """Return how many seconds a busy service asks to wait; one if it does not say so in seconds."""
    try:
        pause = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return 1.0
    return max(pause, 0.01) if math.isfinite(pause) else 1.0

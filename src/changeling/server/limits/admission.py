"""Admit requests as long as they need not wait too long, measured on this machine, and have not too many pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

from changeling.server.errors import ServiceError

_WEIGHT = 0.1  # of a new measurement in the moving average


@dataclass(eq=False, slots=True)
class AdmittedWork:
    """What was admitted for a request and is not done yet.

    Attributes:
        passes: through the backbone.
        pixels: that its pictures declare and that are not decoded yet.
    """

    passes: int
    pixels: int = 0


class Admission:
    """Counts the work that waits, and refuses more passes than the machine does in a given time, or too many pixels."""

    def __init__(self, max_seconds: float, max_pixels: int) -> None:
        """Admit work as long as the model needs at most `max_seconds` for it, and its pictures have `max_pixels`.

        A request that would be the only one is always admitted.
        """
        self._max_seconds = max_seconds
        self._max_pixels = max_pixels
        self._admitted: set[AdmittedWork] = set()
        self._is_closed = False
        self.seconds_per_pass = 0.0

    @property
    def waiting_seconds(self) -> float:
        """How long a new request would wait."""
        return self.waiting_passes * self.seconds_per_pass

    @property
    def waiting_passes(self) -> int:
        """How many passes are admitted and not done."""
        return sum(work.passes for work in self._admitted)

    @property
    def waiting_pixels(self) -> int:
        """How many pixels are admitted and not decoded."""
        return sum(work.pixels for work in self._admitted)

    def close(self) -> None:
        """Refuse all further work; what is admitted will be done."""
        self._is_closed = True

    def measure(self, seconds: float, passes: int) -> None:
        """Take the time of some passes into the moving average."""
        measured = seconds / passes
        weight = _WEIGHT if self.seconds_per_pass else 1.0
        self.seconds_per_pass += weight * (measured - self.seconds_per_pass)

    def check_open(self) -> None:
        """Raise ServiceError (503) if the service is shutting down."""
        if self._is_closed:
            message = "The service is shutting down; try again in 10 s."
            raise ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "shutting_down", message, retry_after=10)

    def check_room(self, passes: int = 1) -> None:
        """Raise ServiceError (429) if there is no room for so many passes."""
        excess = self.waiting_seconds + passes * self.seconds_per_pass - self._max_seconds
        if self._admitted and excess > 0:
            raise self._busy_error(min(excess, self.waiting_seconds))

    @contextmanager
    def admit(self, passes: int) -> Iterator[AdmittedWork]:
        """Admit passes, which count as waiting until they are taken off the work or the block ends.

        Raises:
            ServiceError: the service is shutting down (503), or there is no room (429).
        """
        self.check_open()
        self.check_room(passes)
        work = AdmittedWork(passes)
        self._admitted.add(work)
        try:
            yield work
        finally:
            self._admitted.discard(work)

    def add_pixels(self, work: AdmittedWork, pixels: int) -> None:
        """Count pixels of admitted work as waiting until they are taken off it.

        Raises:
            ServiceError: there is no room for them beside those of other requests (429).
        """
        others = self.waiting_pixels - work.pixels
        if others and others + work.pixels + pixels > self._max_pixels:
            raise self._busy_error(self.waiting_seconds)
        work.pixels += pixels

    def _busy_error(self, wait: float) -> ServiceError:
        seconds = max(round(wait + 0.5), 1)
        message = f"The service has as much work as it takes; try again in {seconds} s."
        return ServiceError(HTTPStatus.TOO_MANY_REQUESTS, "busy", message, retry_after=seconds)

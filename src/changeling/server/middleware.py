"""What surrounds every request: security headers, who may call, and metrics."""

from __future__ import annotations

import time
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from changeling.server.errors import ServiceError, make_error_response
from changeling.server.metrics import ServiceMetrics

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class SecurityHeaders:
    """Adds headers to all answers: browsers load and run nothing from elsewhere, and store no verdicts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class SameSite:
    """Refuses requests that pages of other sites make in a browser, and unknown names of this host.

    Without it, any page that somebody opens could send pictures to a service on the same machine.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: frozenset[str]) -> None:
        """Allow all hosts if `allowed_hosts` is empty."""
        self._app = app
        self._allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "http" and (error := self._find_error(Headers(scope=scope))):
            await make_error_response(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _find_error(self, headers: Headers) -> ServiceError | None:
        if self._allowed_hosts and _strip_port(headers.get("host", "")) not in self._allowed_hosts:
            message = "The service on this machine is called by another name; use 127.0.0.1 or localhost."
            return ServiceError(HTTPStatus.MISDIRECTED_REQUEST, "wrong_host", message)
        is_from_elsewhere = headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
        if is_from_elsewhere and headers.get("sec-fetch-mode") != "navigate":
            message = "Pages of other sites cannot use the service."
            return ServiceError(HTTPStatus.FORBIDDEN, "cross_site", message)
        return None


class RequestMetrics:
    """Counts requests, by known paths only."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.request_seconds.labels(path).observe(time.perf_counter() - started)


def _strip_port(host: str) -> str:
    """Return the host of a Host header, without its port: `[::1]:8000` -> `[::1]`."""
    name, separator, port = host.rpartition(":")
    return (name if separator and port.isdecimal() else host).lower()

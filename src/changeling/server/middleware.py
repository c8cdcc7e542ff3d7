"""What surrounds every request: security headers, who may call, unexpected errors, and metrics."""

from __future__ import annotations

import time
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from changeling.server.errors import ServiceError, logger, make_error_response
from changeling.server.metrics import ServiceMetrics

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
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
        if scope["type"] == "http" and (error := self._find_error(scope["method"], Headers(scope=scope))):
            await make_error_response(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _find_error(self, method: str, headers: Headers) -> ServiceError | None:
        if self._allowed_hosts and _strip_port(headers.get("host", "")) not in self._allowed_hosts:
            message = f"The service has another name; use one of {', '.join(sorted(self._allowed_hosts))}."
            return ServiceError(HTTPStatus.MISDIRECTED_REQUEST, "wrong_host", message)
        is_link = method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
        if _is_from_other_site(headers) and not is_link:
            message = "Pages of other sites cannot use the service."
            return ServiceError(HTTPStatus.FORBIDDEN, "cross_site", message)
        return None


class UnexpectedErrors:
    """Answers 500 for an unexpected error. Only its kind is logged, since its message may quote a file.

    A handler of the app would not do: the server logs what it handles, with its message.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            logger.error("unexpected %s", type(error).__name__)
            if not has_started:
                message = "The service made a mistake; please report it."
                answer = ServiceError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", message)
                await make_error_response(answer)(scope, receive, send)


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


def _is_from_other_site(headers: Headers) -> bool:
    """Whether a page of another site makes a request, as its browser says."""
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")  # browsers send no more than this to an address without TLS on another machine
    return origin is not None and origin.lower().partition("://")[2] != headers.get("host", "").lower()


def _strip_port(host: str) -> str:
    """Return the host of a Host header, without its port: `[::1]:8000` -> `[::1]`."""
    name, separator, port = host.rpartition(":")
    return (name if separator and port.isdecimal() else host).lower()

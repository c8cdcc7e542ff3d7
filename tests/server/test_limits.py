"""What a running service refuses, and how it says so."""

from __future__ import annotations

import asyncio
import queue
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from changeling.detect.detector import Verdict
from changeling.detect.loading import LoadedImage
from changeling.server import run
from changeling.server.limits.keys import add_key, read_keys
from changeling.server.limits.uploads import Upload
from changeling.server.service import DetectedUpload, DetectionService
from tests import hostile
from tests.helpers import SIDE
from tests.server.helpers import PATIENCE, QUICK, make_files, make_picture, run_service

Served = tuple[httpx.Client, DetectionService]
PART = b"--b\r\nContent-Disposition: form-data; %b\r\n\r\nx\r\n--b--\r\n"
STRICT = replace(
    QUICK,
    max_body_bytes=100_000,
    max_held_bytes=150_000,
    max_waiting_pixels=1_000_000,
    max_files=3,
    upload_seconds=60.0,
    decoding_seconds=20.0,
    decoding_memory=1 << 28,
    allowed_hosts=frozenset({"127.0.0.1"}),
)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with low limits."""
    with run_service(tmp_path_factory.mktemp("strict"), STRICT) as pair:
        yield pair


def check_error(answer: httpx.Response, status: int, code: str) -> str:
    """Check the shape of an error, and return its message."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"].endswith(".")
    return str(error["message"])


def test_too_many_bytes_are_413(strict: Served) -> None:
    client, service = strict
    check_error(client.post("/v1/detect", files=make_files(bytes(200_000))), 413, "too_large")
    assert service.uploads.held_bytes == 0


def test_too_many_bytes_without_a_length_are_413(strict: Served) -> None:
    client, _ = strict
    head = b'--b\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n\r\n'
    chunks = (head + b"x" * 30_000 if number == 0 else b"x" * 30_000 for number in range(9))
    answer = client.post("/v1/detect", content=chunks, headers={"Content-Type": "multipart/form-data; boundary=b"})
    check_error(answer, 413, "too_large")


def test_an_announced_body_that_is_too_long_is_413_before_it_is_sent(strict: Served) -> None:
    client, _ = strict
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
        connection.sendall(
            b"POST /v1/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_too_many_declared_pixels_are_413(strict: Served) -> None:
    client, _ = strict
    bomb = hostile.png(60_000, 60_000, 8, 2, bytes(1000))
    assert "million pixels" in check_error(client.post("/v1/detect", files=make_files(bomb)), 413, "oversized")


def test_a_picture_that_takes_more_memory_than_allowed_is_an_error(strict: Served) -> None:
    client, _ = strict
    picture = hostile.png(8_000, 8_000, 1, 0, (b"\0" + bytes(1_000)) * 8_000)
    answer = client.post("/v1/detect", files=make_files(picture, make_picture()))
    assert answer.status_code == 200
    first, second = answer.json()["results"]
    assert first["status"] in ("oversized", "crashed")
    assert second["status"] == "ok"


def test_a_slow_body_is_408(strict: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client, service = strict
    monkeypatch.setattr(service.uploads, "_settings", replace(STRICT, upload_seconds=0.2))
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
        connection.sendall(
            b"POST /v1/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 1000\r\n\r\n--b\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
    assert service.uploads.held_bytes == 0


def test_silent_connections_are_closed(strict: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = strict
    monkeypatch.setattr(run, "REQUEST_SECONDS", 0.1)
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
        connection.sendall(b"POST /v1/detect HTTP/1.1\r\nHost: 127.")
        assert connection.recv(1000) == b""


def test_connections_that_read_nothing_are_closed(strict: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = strict
    lost: queue.Queue[object] = queue.Queue()
    connection_lost = run.TimedProtocol.connection_lost

    def note_client(protocol: run.TimedProtocol, exc: Exception | None) -> None:
        lost.put(protocol.client)
        connection_lost(protocol, exc)

    monkeypatch.setattr(run.TimedProtocol, "connection_lost", note_client)
    monkeypatch.setattr(run, "REQUEST_SECONDS", 0.2)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((client.base_url.host, client.base_url.port or 0))
        connection.sendall(b"GET /static/style.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000)
        while lost.get(timeout=120) != connection.getsockname():
            pass


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("image/png", b"x", 415),
        ("multipart/form-data", b"x", 422),
        ("multipart/form-data; boundary=b", b"x", 422),
        ("multipart/form-data; boundary=b", b"", 422),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n", 422),
        ("multipart/form-data; boundary=b; charset=rot13", b"--b\r\n\r\nx\r\n--b--\r\n", 422),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\nx\r\n--b--',
            422,
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="other"; filename="x"\r\n\r\nx\r\n--b--\r\n',
            422,
        ),
    ],
)
def test_a_body_without_files_is_415_or_422(
    content_type: str, body: bytes, status: int, strict: Served, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = strict
    answer = client.post("/v1/detect", content=body, headers={"Content-Type": content_type})
    check_error(answer, status, "not_multipart" if status == 415 else "invalid_request")
    assert not [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore", "asyncio"))]


def test_too_many_files_are_422(strict: Served) -> None:
    client, _ = strict
    message = check_error(client.post("/v1/detect", files=make_files(*[b"x"] * 4)), 422, "invalid_request")
    assert "3" in message
    check_error(client.post("/v1/explain", files=make_files(b"x", b"y")), 422, "invalid_request")


def test_files_of_which_none_is_an_image_are_415_and_broken_ones_422(strict: Served) -> None:
    client, _ = strict
    check_error(client.post("/v1/detect", files=make_files(b"text", b"more text")), 415, "unsupported")
    check_error(client.post("/v1/detect", files=make_files(make_picture()[:900])), 422, "truncated")
    check_error(client.post("/v1/detect", files=make_files(b"")), 422, "empty")
    check_error(client.post("/v1/explain", files=make_files(b"text")), 415, "unsupported")


def test_wrong_settings_are_422(strict: Served) -> None:
    client, _ = strict
    answer = client.post("/v1/detect?stable=perhaps", files=make_files(make_picture()))
    assert "stable" in check_error(answer, 422, "invalid_request")


def test_names_are_base_names_as_they_were_sent(strict: Served) -> None:
    client, _ = strict
    names = ["a/b\\<script>.png", "\u202egnp.\u05d0", "x" * 300]
    answer = client.post("/v1/detect", files=[("images", (name, make_picture())) for name in names])
    assert [result["name"] for result in answer.json()["results"]] == ["<script>.png", "\u202egnp.\u05d0", "x" * 255]


def test_pages_of_other_sites_and_other_names_of_the_host_are_refused(strict: Served) -> None:
    client, _ = strict
    files = make_files(make_picture())
    for site in ("cross-site", "same-site"):
        check_error(client.post("/v1/detect", files=files, headers={"Sec-Fetch-Site": site}), 403, "cross_site")
    assert client.post("/v1/detect", files=files, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    check_error(client.get("/", headers={"Host": "evil.example:80"}), 421, "wrong_host")
    navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=navigation).status_code == 200
    check_error(client.post("/v1/detect", files=files, headers=navigation), 403, "cross_site")


def test_an_origin_tells_what_browsers_without_tls_do_not(strict: Served) -> None:
    client, _ = strict
    files = make_files(make_picture())
    address = str(client.base_url).rstrip("/")
    for origin in ("http://evil.example", address + "0", "null"):
        check_error(client.post("/v1/detect", files=files, headers={"Origin": origin}), 403, "cross_site")
    assert client.post("/v1/detect", files=files, headers={"Origin": address}).status_code == 200
    proxied = {"Origin": "https://detector.example", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/detect", files=files, headers=proxied).status_code == 200


def test_an_unexpected_error_is_500_and_its_message_is_not_logged(
    strict: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, service = strict

    def fail(*_: object) -> None:
        raise RuntimeError("what a file says")

    monkeypatch.setattr(service.metrics, "render", fail)
    answer = client.get("/metrics")
    monkeypatch.undo()
    check_error(answer, 500, "internal_error")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    logged = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore", "asyncio"))]
    assert [record.getMessage() for record in logged] == ["unexpected RuntimeError"]
    assert logged[0].exc_info is None
    assert 'changeling_requests_total{path="/metrics",status="500"}' in client.get("/metrics").text


def test_more_uploads_than_fit_into_memory_are_429(strict: Served) -> None:
    client, service = strict
    service.uploads.held_bytes += 100_000
    try:
        answer = client.post("/v1/detect", files=make_files(make_picture(), bytes(60_000)))
    finally:
        service.uploads.held_bytes -= 100_000
    check_error(answer, 429, "busy")
    assert int(answer.headers["Retry-After"]) >= 1


def test_more_work_than_may_wait_is_429(strict: Served) -> None:
    client, service = strict
    files = make_files(make_picture())
    with service.admission.admit(1000) as work:
        seconds, service.admission.seconds_per_pass = service.admission.seconds_per_pass, 1.0
        answer = client.post("/v1/detect", files=files)
        check_error(answer, 429, "busy")
        assert 960 <= int(answer.headers["Retry-After"]) <= 1000
        work.passes = 10
        assert client.post("/v1/detect", files=files).status_code == 200
    service.admission.seconds_per_pass = seconds


def test_more_pixels_than_may_wait_are_429(strict: Served) -> None:
    client, service = strict
    small, large = make_files(make_picture()), make_files(hostile.png(900, 900, 1, 0, (b"\0" + bytes(113)) * 900))
    with service.admission.admit(1) as work:
        service.admission.add_pixels(work, 500_000)
        for path in ("/v1/detect", "/v1/explain"):
            answer = client.post(path, files=large)
            check_error(answer, 429, "busy")
            assert int(answer.headers["Retry-After"]) >= 1
        assert client.post("/v1/detect", files=small).status_code == 200
        work.pixels = 0
        assert client.post("/v1/detect", files=large).status_code == 200
    assert service.admission.waiting_pixels == 0


def test_pixels_wait_until_they_are_decoded(strict: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client, service = strict
    waiting: list[int] = []

    async def judge(image: LoadedImage, name: str) -> Verdict:
        waiting.append(service.admission.waiting_pixels)
        return service.detector.judge(image, name)

    monkeypatch.setattr(service._inference, "judge", judge)
    assert client.post("/v1/detect", files=make_files(*[make_picture()] * 3)).status_code == 200
    assert max(waiting) < 3 * SIDE**2
    assert waiting[-1] == 0
    assert service.admission.waiting_pixels == 0


def test_other_pictures_of_a_request_that_fails_count_until_they_end(
    strict: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, service = strict
    waiting: list[int] = []

    async def decode(upload: Upload, **_: bool) -> DetectedUpload:
        if upload.name == "1.png":
            raise RuntimeError
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            waiting.append(service.admission.waiting_passes)
        return DetectedUpload(upload, "ok")

    monkeypatch.setattr(service, "_decode", decode)
    check_error(client.post("/v1/detect", files=make_files(make_picture(), make_picture())), 500, "internal_error")
    assert waiting == [1]
    assert service.admission.waiting_passes == 0


def test_a_worker_that_dies_is_replaced(strict: Served) -> None:
    client, service = strict
    for process in list(service._pool._pool._pool_manager.worker_manager.workers.values()):
        process.kill()
        process.join()
    for _ in range(3):
        assert client.post("/v1/detect", files=make_files(make_picture())).status_code == 200


def test_a_service_that_shuts_down_takes_no_work(tmp_path: Path) -> None:
    with run_service(tmp_path) as (client, service):
        service.admission.close()
        answer = client.post("/v1/detect", files=make_files(make_picture()))
        check_error(answer, 503, "shutting_down")
        assert "Retry-After" in answer.headers
        check_error(client.get("/readyz"), 503, "shutting_down")
        assert client.get("/healthz").status_code == 200


def test_a_key_is_required_and_has_a_rate(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "desk", 2)
    settings = replace(QUICK, api_keys=read_keys(tmp_path / "keys"))
    with run_service(tmp_path, settings) as (client, _):
        files = make_files(make_picture())
        answer = client.post("/v1/detect", files=files)
        check_error(answer, 401, "no_key")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        check_error(client.get("/v1/models", headers={"Authorization": "Bearer chg_wrong"}), 401, "no_key")
        check_error(client.get("/metrics"), 401, "no_key")
        statuses = [
            client.post("/v1/detect", files=files, headers={"Authorization": f"Bearer {key}"}).status_code
            for _ in range(3)
        ]
        assert statuses == [200, 200, 429]
        assert client.get("/").status_code == 200

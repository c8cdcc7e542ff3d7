"""A Hugging Face Hub of our own: as much of its interface as downloads need, over a folder of repositories."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub.constants
import huggingface_hub.hf_api
import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEWEST = COMMIT
GATED = "gated"  # an owner


class Hub(BaseHTTPRequestHandler):
    """Answers for repositories `owner/name`, whose files are those of the folder `name` below `root`."""

    root: Path
    fetched: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._tell(*parts[2:4], *(parts[4:6] or ("revision", "main")))
        elif len(parts) > 4 and parts[2] == "resolve":
            self._send(self.root / parts[1] / "/".join(parts[4:]), parts[0], NEWEST if parts[3] == "main" else parts[3])
        else:
            self._answer(404)

    def _tell(self, owner: str, name: str, what: str, revision: str) -> None:
        folder = self.root / name
        if not folder.is_dir():
            return self._answer(404, error="RepoNotFound")
        if revision not in ("main", COMMIT, NEWEST):
            return self._answer(404, error="RevisionNotFound")
        commit = NEWEST if revision == "main" else revision
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        if what == "tree":
            sizes = {file: path.stat().st_size for file, path in files.items()}
            tree = [
                {"type": "file", "path": file, "size": size, "oid": _tag(files[file])} for file, size in sizes.items()
            ]
            return self._answer(200, json.dumps(tree).encode())
        siblings = [{"rfilename": file} for file in files]
        answer = {
            "_id": "1",
            "id": f"{owner}/{name}",
            "modelId": f"{owner}/{name}",
            "sha": commit,
            "siblings": siblings,
        }
        return self._answer(200, json.dumps(answer | {"private": False, "tags": [], "downloads": 0}).encode())

    def _send(self, path: Path, owner: str, commit: str) -> None:
        if owner == GATED:
            return self._answer(403, error="GatedRepo")
        if not path.is_file():
            return self._answer(404, error="EntryNotFound")
        if self.command == "GET":
            self.fetched.append(path.relative_to(self.root).as_posix())
        return self._answer(200, path.read_bytes(), tag=_tag(path), commit=commit)

    def _answer(self, code: int, body: bytes = b"", error: str = "", tag: str = "", commit: str = COMMIT) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", commit)
        if error:
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", error)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _tag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()  # noqa: S324


@contextmanager
def serving(root: Path, cache: Path) -> Iterator[list[str]]:
    """Let huggingface_hub ask a Hub over `root` and keep what it fetches in `cache`; yields what was fetched."""
    fetched: list[str] = []
    handler = type("Handler", (Hub,), {"root": root, "fetched": fetched})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        patch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(huggingface_hub.hf_api.api, "endpoint", address)
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        yield fetched
    server.shutdown()
    server.server_close()

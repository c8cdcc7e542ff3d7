"""API keys: a file of their hashes, and how often each may be used."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from changeling.errors import ChangelingError
from changeling.files import atomic_write

_PREFIX = "chg_"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, of which only a hash is known.

    Attributes:
        name: of whom it was made for.
        sha256: of the key, as 64 hexadecimal digits. Keys are 32 random bytes, which cannot be found by trying.
        requests_per_minute: that it allows.
    """

    name: str
    sha256: str
    requests_per_minute: int


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a file of keys: one a line, name, hash and requests per minute. Raises ChangelingError."""
    keys = _parse_keys(_read_text(path), path)
    if not keys:
        raise ChangelingError(f"{path}: there is no key; make one with `changeling add-key`")
    return keys


def add_key(path: Path, name: str, requests_per_minute: int) -> str:
    """Add a new key to a file, which is made if it is missing, and return it. Raises ChangelingError."""
    text = _read_text(path) if path.exists() else ""
    if not name or len(name.split()) != 1 or name.startswith("#"):
        raise ChangelingError(f"{name!r} cannot be the name of a key: use one word")
    if any(key.name == name for key in _parse_keys(text, path)):
        raise ChangelingError(f"{path} has a key of the name {name}; delete its line first")
    key = _PREFIX + secrets.token_urlsafe(32)
    separator = "" if not text or text.endswith("\n") else "\n"
    try:
        with atomic_write(path) as temporary:
            temporary.touch(mode=0o600)
            line = f"{name} {_hash(key)} {requests_per_minute}\n"
            temporary.write_text(f"{text}{separator}{line}", encoding="utf-8")
    except OSError as error:
        raise ChangelingError(f"cannot write {path}: {error.strerror or error}") from None
    return key


class KeyRing:
    """Tells whether a key is known, and counts how often each is used."""

    def __init__(self, keys: Sequence[ApiKey], clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = tuple(keys)
        self._clock = clock
        self._used: dict[str, tuple[float, float]] = {}  # by name: requests left, and when that was

    def find(self, key: str) -> ApiKey | None:
        """Return the key with this text, in a time that does not depend on how much of it is right."""
        digest = _hash(key)
        found = [known for known in self._keys if hmac.compare_digest(known.sha256, digest)]
        return found[0] if found else None

    def take(self, key: ApiKey) -> float:
        """Count a request, and return 0; or return the seconds until the key allows another one."""
        now, rate = self._clock(), key.requests_per_minute / 60
        left, since = self._used.get(key.name, (float(key.requests_per_minute), now))
        left = min(left + (now - since) * rate, float(key.requests_per_minute))
        is_allowed = left >= 1
        self._used[key.name] = (left - is_allowed, now)
        return 0.0 if is_allowed else (1 - left) / rate


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ChangelingError(f"the file of keys {path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ChangelingError(f"{path} is not a file of keys: it is not text in UTF-8") from None


def _parse_keys(text: str, path: Path) -> tuple[ApiKey, ...]:
    return tuple(
        _parse_key(line, f"{path}:{number}")
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.startswith("#")
    )


def _parse_key(line: str, where: str) -> ApiKey:
    try:
        name, digest, rate = line.split()
        key = ApiKey(name, digest.lower(), int(rate))
        is_valid = len(bytes.fromhex(digest)) == hashlib.sha256().digest_size and key.requests_per_minute > 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ChangelingError(f"{where}: not a key: it takes a name, a SHA-256 and requests per minute")
    return key

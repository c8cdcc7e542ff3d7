"""The limits of the service."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from changeling.engine import count_decoding_threads
from changeling.server.limits.keys import ApiKey

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the service accepts, and how much of the machine it uses.

    Attributes:
        max_body_bytes: of a request; beyond it the answer is 413.
        max_files: in a request.
        max_held_bytes: of all uploads that are held in memory at a time; beyond it the answer is 429.
        upload_seconds: until the body of a request must have arrived; then the answer is 408.
        max_waiting_seconds: of work that may wait for the model; beyond it the answer is 429.
        max_waiting_pixels: of pictures that are admitted and not decoded yet; beyond it the answer is 429.
        decoding_processes: in which pictures are decoded.
        decoding_seconds: of processor time, after which a picture that is still being decoded is given up.
        decoding_memory: bytes that a decoding process may allocate.
        allowed_hosts: names by which the service may be called, without ports; empty allows all. A page of another
            site cannot then reach a service on this machine under a name of its own.
        api_keys: of which a request must present one; empty lets everybody in.
        trust_list: a PEM file of the certificates of trusted signers of content credentials.
    """

    max_body_bytes: int = 64 * MIB
    max_files: int = 64
    max_held_bytes: int = 512 * MIB
    upload_seconds: float = 60.0
    max_waiting_seconds: float = 30.0
    max_waiting_pixels: int = 1_000_000_000
    decoding_processes: int = field(default_factory=count_decoding_threads)
    decoding_seconds: float = 20.0
    decoding_memory: int = 1536 * MIB
    allowed_hosts: frozenset[str] = frozenset()
    api_keys: tuple[ApiKey, ...] = ()
    trust_list: Path | None = None

"""Join a Ray cluster, or start one on this machine."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from changeling.errors import DistributedError, one_line

LOCAL = "local"  # Ray's own address for a new Ray cluster on this machine, which ends with the process
_CONNECT_TIMEOUT = 10.0  # seconds


@contextmanager
def connect_to_ray(address: str) -> Iterator[Any]:
    """Join the Ray cluster at `address`, or start one on this machine for `LOCAL`; yield the module `ray`.

    A connection that exists already is used and stays open; a new one is closed at the end.

    Raises:
        DistributedError: Ray is not installed, there is no Ray cluster at `address`, or it fails.
    """
    if not importlib.util.find_spec("ray"):
        raise DistributedError("--ray needs Ray, which is not installed: pip install 'changeling[ray]'")
    if address != LOCAL:
        _check_port(address)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # before the import, which reads it
    import ray
    import ray.data

    is_new_connection = not ray.is_initialized()
    try:
        if is_new_connection:
            _connect(ray, address)
        for name in ("ray", "ray.data"):  # after the import and the connection, which both set the levels
            logging.getLogger(name).setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
    except ray.exceptions.RayError as error:
        raise DistributedError(f"the Ray cluster failed: {one_line(error)}; start again to continue") from None
    finally:
        if is_new_connection:
            ray.shutdown()


def _check_port(address: str) -> None:
    """Raise DistributedError if nothing listens at HOST:PORT; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT).close()
        except OSError as error:
            raise DistributedError(f"no Ray cluster at {address}: {error.strerror or error}") from None


def _connect(ray: Any, address: str) -> None:
    include_dashboard = False if address == LOCAL else None
    try:
        ray.init(address, include_dashboard=include_dashboard, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise DistributedError(f"no Ray cluster at {address}: {one_line(error)}") from None

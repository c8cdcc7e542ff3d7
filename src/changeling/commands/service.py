"""Commands of the service: serve, add-key."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from changeling.commands.shared import (
    FalsePositiveRateOption,
    ModelOption,
    RayOption,
    RuntimeOption,
    TrustListOption,
    print_note,
)
from changeling.detect.runtime_names import Runtime
from changeling.errors import ChangelingError

if TYPE_CHECKING:
    from changeling.detect.detector import Detector

_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "pebble", "prometheus_client")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


def serve(
    host: Annotated[str, typer.Option(help="Listen on this address; by default only this machine can connect.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Listen on this port; 0 takes a free one.")] = 8000,
    model: ModelOption = None,
    false_positive_rate: FalsePositiveRateOption = None,
    api_keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Require one of the keys in this file (see `add-key`).")
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            metavar="NAME",
            help="Answer only requests to this name or address; repeat it for more. Default: those of this machine if "
            "only it can connect, else all.",
        ),
    ] = None,
    max_megabytes: Annotated[int, typer.Option(min=1, max=256, help="Accept requests of up to so many MiB.")] = 64,
    trust_list: TrustListOption = None,
    ray: RayOption = "",
    runtime: RuntimeOption = Runtime.AUTO,
) -> None:
    """Serve the detector and its page over HTTP. Nothing that is sent is stored."""
    _check_packages()
    from changeling.detect.detector import Detector
    from changeling.detect.evidence.inspect import EvidenceReader
    from changeling.detect.model import BUNDLED
    from changeling.distributed.pipeline import Shared
    from changeling.progress import progress_bars
    from changeling.server.app import create_app
    from changeling.server.limits.keys import read_keys
    from changeling.server.ray_serve import run_on_ray, wait_for_signal
    from changeling.server.run import listen, make_server
    from changeling.server.settings import MIB, ServerSettings

    if ray and not port:
        raise ChangelingError("--port 0 cannot be used with --ray: name a port")
    EvidenceReader(trust_list)  # which raises an error if the list cannot be read
    is_local = host in _LOOPBACK | {"::1"}
    settings = ServerSettings(
        max_body_bytes=max_megabytes * MIB,
        allowed_hosts=(_LOOPBACK if is_local else frozenset()) | {name.lower() for name in allowed_hosts or ()},
        api_keys=read_keys(api_keys) if api_keys is not None else (),
        trust_list=trust_list,
    )
    if not is_local and not settings.api_keys:
        print_note(f"warning: anybody who can reach {host} can use this service; set --api-keys")
    with ExitStack() as stack:
        listening = None if ray else stack.enter_context(listen(host, port))  # before the model is loaded
        with progress_bars() as progress:
            detector = Detector.load(model, progress, false_positive_rate=false_positive_rate, runtime=runtime)
        if listening is None:
            stack.enter_context(run_on_ray(Shared.pack((detector, settings, model or BUNDLED)), ray, host, port))
            _print_address(detector, host, port)
            wait_for_signal()
        else:
            server = make_server(create_app(detector, settings, model or BUNDLED))
            _print_address(detector, host, listening.getsockname()[1])
            server.run([listening])


def add_key(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file of keys; it is made if it is missing.")],
    name: Annotated[str, typer.Argument(help="For whom the key is, in one word.")],
    rate: Annotated[int, typer.Option(min=1, help="Allow so many requests a minute.")] = 60,
) -> None:
    """Add an API key for `serve` to a file, and print the key, of which the file holds a hash only."""
    from changeling.server.limits.keys import add_key as add_to_file

    typer.echo(add_to_file(path, name, rate))


def _print_address(detector: Detector, host: str, port: int) -> None:
    address = f"[{host}]" if ":" in host else host
    print_note(f"{detector.model.name}: http://{address}:{port} (stop it with Ctrl-C)")


def _check_packages() -> None:
    """Raise ChangelingError if a package is missing that the service needs."""
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ChangelingError(f"serve needs {', '.join(missing)}: pip install 'changeling[serve]'")

"""The container, which is not built here: what the Dockerfile runs exists, and the service has few rights."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

import changeling
from changeling.cli import app
from tests.test_packaging import ROOT

Instruction = tuple[str, str]  # its name and its arguments


def parse_dockerfile() -> Iterator[Instruction]:
    """The instructions of the Dockerfile, without comments; continued lines are joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            name, _, arguments = line.partition(" ")
            yield name, arguments


INSTRUCTIONS = list(parse_dockerfile())
LAST_STAGE = INSTRUCTIONS[max(index for index, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM") :]


def find(name: str, instructions: list[Instruction] = INSTRUCTIONS) -> list[str]:
    return [arguments for found, arguments in instructions if found == name]


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    (service,) = compose["services"].values()
    assert isinstance(service, dict)
    return service


def test_hadolint_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("hadolint")), "--no-color", str(ROOT / "Dockerfile")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_base_images_have_an_exact_version() -> None:
    images = [arguments.split()[0] for arguments in find("FROM")]
    assert len(images) == 2
    for image in images:
        assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", image)
    assert len(set(images)) == 1  # so that the virtual environment of one stage runs in the other


def test_files_that_are_copied_exist_and_are_not_ignored() -> None:
    allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {name for arguments in find("COPY") if "--from" not in arguments for name in shlex.split(arguments)[:-1]}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert find("ADD") == []


def test_packages_come_from_the_lock_and_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (install,) = (command for command in find("RUN") if "pip install" in command)
    (extra,) = re.findall(r'"\.\[(\w+)\]"', install)
    assert extra in extras
    assert "--no-cache-dir" in install
    assert "--constraint requirements.lock" in install


def test_the_python_code_that_fetches_weights_names_what_exists() -> None:
    (code,) = (re.findall(r'python -c "(.+?)"', command)[0] for command in find("RUN") if "python -c" in command)
    assert code == "from changeling import Detector; Detector.load()"
    assert callable(changeling.Detector.load)


def test_the_command_is_in_exec_form_and_can_be_parsed() -> None:
    (entry_point,), (command,) = find("ENTRYPOINT"), find("CMD")
    assert json.loads(entry_point) == ["changeling"]
    name, *options = json.loads(command)
    serve = get_command(app).get_command(None, name)  # type: ignore[attr-defined]
    parsed = serve.make_context(name, options).params
    assert (parsed["host"], str(parsed["port"])) == ("0.0.0.0", find("EXPOSE")[0])  # noqa: S104


def test_the_composed_service_can_be_called_by_names_of_this_machine_only(service: dict[str, Any]) -> None:
    name, *options = service["command"]
    serve = get_command(app).get_command(None, name)  # type: ignore[attr-defined]
    parsed = serve.make_context(name, options).params
    assert (parsed["host"], str(parsed["port"])) == ("0.0.0.0", find("EXPOSE")[0])  # noqa: S104
    assert set(parsed["allowed_hosts"]) == {"127.0.0.1", "localhost"}


def test_the_service_does_not_run_as_root_and_stops_by_sigterm() -> None:
    assert find("USER", LAST_STAGE) == ["10001:10001"]  # numbers, so that Kubernetes can check them
    assert find("STOPSIGNAL", LAST_STAGE) == ["SIGTERM"]
    names = [name for name, _ in LAST_STAGE]
    assert "RUN" not in names[names.index("USER") :]
    assert not any(word in command for command in find("RUN") for word in ("sudo", "apt-get", "curl", "chmod 777"))


def test_the_health_check_asks_the_service_whether_it_is_ready(service: dict[str, Any]) -> None:
    (arguments,) = find("HEALTHCHECK")
    command = json.loads(arguments[arguments.index("CMD ") + 4 :])
    assert ["CMD", *command] == service["healthcheck"]["test"]
    (url,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", command[-1])
    assert url == (find("EXPOSE")[0], "/readyz")
    compile(command[-1], "health check", "exec")


def test_the_composed_service_can_write_nothing_and_has_limits(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == find("USER", LAST_STAGE)[0]
    assert {"mem_limit", "pids_limit", "stop_grace_period"} <= service.keys()
    assert service["image"] == f"changeling:{changeling.__version__}"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])

"""The source distribution and the wheel: they are built, complete, and work where nothing else of the project is."""

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import changeling

ROOT = Path(__file__).parents[1]
LARGE_FILES: set[str] = set()


def run(*command: str | Path, folder: Path) -> str:
    """Run a program outside the source tree and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def package_files(folder: Path) -> dict[str, bytes]:
    """Read every file of the package below `folder`, by its path there, without compiled code."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in (folder / "changeling").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def unpacked_sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source distribution and unpack it."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder, folder=ROOT)
    with tarfile.open(folder / f"changeling-{changeling.__version__}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / f"changeling-{changeling.__version__}"


@pytest.fixture(scope="module")
def wheel(unpacked_sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the source distribution, as pip does where it finds no wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, folder=unpacked_sdist)
    return folder / f"changeling-{changeling.__version__}-py3-none-any.whl"


@dataclass(frozen=True)
class Installation:
    """A virtual environment in which the wheel is installed, and an empty folder to work in."""

    scripts: Path
    folder: Path

    def run(self, program: str, *arguments: str) -> str:
        return run(self.scripts / program, *arguments, folder=self.folder)


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Install the wheel in an environment that sees the tested dependencies, but not the source tree."""
    environment = tmp_path_factory.mktemp("installed") / "environment"
    folder = environment.parent
    run(sys.executable, "-m", "venv", "--without-pip", environment, folder=folder)
    python = environment / "bin" / "python"
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, folder=folder)
    (site_packages,) = environment.glob("lib/python*/site-packages")
    # a .pth file adds this folder alone: the .pth file in it, by which the editable install is found, is not read
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return Installation(environment / "bin", folder)


def test_the_version_of_the_metadata_is_that_of_the_package() -> None:
    assert importlib.metadata.version("changeling") == changeling.__version__


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    source_files = package_files(ROOT / "src")
    assert {"changeling/py.typed", "changeling/data/generators.toml", "changeling/report/style.css"} <= set(
        source_files
    )
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("changeling/")]
        assert {name: archive.read(name) for name in names} == source_files


def test_the_installed_package_is_the_one_of_the_wheel(installation: Installation) -> None:
    script = "import sys, changeling, importlib.metadata as m; print(changeling.__file__, m.version('changeling'))"
    path, version = installation.run("python", "-c", script).split()
    assert Path(path).is_relative_to(installation.scripts.parent)
    assert version == changeling.__version__
    assert str(ROOT / "src") not in installation.run("python", "-c", "import sys; print(*sys.path)")


def test_the_installed_detector_loads(installation: Installation) -> None:
    script = "from changeling.detect.model import load_model; print(load_model().model.name)"
    assert installation.run("python", "-c", script) == "changeling-2\n"


def test_the_installed_program_prints_its_help(installation: Installation) -> None:
    assert "Usage: changeling detect" in installation.run("changeling", "detect", "--help")


def test_the_installed_program_runs_a_study_of_the_bundled_clusters(installation: Installation) -> None:
    assert installation.run("changeling", "--version") == f"changeling {changeling.__version__}\n"
    installation.run("changeling", "init", "study.toml")
    assert "disentangle" in installation.run("changeling", "study", "study.toml", "--dry-run")
    (installation.folder / "distances.toml").write_text('experiments = ["distances"]')
    assert "Table 1" in installation.run("changeling", "study", "distances.toml")
    page = (installation.folder / "study" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Table 1" in page
    assert "<style>" in page


def test_only_named_files_of_the_wheel_are_larger_than_5_mb(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        large = {info.filename for info in archive.infolist() if info.file_size > 5_000_000}
    assert large == LARGE_FILES

"""SIGTERM, as a scheduler sends it before it kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from changeling.clusters.manifest import Dataset
from tests.generate import builds


def test_sigterm_ends_in_one_line_and_a_state_that_resumes(parents: Dataset, models: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    table = f'[generators.tiny]\nmodel = "{models / "sd"}"\nsteps = 200\nsize = 64\n'
    study.write_text(f'dataset = "fakes"\n[build]\nparents = "{parents.path}"\n{table}')
    command = [sys.executable, "-m", "changeling", "build", str(study)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    record = tmp_path / "fakes" / "build" / "tiny" / "generator.json"
    deadline = time.monotonic() + 90
    while not record.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.splitlines()[-1] == "changeling: stopped"
    assert not (tmp_path / "fakes" / "images.parquet").exists()
    study.write_text(study.read_text().replace("steps = 200", "steps = 1"))
    record.unlink()  # of the 200 steps, of which nothing is done yet
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(Dataset(tmp_path / "fakes")) == 7 * (1 + builds.CAPTIONS)

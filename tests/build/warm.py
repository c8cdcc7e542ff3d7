"""Imported by the fork server alone: draws once, so that what libraries import late is there when processes fork."""

import tempfile
import threading
from pathlib import Path

import torch
from tqdm import tqdm

import changeling.features.extract
import changeling.report.exports
import changeling.report.page
import changeling.studies.runner
from changeling.generators.families import load_generator
from tests.build.builds import drawing
from tests.generators import tiny
from tests.generators.requests import make_child

IMPORTED = (
    changeling.studies.runner,
    changeling.features.extract,
    changeling.report.exports,
    changeling.report.page,
)
torch.set_num_threads(1)  # and no threads, which no fork would take along
tqdm.monitor_interval = 0
tqdm.set_lock(threading.RLock())  # its own is shared by all forks, and one that is killed would keep it
with tempfile.TemporaryDirectory() as folder:
    models = tiny.save_pipelines(Path(folder) / "models")
    load_generator(drawing("sd"), models).draw([make_child(0)], [0])

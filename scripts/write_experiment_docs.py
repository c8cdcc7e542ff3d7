"""Write docs/experiments.md from the table of experiments; a test compares the two.

python scripts/write_experiment_docs.py
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from changeling.experiments.base import Experiment
from changeling.experiments.registry import EXPERIMENTS

PATH = Path(__file__).parents[1] / "docs" / "experiments.md"
INTRODUCTION = """# Experiments

Written by `scripts/write_experiment_docs.py` from the modules in `src/changeling/experiments/`. A study file lists the
experiments to run in `experiments`, and has a table for the settings of each. [The guide](study.md) explains how to run
a study.
"""


def render_page() -> str:
    """Return the page: a section for each experiment."""
    return "\n".join([INTRODUCTION, *(render_section(experiment) for experiment in EXPERIMENTS.values())])


def render_section(experiment: Experiment[Any]) -> str:
    """Return the title of an experiment, the docstring of its module, and a table of its settings."""
    paper = f" ({experiment.paper} of the paper)" if experiment.paper else ""
    text = inspect.getdoc(inspect.getmodule(experiment.run)) or ""
    lines = [f"## {experiment.name}", "", f"**{experiment.title}**{paper}", "", text, ""]
    if experiment.settings.model_fields:
        lines += ["| setting | default | meaning |", "|---|---|---|"]
        for key, field in experiment.settings.model_fields.items():
            default = "" if field.default is None else f"`{json.dumps(field.default)}`"
            lines.append(f"| `{key}` | {default} | {field.description or ''} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PATH.write_text(render_page(), encoding="utf-8")

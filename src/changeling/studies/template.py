"""The study file that `changeling init` writes: every setting with its default and what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from string import Template

from pydantic.fields import FieldInfo

from changeling.experiments.registry import EXPERIMENTS

COMMENT_COLUMN = 24


def render_default_study() -> str:
    """Return the study file with all defaults; the tables of the experiments come from their settings classes."""
    template = Template(_read_template("default.toml"))
    tables = ["\n".join(_render_table(name)) for name in EXPERIMENTS if EXPERIMENTS[name].settings.model_fields]
    return template.substitute(experiments=json.dumps(list(EXPERIMENTS))) + "".join(f"\n{table}\n" for table in tables)


def render_paper_study() -> str:
    """Return the study file with the paper's settings."""
    return _read_template("paper.toml")


def _read_template(name: str) -> str:
    return files("changeling").joinpath("data", "studies", name).read_text("utf-8")


def _render_table(name: str) -> Iterator[str]:
    """Yield the lines of an experiment's table: a header, then a line for each setting."""
    experiment = EXPERIMENTS[name]
    yield _add_comment(f"[{name}]", f"{experiment.paper}: {experiment.title}" if experiment.paper else experiment.title)
    for key, field in experiment.settings.model_fields.items():
        yield _add_comment(_render_setting(key, field), field.description or "")


def _render_setting(key: str, field: FieldInfo) -> str:
    """Return `key = default`, or for a setting without a default value its first example, commented out."""
    if field.default is None:
        return f"# {key} = {json.dumps((field.examples or [''])[0])}"
    return f"{key} = {json.dumps(field.default)}"  # a JSON scalar is also TOML


def _add_comment(line: str, comment: str) -> str:
    return f"{line.ljust(COMMENT_COLUMN)} # {comment}" if comment else line

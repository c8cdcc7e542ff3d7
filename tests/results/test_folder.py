"""A folder of results is loaded in the order of a report."""

import json
from pathlib import Path

import pytest

from changeling.errors import ReportError
from changeling.results.folder import load_results
from tests.results.test_result import result

PAPER = {  # as the experiments name them
    "probe": "Table 2",
    "zebra": "",
    "gallery": "Figures 1, 3, 4 and 5",
    "distances": "Table 1",
    "embedding": "Figures 6 and 7",
    "clusters": "",
    "disentangle": "Table 4",
    "retrieval": "Table 3",
}


def test_results_are_sorted_by_the_papers_tables_then_its_figures_then_others(tmp_path: Path) -> None:
    for name, paper in PAPER.items():
        result().model_copy(update={"experiment": name, "paper": paper}).save(tmp_path / "results")
    (tmp_path / "results" / "notes.txt").touch()
    assert load_results(tmp_path) == load_results(tmp_path / "results")
    names = [result.experiment for result in load_results(tmp_path / "results")]
    assert names == ["distances", "probe", "retrieval", "disentangle", "embedding", "gallery", "clusters", "zebra"]


def test_a_result_of_an_older_version_is_loaded(tmp_path: Path) -> None:
    old = json.loads(result().save(tmp_path).read_text())
    for key in ("plots", "maps"):
        del old[key]
    for row in old["tables"][0]["rows"]:
        for cell in row["cells"].values():
            del cell["paper"]
    (tmp_path / "e.json").write_text(json.dumps(old))
    assert load_results(tmp_path) == [result()]


def test_a_folder_without_results_names_the_command_that_writes_them(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no results here; run `changeling study` first"):
        load_results(tmp_path / "nowhere")
    (tmp_path / "study.toml").write_text("")
    with pytest.raises(ReportError, match=r"study\.toml is a file; name the folder"):
        load_results(tmp_path / "study.toml")


def test_a_file_that_is_not_a_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "probe.json").write_text("{}")
    with pytest.raises(ReportError, match=r"probe\.json: not a Result"):
        load_results(tmp_path)

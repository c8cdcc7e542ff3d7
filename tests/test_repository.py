"""The files for GitHub: workflows, forms and the citation file are valid, and what they name exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import changeling
from tests.test_packaging import ROOT

SCHEMAS = {
    "vendor.github-workflows": ".github/workflows/*.yml",
    "vendor.dependabot": ".github/dependabot.yml",
    "vendor.github-issue-forms": ".github/ISSUE_TEMPLATE/[!c]*.yml",
    "vendor.github-issue-config": ".github/ISSUE_TEMPLATE/config.yml",
    "vendor.citation-file-format": "CITATION.cff",
    "vendor.compose-spec": "compose.yaml",
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_have_their_schema(schema: str) -> None:
    files = sorted(map(str, ROOT.glob(SCHEMAS[schema])))
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_workflows_and_hooks_use_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    files = [*ROOT.glob(".github/workflows/*.yml"), ROOT / ".pre-commit-config.yaml"]
    used = {
        name
        for file in files
        for names in re.findall(r": make ([\w -]+)$", file.read_text(), re.M)
        for name in names.split()
    }
    assert {"test", "demo", "dist", "lint"} <= used <= targets


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"])
def test_links_between_files_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", (ROOT / name).read_text())
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_actions_get_no_more_rights_than_they_need() -> None:
    for path in ROOT.glob(".github/workflows/*.yml"):
        text = path.read_text()
        assert "permissions:\n  contents: read\n" in text
        assert "write" not in text.replace("id-token: write # trusted publishing", "")


def test_the_changelog_has_the_version() -> None:
    assert re.search(
        rf"^## (Unreleased|{re.escape(changeling.__version__)})", Path(ROOT / "CHANGELOG.md").read_text(), re.M
    )

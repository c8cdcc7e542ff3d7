"""Hooks of MkDocs: pages of the site from files outside docs/, and the reference of the Python API.

`mkdocs.yml` names this file. Links that lead out of docs/ work on GitHub as they are; here they lead to the pages that
the same files have on the site.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import changeling

ROOT = Path(__file__).parents[1]
PAGES = {  # of the site, from files outside docs/
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "model-card.md": "src/changeling/data/changeling-2/README.md",
}
REFERENCE_MARKER = "<!-- reference -->"  # on the page of the Python API, where GitHub shows nothing
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that come from files outside docs/."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point links at pages of the site, and write the reference of the Python API."""
    uri = page.file.src_uri
    source = PAGES.get(uri, f"docs/{uri}")
    text = LINK.sub(lambda match: f"]({resolve_link(match[1], source, uri)}{match[2] or ''})", markdown)
    return text.replace(REFERENCE_MARKER, render_reference())


def resolve_link(target: str, source: str, uri: str) -> str:
    """Return a link in the file `source` of the repository as a link on the page `uri` of the site."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    pages = {file: page for page, file in PAGES.items()} | {"README.md": "index.md"}
    page = pages.get(path, path.removeprefix("docs/"))
    return posixpath.relpath(page, posixpath.dirname(uri) or os.curdir)


def render_reference() -> str:
    """Return blocks of mkdocstrings for all public names, in the order of the alphabet."""
    names = [name for name in changeling.__all__ if name != "__version__"]
    return "## Reference\n\n" + "\n".join(f"::: changeling.{name}\n" for name in names)

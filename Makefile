# make demo: a core install in .venv, and what changeling does, on real pictures.
# make test: everything in .venv-test: lint, types, tests. make test TESTS=tests/stats runs some tests only.
# make coverage: the tests with line coverage, which take half as long again.
# make docs: the site of docs/ in site/, without a network.
# make dist sbom: the files of a release, and the list of the packages that it was tested with.
PYTHON ?= python3
PIP = -m pip install --quiet --disable-pip-version-check --constraint requirements.lock
TESTS ?= tests
PYTEST = OMP_NUM_THREADS=1 .venv-test/bin/python -m pytest --numprocesses auto

demo: .venv/installed
	.venv/bin/changeling demo

test: .venv-test/installed system lint types
	$(PYTEST) $(TESTS)

coverage: .venv-test/installed
	$(PYTEST) --cov $(TESTS)

lint: .venv-test/installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/lint-imports
	.venv-test/bin/codespell

types: .venv-test/installed
	.venv-test/bin/mypy

docs: .venv-test/installed
	.venv-test/bin/mkdocs build

dist: .venv-test/installed-release
	rm -rf dist
	.venv-test/bin/python -m build --outdir dist .
	.venv-test/bin/twine check --strict dist/*

sbom: .venv-test/installed-release
	.venv-test/bin/cyclonedx-py environment --output-file sbom.json .venv-test

.venv/installed: pyproject.toml requirements.lock src/changeling/__init__.py
	@echo "Installing into .venv, which takes a few minutes"
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) --editable .
	touch $@

.venv-test/installed: pyproject.toml requirements.lock src/changeling/__init__.py
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python $(PIP) --editable '.[all,dev]'
	touch $@

.venv-test/installed-release: .venv-test/installed
	.venv-test/bin/python $(PIP) --editable '.[release]'
	touch $@

# The report is looked at in Chromium, and its tables are set by LaTeX. Where they cannot be installed, pytest says
# which tests it leaves out. Chromium without windows is enough, and twice as fast.
INSTALL = apt-get install -qq -y --no-install-recommends
system:
	@command -v chromium-headless-shell >/dev/null && command -v pdflatex >/dev/null || { \
	  command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	  $(INSTALL) texlive-latex-base texlive-latex-recommended >/dev/null && \
	  { $(INSTALL) chromium-headless-shell >/dev/null 2>&1 || $(INSTALL) chromium >/dev/null; }; } \
	  || echo "chromium-headless-shell or pdflatex is missing and cannot be installed here: without Chromium or LaTeX" \
	    "the tests that need them are left out"

clean:
	rm -rf .venv .venv-test changeling-demo site dist sbom.json .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

.PHONY: demo test coverage lint types docs dist sbom system clean

# make demo: a core install in .venv, and what changeling does, on real pictures.
# make test: everything in .venv-test: lint, types, floors, tests.
# make coverage: the tests again with line coverage, which takes half as long again.
PYTHON ?= python3
PIP = -m pip install --quiet --disable-pip-version-check --constraint requirements.lock

demo: .venv/installed
	.venv/bin/changeling demo

test: .venv-test/installed system
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy
	.venv-test/bin/lint-imports
	OMP_NUM_THREADS=1 .venv-test/bin/python -m pytest --numprocesses auto

coverage: .venv-test/installed
	OMP_NUM_THREADS=1 .venv-test/bin/python -m pytest --cov --numprocesses auto

.venv/installed: pyproject.toml requirements.lock src/changeling/__init__.py
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) --editable .
	touch $@

.venv-test/installed: pyproject.toml requirements.lock src/changeling/__init__.py
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python $(PIP) --editable '.[all,dev]'
	touch $@

# The report is looked at in Chromium, and its tables are set by LaTeX. Where they cannot be installed, pytest says
# which tests it leaves out.
system:
	@command -v chromium >/dev/null && command -v pdflatex >/dev/null || { \
	  command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y \
	  --no-install-recommends chromium texlive-latex-base texlive-latex-recommended >/dev/null; } \
	  || echo "chromium or pdflatex is missing and cannot be installed here: the tests that need them are left out"

clean:
	rm -rf .venv .venv-test changeling-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

.PHONY: demo test coverage system clean

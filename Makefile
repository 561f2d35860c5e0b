# The front door. Every target makes .venv by itself, from requirements files with hashes; nothing else is needed but
# Python 3.11 or newer, make and a package index.
#
#   make demo     a simulated org and the exporter that polls it; EXPORTER_PORT=… and ARGS="--queues 200" are honoured
#   make run      the exporter, with the settings of the environment and .env; ARGS=check tries them
#   make test     the tests, in two processes; ARGS="tests/test_cli.py -k signal" runs some of them, in one
#   make check    format, lint, types, tests
#   make image-check  builds the image and looks at it while it runs (needs podman, buildah, runc, mmdebstrap)
#   make bench    the benchmarks
#   make pictures the pictures of the docs, from the demo (needs chromium)
#   make lock     new requirements files after a change of pyproject.toml (needs uv)
#   make clean    remove what these targets made

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Most of the suite's time is waiting, which two processes do at once on any machine. More would make it shorter, and what
# it says of times less certain.
WORKERS ?= $(if $(ARGS),0,2)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes
EXPORT := uv export --quiet --format requirements-txt --no-emit-project

.PHONY: demo run test lint check image-check bench pictures lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/.runtime
	@$(BIN)/python -m exporter demo $(ARGS)

run: $(VENV)/.runtime
	@$(BIN)/python -m exporter $(or $(ARGS),run)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test

image-check: $(VENV)/.dev
	IMAGE_CHECK=yes $(BIN)/python -m pytest -q tests/end_to_end/test_image.py $(ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(ARGS)

pictures: $(VENV)/.dev
	$(BIN)/python -m tests.end_to_end.pictures docs/images

# The project itself is not installed: it runs from this folder. Byte code is left to the first import.
$(VENV)/.runtime: requirements.txt $(VENV)/.made
	@echo "Installing what the exporter needs into $(VENV)"
	@$(PIP) --no-compile -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.made
	@echo "Installing what the tests need into $(VENV)"
	@$(PIP) -r requirements-dev.txt
	@touch $(VENV)/.runtime $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is not Python 3.11 or newer; name one that is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

lock:
	uv lock --upgrade
	$(EXPORT) --no-dev --output-file requirements.txt
	$(EXPORT) --all-groups --output-file requirements-dev.txt
	$(EXPORT) --only-group build --output-file requirements-build.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis genesys_cloud_exporter.egg-info
	find exporter tests -name __pycache__ -type d -prune -exec rm -rf {} +

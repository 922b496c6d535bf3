# Two things to type: `make demo` and `make test`. Everything else is a script that runs without make, too.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ENV := $(VENV)/.installed

.PHONY: demo test check bench soak clean

$(ENV): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(ENV)

demo: $(ENV)
	$(BIN)/auditbox demo $(if $(SERVE),--serve)

test: $(ENV)
	$(BIN)/python -m pytest -n auto

check: $(ENV)
	PATH="$(abspath $(BIN)):$$PATH" scripts/check

bench: $(ENV)
	$(BIN)/python -m benchmarks

soak: $(ENV)
	PATH="$(abspath $(BIN)):$$PATH" scripts/soak

clean:
	rm -rf $(VENV) build dist

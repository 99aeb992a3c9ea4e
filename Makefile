# The two commands: `make report` runs the whole thesis, `make test` checks the project. Both may be interrupted and
# called again: they go on where they stopped. `make` alone lists everything.

VENV := .venv
PY := $(VENV)/bin/python

# Options of `make report`, for example: make report PROFILE=smoke SEEDS=0,1 SET="finetune.steps=100 evaluate.bootstrap=50"
PROFILE ?= quick
DATA ?=
ENGINE ?=
SEEDS ?=
RUN ?=
SET ?=
PYTHON ?=

OPTIONS = --profile "$(PROFILE)" \
	$(if $(DATA),--data "$(DATA)") \
	$(if $(ENGINE),--engine "$(ENGINE)") \
	$(if $(SEEDS),--seeds "$(SEEDS)") \
	$(if $(RUN),--run "$(RUN)") \
	$(foreach pair,$(SET),--set "$(pair)")

# Notebooks under test: the committed ones, with their profile turned to smoke.
COPIES := .nbval

# The book has an environment of its own: it reads what is committed and runs nothing of the package.
SITE := .venv-site

.DELETE_ON_ERROR:
.PHONY: help setup report test test-fast lint figures studies verdicts weights colab-test site check-site pdf lessons clean

help:
	@echo "make report    the whole thesis on generated images; results in runs/quick/index.html"
	@echo "               PROFILE=smoke|quick|colab|thesis|FILE.yaml  DATA=folder in COCO layout  ENGINE=torchvision|detectron2"
	@echo "               SEEDS=0,1,2  RUN=name of the run  SET=\"finetune.steps=100 evaluate.bootstrap=50\""
	@echo "make test      unit tests, a smoke run of every notebook, and the notebooks' checked outputs"
	@echo "make test-fast the unit tests that take no training, in less than two minutes"
	@echo "make setup     only create .venv and install (PYTHON=python3.12 chooses the interpreter of a new one)"
	@echo "make lint      ruff over code and notebooks, pyright over package and benchmarks"
	@echo "make figures   bring what runs/quick shows to figures/, README.md, docs/ and notebooks/"
	@echo "make studies   again with one setting changed: hidden layer and start of BYOL, frozen batch norm, detectron2"
	@echo "make verdicts  every committed number of results/ again, from detections, draws and curves; nothing is trained"
	@echo "make weights   train the released backbones again by their recipes, hours, and compare"
	@echo "make colab-test  every notebook alone, as on Colab, at smoke scale (BASE=folder of a Python 3.12 to copy)"
	@echo "make site      the book as web pages, from the committed outputs: build/site/index.html"
	@echo "make check-site links, alt texts, widths, contrast and formulas of these pages, in a Chromium or Chrome"
	@echo "make pdf       the book as one file: build/book.pdf"
	@echo "make lessons   slides of the notebooks, and notebooks without solutions: build/lessons"
	@echo "make clean     remove .venv and caches; runs/ is kept"

setup: STEP = [1/1]
setup: $(VENV)/.installed
	@echo "Ready: $$($(PY) --version) in $(VENV)"

report: STEP = [1/2]
report: $(VENV)/.installed
	@echo "[2/2] Running the report with profile $(PROFILE)"
	@$(PY) -m byol_helpers report $(OPTIONS)

test: export TQDM_DISABLE = 1
test: export OMP_NUM_THREADS = 1
test: STEP = [1/3]
test: $(VENV)/.installed-dev
	@echo "[2/3] Unit tests, and every stage and notebook at smoke scale, on all cores"
	@$(PY) -m pytest -n auto --dist loadfile
	@echo "[3/3] Checked outputs of the committed notebooks, at smoke scale"
	@$(PY) -m tests.helpers.notebook_copies --profile smoke --out $(COPIES)
	@$(PY) -m pytest -n auto --dist loadfile --nbval-lax --nbval-current-env $(COPIES)/*.ipynb

test-fast: export TQDM_DISABLE = 1
test-fast: export OMP_NUM_THREADS = 1
test-fast: STEP = [1/2]
test-fast: $(VENV)/.installed-dev
	@echo "[2/2] Unit tests that take no training"
	@$(PY) -m pytest -n auto --dist loadfile -m "not slow and not detectron2"

lint: STEP = [1/2]
lint: $(VENV)/.installed-dev
	@echo "[2/2] Linting code and notebooks, checking types"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m pyright

figures: STEP = [1/2]
figures: $(VENV)/.installed
	@echo "[2/2] Bringing figures, tables and outputs of runs/quick to figures/, README.md, docs/ and notebooks/"
	@$(PY) -m byol_helpers publish --run runs/quick

studies: STEP = [1/2]
studies: $(VENV)/.installed
	@echo "[2/2] Training again with one setting changed: pretraining, norm policy, engine"
	@$(PY) -m byol_helpers study pretraining $(OPTIONS) --out notebooks/03-pretraining.csv
	@$(PY) -m byol_helpers study norm-policy $(OPTIONS) --out notebooks/05-norm-policy.csv
	@if $(PY) -c "import detectron2" 2>/dev/null; \
	then $(PY) -m byol_helpers study engines $(OPTIONS) --out notebooks/05-engines.csv; \
	else echo "study engines: left out, detectron2 is not installed (see docs/engines.md)"; fi

verdicts: STEP = [1/2]
verdicts: $(VENV)/.installed
	@echo "[2/2] Computing every committed number of results/ again"
	@$(PY) -m byol_helpers verdicts

weights: STEP = [1/2]
weights: $(VENV)/.installed
	@echo "[2/2] Training the released backbones again in runs/weights, and comparing"
	@$(PY) -m byol_helpers weights --again

colab-test: STEP = [1/2]
colab-test: $(VENV)/.installed-dev
	@echo "[2/2] Running every notebook as Colab would, in build/colab"
	@$(PY) -m tests.helpers.colab $(if $(BASE),--base "$(BASE)")

lessons: STEP = [1/2]
lessons: $(VENV)/.installed
	@echo "[2/2] Making slides and student notebooks in build/lessons"
	@$(PY) -m byol_helpers lessons --out build/lessons

site: $(SITE)/.installed
	@$(SITE)/bin/python -m docs.book site

check-site: site
	@$(SITE)/bin/python -m docs.book check

pdf: $(SITE)/.installed
	@$(SITE)/bin/python -m docs.book pdf

$(SITE)/.installed: docs/requirements.txt
	@echo "Installing what the book is made with into $(SITE), about 700 MB"
	@$(or $(PYTHON),python3) -m venv $(SITE)
	@$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	@touch $@

clean:
	@echo "Removing $(VENV), $(SITE), $(COPIES) and caches. Results in runs/ are kept; delete that folder yourself if you mean it."
	@rm -rf $(VENV) $(SITE) $(COPIES) build dist .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -not -path './runs/*' -prune -exec rm -rf {} +

# Commas would part the arguments of a call.
comma := ,

# The stamps are written last, so an interrupted installation is taken up again. pip writes RECORD last: a package
# without one was cut off half-way, is forgotten here, and so installed again.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(call install,.[video$(comma)notebooks])
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	@$(call install,.[dev])
	@touch $(VENV)/.installed $@

# A command named python3.12 may exist and not run (pyenv's shims), so each candidate is asked for its version. An
# interpreter given as PYTHON is the only candidate: it is used, or refused.
WHOLE = import sys, importlib.metadata as m; \
	sys.exit(sys.prefix == sys.base_prefix or not m.distribution("pip").read_text("RECORD"))
define install
	echo "$(STEP) Installing into $(VENV): PyTorch and its libraries, several gigabytes the first time"; \
	if ! $(PY) -c '$(WHOLE)' >/dev/null 2>&1; then \
		found=; \
		for candidate in $(or $(PYTHON),python3.12 python3.11 python3 python); do \
			if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
				found=$$candidate; break; \
			fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "No usable Python >= 3.11 (with the venv module) among: $(or $(PYTHON),python3.12 python3.11 python3 python)." \
			     "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
			exit 2; \
		fi; \
		echo "      environment from $$found"; \
		"$$found" -m venv --clear $(VENV) || exit 2; \
	fi; \
	for half in $(VENV)/lib/python*/site-packages/*.dist-info; do \
		[ -f "$$half/RECORD" ] || rm -rf "$$half"; \
	done; \
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e "$(1)"
endef

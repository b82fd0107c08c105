# `make` alone lists the targets. Everything runs in .venv, which the first target that needs it installs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The main job; another one: make train ENV=InvertedPendulum-v5 STEPS=5000 SEED=1
ENV ?= HalfCheetah-v5
ALGORITHM ?= mage-even
SIZE ?= laptop
STEPS ?= 5000
SEED ?= 0

# What a shell may have set for another Python must not reach this one.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONOPTIMIZE PYTHONWARNINGS PYTHONSAFEPATH PYTHONHASHSEED PYTHONPLATLIBDIR
unexport PYTEST_ADDOPTS PYTEST_PLUGINS PYTEST_DISABLE_PLUGIN_AUTOLOAD
unexport PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV

.PHONY: torture planted help install lint train test test-export test-notebooks test-slow test-browser trace trace-check docs docs-serve book slides handout test-handout test-student results results-paper sb3 bench clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

# The programs in .venv name the folder in which it was made, so a folder that was renamed needs a new one.
MOVED = $(shell was=$$(sed -n 's|^command = .* -m venv [^/]*/|/|p' $(VENV)/pyvenv.cfg 2>/dev/null); test -z "$$was" || test "$$was" -ef $(VENV) || echo "$$was")
ifneq ($(MOVED),)
ifeq ($(filter help clean,$(or $(MAKECMDGOALS),help)),)
$(error This folder was moved or renamed since its .venv was made, in $(MOVED), and the programs in there name the old place. Remove it, and the next make makes a new one: rm -r $(VENV))
endif
endif

install: $(VENV)/.installed ## install the development environment in .venv (the others do it when needed)

# The stamp is newer than everything that decides what is installed, so a second run installs nothing.
$(VENV)/.installed: setup.py settings.ini constraints.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "mage_edu needs Python 3.11 or newer, and there is no $(PYTHON) here. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mage_edu needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
	  echo "$(PYTHON) cannot make a virtual environment. On Debian or Ubuntu, as root: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $@

train: install ## train mage-even on HalfCheetah-v5; prints where the curve and the video are
	$(BIN)/mage-edu train --env $(ENV) --algorithm $(ALGORITHM) --size $(SIZE) --steps $(STEPS) --seed $(SEED) --video

# One thread each: the workers share the cores, and a sum split over threads can differ in its last bits.
test test-notebooks test-slow test-handout test-student test-browser torture planted: export OMP_NUM_THREADS = 1

test: lint ## check everything: the library equals the notebooks, the code is clean, the notebooks run, the tests pass
	$(BIN)/python tests/check_export.py
	$(BIN)/python tests/run_notebooks.py
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

lint: install ## ruff over notebooks, library, tests and docs, the form of the programs, the types of the course's modules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-export: install ## check only that the library equals the notebooks
	$(BIN)/python tests/check_export.py

test-notebooks: install ## check only that the notebooks run from top to bottom
	$(BIN)/python tests/run_notebooks.py

test-slow: install ## run the tests that `make test` leaves out because they are slow
	$(BIN)/python -m pytest -m slow

test-browser: install ## open the site and JupyterLab in Debian's Chromium: pages, search, accessibility, explorers, lesson 01
	$(BIN)/python -m pytest -m browser

# Each line can be run alone. It has not been run in one go: the seconds on its page add up to what it takes. It writes results/torture and docs/pages/torture.md.
TORTURE = $(BIN)/python tests/torture
torture: install ## power loss, errors of the disk, second faults, resumes everywhere, damaged files, programs of calls, hostile worlds
	$(TORTURE)/power.py --record
	$(TORTURE)/power.py --env InvertedPendulum-v5 --sample 800 --record
	$(TORTURE)/errors.py --record
	$(TORTURE)/errors.py --env InvertedPendulum-v5 --sample 500 --record
	$(TORTURE)/compound.py --record
	$(TORTURE)/compound.py --errors --sample 3000 --record
	$(TORTURE)/compound.py --env InvertedPendulum-v5 --sample 300 --record
	$(TORTURE)/everywhere.py --record
	$(TORTURE)/fuzz.py --record
	$(TORTURE)/programs.py --record
	$(TORTURE)/hostile.py --record
	$(TORTURE)/planted.py --record
	$(TORTURE)/covered.py --record
	$(TORTURE)/record.py

planted: install ## plant realistic bugs in copies of the library, and name the test that catches each
	$(TORTURE)/planted.py --record

trace: install ## digest what every algorithm learns in 50 updates: runs/trace.csv
	$(BIN)/python tests/trace.py --out runs/trace.csv

trace-check: install ## compare the trace with the one of a revision, made anew here: make trace-check REV=main
	@test -n "$(REV)" || { echo "Name a revision to compare with: make trace-check REV=main" >&2; exit 2; }
	$(BIN)/python tests/trace.py --out runs/trace.csv --revision $(REV)

docs: install ## build the site from the stored notebooks and the docstrings, in _docs/html
	$(BIN)/python docs/build.py _docs

book: install ## the lessons as one EPUB, in _book
	$(BIN)/python docs/book.py _book

slides: install ## slides for each session of docs/pages/teaching.md, made from the lessons, in _slides
	$(BIN)/python docs/slides.py _slides

handout: install ## write the student's notebooks without solutions, the instructor's copy and a zip, in _handout
	$(BIN)/python docs/handout.py _handout

test-handout: install ## solve the handout of every lesson, and grade it
	$(BIN)/python -m pytest tests/test_exercises.py -m "slow or not slow"

test-student: install ## run the student's lessons with the wheel in a fresh environment, without the repository, and grade one with otter-grader
	$(BIN)/python tests/student.py --otter

docs-serve: docs ## build the site and serve it at http://127.0.0.1:8000, where its robots move
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _docs/html 8000

# The default beside others, on the page of results; some four to six hours on two cores. Finished runs are skipped when it is called again.
RESULTS_SWEEP = $(BIN)/mage-edu sweep --size laptop --workers 2
TEN = --seeds 0 1 2 3 4 5 6 7 8 9
BY_DEFAULT = $(RESULTS_SWEEP) $(TEN) --overrides updates_per_step=8,train_max_steps=100
results: install ## measure the default and its relatives again
	$(BY_DEFAULT) --envs HalfCheetah-v5 --algorithms mage-even mage-half td3 --steps 10000 --out runs/short-10000
	$(BY_DEFAULT) --envs HalfCheetah-v5 --algorithms dyna-half mage --steps 5000 --out runs/short
	$(RESULTS_SWEEP) $(TEN) --overrides updates_per_step=8,train_max_steps=0 --envs InvertedPendulum-v5 --algorithms mage-even mage-half --steps 5000 --out runs/short-pole
	$(BIN)/mage-edu plot runs/short-10000/HalfCheetah-v5/mage-even-*/seed-* runs/short-10000/HalfCheetah-v5/td3-*/seed-* --out results/mixture/curves.png
	cp runs/short-10000/sweep.csv results/mixture/short_episodes_10000.csv
	{ cat runs/short/sweep.csv; awk -F, '$$2 ~ /^(mage-half|td3)$$/ && $$6 <= 5000' runs/short-10000/sweep.csv; } > results/mixture/short_episodes.csv  # their first half
	{ cat runs/short-pole/sweep.csv; grep 'train_max_steps=100' results/mixture/invertedpendulum.csv; } > runs/short-pole/both.csv  # rows that need an earlier revision
	mv runs/short-pole/both.csv results/mixture/invertedpendulum.csv

# The paper's methods, with the settings that `laptop` had when these tables were made; some three and a half hours. Their labels leave those settings out.
FIVE = --seeds 0 1 2 3 4
THEN = updates_per_step=4,train_max_steps=0
results-paper: install ## measure the learning curves of mage, dyna-td3 and td3 in results/ again
	$(RESULTS_SWEEP) $(FIVE) --envs HalfCheetah-v5 --algorithms mage dyna-td3 td3 --overrides $(THEN) --steps 10000 --out runs/halfcheetah
	$(RESULTS_SWEEP) $(FIVE) --envs HalfCheetah-v5 --algorithms mage --overrides $(THEN),imagined_noise=0.0 --steps 10000 --out runs/halfcheetah
	$(RESULTS_SWEEP) $(FIVE) --envs InvertedPendulum-v5 --algorithms mage dyna-td3 td3 --overrides $(THEN) --steps 5000 --out runs/invertedpendulum
	$(RESULTS_SWEEP) $(FIVE) --envs InvertedPendulum-v5 --algorithms mage dyna-td3 --overrides $(THEN),imagined_noise=0.0 --steps 5000 --out runs/invertedpendulum
	for task in HalfCheetah-v5 InvertedPendulum-v5; do \
	  folder=$$(echo $${task%-v5} | tr A-Z a-z); mkdir -p results/$$folder; \
	  sed 's/"$(THEN)"/default/; s/"$(THEN),\([^"]*\)"/\1/' runs/$$folder/sweep.csv > results/$$folder/sweep.csv; \
	  cp runs/$$folder/$$task.png results/$$folder/curves.png; done

# What the check on ourselves shows; a run that is in runs/sb3 is not made again.
sb3: install ## train our td3 beside Stable-Baselines3's TD3 again: results/sb3/returns.csv
	$(BIN)/python benchmarks/sb3.py --out runs/sb3 --table results/sb3/returns.csv

# What the notebook nbs/appendix/why_fast shows; half an hour or more on two idle cores, and nothing else should run meanwhile.
bench: install ## measure how long updates take, beside the plain version, the machine's limit and Stable-Baselines3: results/speed
	mkdir -p results/speed
	$(BIN)/mage-edu bench --threads 2 --compile --precisions float32 bf16 --repeats 7 --out results/speed/bench.json
	$(BIN)/mage-edu bench --algorithm mage-even --sizes laptop tiny --threads 1 --compile --precisions float32 bf16 --repeats 7 --out results/speed/bench_default.json
	for part in profile products library graphs compiling members buffer memory peers; do \
	  $(BIN)/python benchmarks/speed.py $$part --out results/speed/$$part.csv || exit 1; done
	$(BIN)/python benchmarks/speed.py first --out results/speed/first_minute.csv
	$(BIN)/python benchmarks/threads.py --repeats 1 --out results/speed/threads.csv

clean: ## delete what building and testing leave behind; runs/ and .venv/ stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache _docs _handout _book _slides jupyter_execute
	find mage_edu nbs tests -depth \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +

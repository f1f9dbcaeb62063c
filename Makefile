# Needs Python >= 3.11, git and make. Everything it installs lies in .cache/ and .venv/ of this folder.

PYTHON ?= python3
BOOTSTRAP := .cache/bootstrap
VENV := .venv
UV := $(BOOTSTRAP)/bin/uv
BIN := $(VENV)/bin
CRD := crds/speechtrain.dev_speechtrainingjobs.yaml
POLICY := crds/speechtrain.dev_admission.yaml
RUNTIMES := crds/speechtrain.dev_runtimes.yaml
CHART := charts/speechtrain
# Of the base image; pip reads the mirror that was set for it.
IMAGE_PYTHON ?= 3.11
# Processes that share the tests; rooms that share a cluster stay whole (tests/conftest.py).
WORKERS ?= 3  # one more than the cores of a small machine: what runs on the test bed's node mostly waits
DOWNLOAD = $(BOOTSTRAP)/bin/python -m pip download --quiet --require-hashes --only-binary :all: \
	--python-version $(IMAGE_PYTHON) --dest wheels
INSTALL := $(UV) pip install --python $(BIN)/python

# uv reads its own variables only; a mirror that was set for pip serves it as well.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
export UV_PYTHON_DOWNLOADS := never
# A container may set it for the sake of its layers; here every process would compile anew what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install quickstart test check docs crd dashboards wheels trainer-wheels \
	accept-engine accept-health accept-images accept-mutants accept-replay accept-report \
	accept-vits accept-codec accept-codec-kills accept-codec-speed \
	accept-cloning accept-cloning-speed \
	accept-local accept-cluster accept-operator accept-scale accept-soak accept-queues accept-trainers accept-goodput \
	verdicts gpu-check gpu-carry release lock clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.run ## Install speechtrain and what it runs on into .venv

quickstart: $(VENV)/.run ## Train a small voice on this machine, and compare it with trivial baselines
	$(BIN)/speechtrain data synthesize --language te --sentences 144 --out out/quickstart/data
	$(BIN)/speechtrain run examples/quickstart.yaml

accept-vits: $(VENV)/.run ## Train to the published figures, several seeds: about fifteen minutes
	$(BIN)/python benchmarks/accept_vits.py

accept-codec: $(VENV)/.dev ## Train the codec on four languages beside trivial answers and rivals: some twenty minutes
	$(BIN)/python benchmarks/accept_codec.py
	$(BIN)/python docs/generate.py

accept-codec-kills: $(VENV)/.dev ## Kill a codec's training at twenty random moments; the weights must be the same: ten minutes
	$(BIN)/python benchmarks/codec_kills.py
	$(BIN)/python docs/generate.py

accept-codec-speed: $(VENV)/.dev ## Take the codec's training step beside that of descript-audio-codec, in turns: minutes
	$(BIN)/python benchmarks/accept_codec_speed.py
	$(BIN)/python docs/generate.py

accept-cloning: $(VENV)/.dev ## Train a codec, encode, and clone voices with both backbones beside trivial answers: some hundred minutes
	$(BIN)/python benchmarks/accept_cloning.py
	$(BIN)/python docs/generate.py

accept-cloning-speed: $(VENV)/.dev ## Take voice cloning's training step beside a plain loop over the stock models, in turns: minutes
	$(BIN)/python benchmarks/accept_cloning_speed.py
	$(BIN)/python docs/generate.py

accept-health: $(VENV)/.dev ## Judge more than a thousand curves drawn afresh: misses, false alarms, delay, cost
	$(BIN)/python benchmarks/accept_health.py
	$(BIN)/python docs/generate.py

accept-replay: $(VENV)/.dev ## Judge real public runs, and time replay beside an earlier build: some two minutes
	$(BIN)/python benchmarks/accept_replay.py

accept-report: $(VENV)/.dev ## Make the page of a run of 100,000 steps: time, memory, size, and what keeping its numbers costs
	$(BIN)/python benchmarks/accept_report.py

accept-trainers: $(VENV)/.dev ## Install and run real trainers of others, sound and with a planted NaN: some twenty minutes
	$(BIN)/python benchmarks/accept_trainers.py
	$(BIN)/python docs/generate.py

accept-local: $(VENV)/.run ## Measure what watching costs and how soon faults are named: about five minutes
	$(BIN)/python benchmarks/accept_local.py

accept-engine: $(VENV)/.dev ## Profile what the engine costs beside the recipe, and the same of an earlier build: some minutes
	$(BIN)/python benchmarks/accept_engine.py

gpu-check: $(VENV)/.dev ## Train the real presets on this machine's GPU for a hundred steps each: under eight minutes
	$(BIN)/python benchmarks/gpu_check.py

gpu-carry: $(VENV)/.dev ## Put what a machine with torch and without a network needs for gpu-check into out/gpu
	sh benchmarks/gpu_carry.sh $(BIN)/python $(BOOTSTRAP)/bin/python out/gpu

docs: $(VENV)/.dev ## Build the pages of docs/ as a site in out/site; a broken link or a page without a place fails
	$(BIN)/mkdocs build --strict

test: check ## Run every check and every test: what CI runs
	$(BIN)/pytest -n $(WORKERS) --no-loadscope-reorder

check: $(VENV)/.dev ## Format, lint, types, import contracts and generated files, without the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/speechtrain crd --check
	$(BIN)/python charts/monitoring.py --check

crd: $(VENV)/.run ## Generate CRDs and admission policies from the models, and the chart's copies of them
	$(BIN)/speechtrain crd > $(CRD).new
	$(BIN)/speechtrain crd --runtimes > $(RUNTIMES).new
	$(BIN)/speechtrain crd --policy > $(POLICY).new
	mv $(CRD).new $(CRD)
	mv $(RUNTIMES).new $(RUNTIMES)
	mv $(POLICY).new $(POLICY)
	cp $(CRD) $(RUNTIMES) $(POLICY) $(CHART)/files/

dashboards: $(VENV)/.run ## Generate the chart's dashboards and alert rules from the metric catalogue
	$(BIN)/python charts/monitoring.py

verdicts: $(VENV)/.dev ## Write down anew what the rules say of every drawn run, and show what has changed
	PYTHONPATH=tests/zoo $(BIN)/python tests/zoo/verdicts.py

wheels: $(UV) ## Download what the operator's image installs into wheels/
	$(DOWNLOAD) -r locks/bootstrap.txt
	$(DOWNLOAD) -r locks/operator.txt

trainer-wheels: wheels ## Download what the trainer's image installs as well: torch, gigabytes
	$(DOWNLOAD) -r locks/trainer.txt

accept-cluster: $(VENV)/.dev ## Measure on a real node how soon a fault is told and a gang is back; needs root
	$(BIN)/python benchmarks/accept_cluster.py

accept-operator: $(VENV)/.dev ## Load the operator, crash it after every write, fail its every request: some 20 minutes
	$(BIN)/python benchmarks/accept_operator.py
	$(BIN)/python docs/generate.py

# JOBS=100: fewer than its thousand, each of ten pods.
accept-scale: $(VENV)/.dev ## Keep a thousand jobs with ten thousand pods, restart the operator, then every gang: some thirty minutes
	$(BIN)/python benchmarks/accept_scale.py $(if $(JOBS),--jobs $(JOBS))
	$(BIN)/python docs/generate.py

# JOBS=40 MINUTES=5: fewer at once, and shorter.
accept-soak: $(VENV)/.dev ## Let two hundred jobs at once meet their fates for twenty minutes; nothing may grow or be left
	$(BIN)/python benchmarks/accept_soak.py $(if $(JOBS),--jobs $(JOBS)) $(if $(MINUTES),--minutes $(MINUTES))
	$(BIN)/python docs/generate.py

accept-queues: $(VENV)/.dev ## Run twenty jobs before the real controller of Kueue, built at the first call; needs root
	$(BIN)/python benchmarks/accept_queues.py
	$(BIN)/python docs/generate.py

accept-goodput: $(VENV)/.dev ## Simulate weeks of jobs at published failure rates on the operator's own core: some minutes
	$(BIN)/python benchmarks/simulate_goodput.py
	$(BIN)/python docs/generate.py

accept-mutants: $(VENV)/.dev ## Put small faults into rules and policies, and count those that their tests find
	$(BIN)/python benchmarks/accept_mutants.py
	$(BIN)/python docs/generate.py

accept-images: $(VENV)/.dev ## Build both images whole, with torch, on this machine
	$(BIN)/python tests/cluster/product

# IMAGES="operator trainer": archives of the images too, which needs root and, for the trainer, gigabytes.
release: check ## Make and try what a version is, in dist/: wheel, chart, CRDs, bills of materials, notes
	$(BIN)/python .ci/release.py --uv $(UV) $(if $(IMAGES),--images $(IMAGES))

include tests/cluster/cluster.mk

lock: $(UV) ## Resolve the dependencies anew and pin them with hashes in locks/
	sh locks/lock.sh $(UV)

clean: ## Remove what these targets made: environments, caches, builds
	rm -rf .cache .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(UV): locks/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(BOOTSTRAP) || { \
	  echo "$(PYTHON) has no working venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BOOTSTRAP)/bin/python -m pip install --quiet --require-hashes -r locks/bootstrap.txt
	@touch $@

$(BIN)/python: | $(UV)
	$(UV) venv --quiet --clear --python $(BOOTSTRAP)/bin/python $(VENV)

# The project itself is installed editable, so only a change of the metadata or of a lock runs these again.
$(VENV)/.run: pyproject.toml locks/operator.txt locks/trainer.txt locks/cli.txt $(UV) | $(BIN)/python
	$(INSTALL) --require-hashes -r locks/operator.txt -r locks/trainer.txt -r locks/cli.txt
	$(INSTALL) --quiet --no-deps --build-constraints locks/bootstrap.txt --editable .
	@touch $@

# Compiled whole, as pip does in our images: pods of the test bed import from here, and may not write.
$(VENV)/.dev: locks/dev.txt $(VENV)/.run
	$(INSTALL) --require-hashes -r locks/dev.txt
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib
	@touch $@

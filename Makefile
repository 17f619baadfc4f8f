# Everything runs in .venv, which every target sets up where it is missing or out of date.

PYTHON ?= python3
EPISODES ?= 5
TASK ?= two_room
DURATION ?= 1800
MESSAGES ?= 100000

# A ROS installation or another environment that the shell has sourced must not leak in; the guard
# variable is inherited from a parent that runs on ROS wheels and would keep ours from starting.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH PYTHONPATH PYTHONHOME \
  CMAKE_PREFIX_PATH COLCON_PREFIX_PATH RMW_IMPLEMENTATION ROS_DISTRO

# `:=` on purpose: demo and tests must never join a real robot's domain because the shell exports
# one. On the command line (make demo ROS_DOMAIN_ID=7) it can still be chosen.
ROS_DOMAIN_ID := $(shell echo $$(($$PPID % 101 + 1)))
ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
AMENT_PREFIX_PATH := $(CURDIR)/.venv
export ROS_DOMAIN_ID ROS_AUTOMATIC_DISCOVERY_RANGE AMENT_PREFIX_PATH

VENV_PYTHON := .venv/bin/python
PIP := $(VENV_PYTHON) -m pip --disable-pip-version-check --no-input install -qq

.PHONY: help setup demo train train-from-bags-demo bench bench-push-t faults fuzz soak gpu-check \
  gpu-wheels test lint docs docs-tables clean

help:
	@echo 'make demo    a simulated robot drives to goal images; EPISODES=5 SEED=0 PARAMS=file.yaml'
	@echo '             TASK=push_t: an agent pushes a block to where they are in the image'
	@echo '             TASK=point_maze: a point mass that is accelerated and feels its velocity'
	@echo 'make soak    planner and robot at 20 Hz, watched for DURATION=1800 seconds; ARGS="--short"'
	@echo 'make train   reproduce the default world model; ARGS="..." goes to the command'
	@echo 'make train-from-bags-demo   record bags, train from them alone, drive with the result'
	@echo 'make bench   planners against each other; ARGS="--full" measures all that the tables hold'
	@echo 'make bench-push-t  the same on Push-T at the horizons of the paper; ARGS="..." goes to it'
	@echo "make faults  provoke every fault and time the reactions; ARGS='--only NAME' goes through some"
	@echo 'make fuzz    MESSAGES=100000 mutated images and goals: no crash, no command from an invalid one'
	@echo 'make gpu-check   all that needs a GPU, in eight minutes, with no package index: docs/gpu.md'
	@echo 'make test    all tests; ARGS="..." goes to pytest'
	@echo 'make lint    ruff and mypy'
	@echo 'make docs    the pages of docs/ and the API as a site, in out/site/index.html'
	@echo 'make docs-tables  write the tables in docs/ anew that are made from the code'
	@echo 'make setup   only set up .venv; PYTHON=python3.12 chooses the Python'
	@echo 'make clean   remove .venv and all that was built, but not out/'

setup: .venv/.package

fail = { echo 'grasp_ros: $(1)' >&2; exit 1; }

# Says what to install before pip fails with something unreadable.
define check
@command -v $(PYTHON) >/dev/null || \
  $(call fail,no $(PYTHON) here. Install the Debian package python3 (3.10 or newer).)
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
  $(call fail,$(PYTHON) is older than 3.10. Name a newer one: make PYTHON=python3.12 (Debian package python3.12).)
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
  $(call fail,$(PYTHON) has no venv. Install the Debian package $(notdir $(PYTHON))-venv.)
@$(PYTHON) -c 'import os, sys, sysconfig; \
  sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || \
  $(call fail,no Python.h for $(PYTHON). Install the Debian package $(notdir $(PYTHON))-dev.)
@command -v $(CXX) >/dev/null || \
  $(call fail,no C++ compiler ($(CXX)). Install the Debian package g++.)
@command -v make >/dev/null || \
  $(call fail,no make on the PATH. Install the Debian package make.)
endef

$(VENV_PYTHON):
	$(check)
	@echo 'Setting up .venv; the first time takes some minutes.'
	@$(PYTHON) -m venv --clear .venv

.venv/.requirements: requirements.txt requirements-no-deps.txt | $(VENV_PYTHON)
	@echo 'Installing Python and ROS packages ...'
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -r requirements-no-deps.txt
	@touch $@

# launch/ and config/ are here because even an editable install copies them to share/.
inputs := setup.py pyproject.toml package.xml CMakeLists.txt \
  $(wildcard msg/*.msg action/*.action resource/*.in launch/*.py config/*.yaml config/*.xml)

# No date shows that a file was removed or the checkout moved: the stamp's content does.
ifneq ($(shell cat .venv/.package 2>/dev/null),$(CURDIR) $(inputs))
.PHONY: .venv/.package
endif

.venv/.package: .venv/.requirements $(inputs)
	$(check)
	@echo 'Building the ROS messages ...'
	@$(PIP) --no-deps -e .
	@echo '$(CURDIR) $(inputs)' > $@

demo: setup
	@$(VENV_PYTHON) -m grasp_ros.tools.demo.command --task $(TASK) --output out/demo \
	  --episodes $(EPISODES) $(if $(SEED),--seed $(SEED)) $(if $(PARAMS),--params $(PARAMS))

soak: setup
	@PYTHONPATH=test $(VENV_PYTHON) -m system.soak.command --duration $(DURATION) --output out/soak $(ARGS)

train-from-bags-demo: setup
	@$(VENV_PYTHON) -m grasp_ros.tools.demo.train_from_bags $(ARGS)

train: setup
	@$(VENV_PYTHON) -m grasp_ros.training.command $(ARGS)

bench: setup
	@$(VENV_PYTHON) -m grasp_ros.benchmark.command $(ARGS)

bench-push-t: setup
	@$(VENV_PYTHON) -m grasp_ros.benchmark.push_t $(ARGS)

faults: setup
	@PYTHONPATH=test $(VENV_PYTHON) -m system.faults.command --output out/faults $(ARGS)

fuzz: setup
	@PYTHONPATH=test $(VENV_PYTHON) -m system.fuzz.command --messages $(MESSAGES) --output out/fuzz $(ARGS)

# Without `setup`: where GPUs are lent there may be no package index.
gpu_python := $(firstword $(wildcard $(VENV_PYTHON)) $(PYTHON))

gpu-check:
	@PYTHONPATH=test $(gpu_python) -m system.gpu.command $(if $(WHEELS),--wheels $(WHEELS)) $(ARGS)

gpu-wheels:
	@PYTHONPATH=test $(PYTHON) -m system.gpu.wheels $(if $(WHEELS),--output $(WHEELS)) $(ARGS)

test: setup
	@$(VENV_PYTHON) test/run_all.py $(ARGS)

lint: setup
	@$(VENV_PYTHON) -m ruff check --output-format concise .
	@$(VENV_PYTHON) -m mypy

# With --quiet warnings would pass in spite of --strict.
docs: setup
	@NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -m mkdocs build --strict
	@echo 'out/site/index.html'

docs-tables: setup
	@$(VENV_PYTHON) docs/generated_tables.py

clean:
	rm -rf .venv build install log dist *.egg-info grasp_ros/msg grasp_ros/action grasp_ros/*.so
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

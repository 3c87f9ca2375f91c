# One command from a fresh clone: `make test`. Needs git, make and python3 (3.11 to 3.13).

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
JOBS ?= 6
VENV := .venv
BIN := $(VENV)/bin
# One test at a time to each, or the longest would wait in one queue.
PYTEST := $(BIN)/pytest -n $(JOBS) --maxschedchunk 1
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Folders are in it too: their times tell of removed files.
SOURCES := $(shell find dockd -name __pycache__ -prune -o -print) pyproject.toml README.md LICENSE

.DEFAULT_GOAL := help
.PHONY: help demo deb setup test-fast test test-long test-systemd test-usb test-usb-long test-s3 bench-s3 bench-custody lint check format bench lock clean

help: ## what can be made
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup $(VENV)/.demo-packages ## shows a whole dock at work: three cameras, one pulled, the daemon killed
	@$(BIN)/dockd demo $(ARGS)

# Without them the demo goes on, and says what it does instead.
$(VENV)/.demo-packages: scripts/system-packages | $(VENV)/.dependencies
	@if scripts/system-packages $(PYTHON) mosquitto mosquitto_sub:mosquitto-clients b3sum; then touch $@; fi

setup: $(VENV)/.installed ## .venv with the locked dependencies and dockd itself, as users get it

$(VENV)/.dependencies: requirements-dev.lock scripts/system-packages
	@scripts/system-packages $(PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@touch $@

# Tests run against what is installed, so it is installed anew whenever a source changed.
$(VENV)/.installed: $(VENV)/.dependencies $(SOURCES)
	@$(PIP) install --no-build-isolation --no-deps --force-reinstall .
	@touch $@

# What the tests look and meddle with; the daemon itself needs none of it. Without them tests are skipped, loudly.
$(VENV)/.test-packages: scripts/system-packages | $(VENV)/.dependencies
	@if scripts/system-packages $(PYTHON) strace mkfs.ext4:e2fsprogs cc:gcc cc:libc6-dev mosquitto openssl \
		mosquitto_sub:mosquitto-clients b3sum umockdev-wrapper:umockdev dbus-daemon ssh-keygen:openssh-client; \
		then touch $@; else test -z "$$DOCKD_CI"; fi

test-fast: setup $(VENV)/.test-packages ## the quick tests, under 2 minutes
	@$(PYTEST) -m "not slow and not bench and not long and not systemd and not usb and not s3" $(ARGS)

test: setup $(VENV)/.test-packages ## all tests but those of many minutes, under 10 minutes
	@$(PYTEST) -m "not bench and not long and not systemd and not usb and not s3" $(ARGS)

test-long: setup $(VENV)/.test-packages ## a hundred kills, gigabytes, ten thousand files: up to 20 minutes
	@DOCKD_KILLS=$${DOCKD_KILLS:-100} $(BIN)/pytest -n 2 --maxschedchunk 1 tests/e2e \
		-m "(long or slow) and not usb and not s3" -k "long or random_moments" $(ARGS)

# What boots a Debian with systemd in a container; as root. Without it the tests are skipped, loudly.
$(VENV)/.systemd-packages: scripts/system-packages | $(VENV)/.dependencies
	@if scripts/system-packages $(PYTHON) mmdebstrap systemd-nspawn:systemd-container nsenter:util-linux mosquitto; \
		then touch $@; else test -z "$$DOCKD_CI"; fi

test-systemd: setup $(VENV)/.systemd-packages ## the package and its service under a real systemd, as root: about 4 minutes
	@$(BIN)/pytest -m systemd --durations=3 tests/systemd $(ARGS)

deb: setup ## the Debian package, in build/, for the Debian that this machine is
	@$(BIN)/python packaging/build_deb.py build

# What boots a Debian with USB in a virtual machine; as root. Without it the tests are skipped, loudly.
$(VENV)/.usb-packages: scripts/system-packages | $(VENV)/.dependencies
	@if scripts/system-packages $(PYTHON) qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils mmdebstrap \
		mkfs.vfat:dosfstools mkfs.exfat:exfatprogs mke2fs:e2fsprogs mcopy:mtools sfdisk:fdisk busybox:busybox-static; \
		then touch $@; else test -z "$$DOCKD_CI"; fi

# One of its tests goes on into a bucket.
test-usb: deb $(VENV)/.usb-packages $(VENV)/.s3-packages ## real cameras on real USB: the package in a virtual machine, as root; 15 to 30 minutes
	@$(BIN)/pytest -n 2 --maxschedchunk 1 -m "usb and not long" --durations=5 tests/e2e/usb $(ARGS)

test-usb-long: deb $(VENV)/.usb-packages ## a file above 4 GiB on a card: 10 to 25 minutes, under emulation
	@$(BIN)/pytest -m "usb and long" tests/e2e/usb $(ARGS)

# A Ceph with its S3 gateway, on loopback, for as long as the tests last. Without it they are skipped, loudly.
$(VENV)/.s3-packages: scripts/system-packages | $(VENV)/.dependencies
	@if scripts/system-packages $(PYTHON) ceph-mon ceph-osd radosgw ceph:ceph-common strace openssl; then touch $@; \
		else test -z "$$DOCKD_CI"; fi

test-s3: setup $(VENV)/.s3-packages $(VENV)/.test-packages ## the store in a real Ceph on loopback; about 10 minutes
	@$(BIN)/pytest -n 2 --maxschedchunk 1 -m "s3 and not usb" --durations=5 tests $(ARGS)

lint: setup ## style, types, layers, sizes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python scripts/limits.py

check: lint test-fast ## lint and the quick tests

format: setup ## puts the sources in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## copies measured against other tools
	@scripts/system-packages $(PYTHON) rclone
	@$(BIN)/python tests/bench/run.py $(ARGS)

bench-s3: setup $(VENV)/.s3-packages ## uploads measured against boto3 and rclone, into a real Ceph on loopback
	@scripts/system-packages $(PYTHON) rclone
	@$(BIN)/python tests/bench/s3_run.py $(ARGS)

bench-custody: setup ## how fast a chain of a million records is verified, on one core
	@$(BIN)/python tests/bench/custody_run.py $(ARGS)

lock: ## both lock files anew, from the ranges in pyproject.toml
	@test -x .venv-lock/bin/uv || { $(PYTHON) -m venv .venv-lock && .venv-lock/bin/python -m pip --quiet install "uv<1"; }
	@.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	@.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
		--constraint requirements.lock --extra dev \
		--custom-compile-command "make lock" --output-file requirements-dev.lock pyproject.toml

clean: ## everything that can be made again
	@rm -rf $(VENV) .venv-lock .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

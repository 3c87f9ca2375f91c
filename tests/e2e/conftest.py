"""Every end-to-end test ends by asking the oracle; daemons that a test started end with it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.broker import Broker
from e2e.harness import Dock
from e2e.kernel import Mounts

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = not report.passed
    return report


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    made = Mounts(tmp_path)
    yield made
    made.close()


# Depends on `mounts`, so that the daemons are gone before the disks are.
@pytest.fixture
def make_dock(tmp_path: Path, mounts: Mounts, request: pytest.FixtureRequest) -> Iterator[Callable[..., Dock]]:
    docks: list[Dock] = []

    def make(**settings: Any) -> Dock:
        dock = Dock(tmp_path / f"d{len(docks)}", **settings)
        docks.append(dock)
        return dock

    yield make
    try:
        if not request.node.stash.get(FAILED, True):
            # Docks may share a store: all are asked before any is taken down.
            for dock in docks:
                dock.judge()
            for dock in docks:
                if dock.running:
                    assert dock.term() == 0
            for dock in docks:
                dock.clear()
    finally:
        for dock in docks:
            if dock.running:
                dock.kill()


@pytest.fixture
def dock(make_dock: Callable[..., Dock]) -> Dock:
    """A dock with the wipe switched on, and its daemon running."""
    made = make_dock()
    made.start()
    return made


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    brokers: list[Broker] = []

    def make(*lines: str) -> Broker:
        brokers.append(Broker(tmp_path / f"broker{len(brokers)}", *lines).start())
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.kill()


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    """A broker that lets everybody do everything."""
    return make_broker()

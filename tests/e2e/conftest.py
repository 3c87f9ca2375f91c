"""Every end-to-end test ends by asking the oracle; daemons that a test started end with it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from ceph import Ceph
from e2e.broker import Broker
from e2e.harness import Dock
from e2e.kernel import Mounts
from e2e.recounting import recount
from e2e.s3_dock import S3Dock, write_keys
from s3_bucket import Bucket

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


@pytest.fixture
def make_s3_dock(
    tmp_path: Path, ceph_service: Ceph, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[..., S3Dock]]:
    """Docks with a bucket for a store; those that name none share the first."""
    docks: list[S3Dock] = []
    write_keys(tmp_path / "credentials")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))

    def make(bucket: Bucket | None = None, *, versioned: bool = True, **settings: Any) -> S3Dock:
        found = bucket or (docks[0].bucket if docks else Bucket(ceph_service, versioned=versioned))
        docks.append(S3Dock(tmp_path / f"d{len(docks)}", found, **settings))
        return docks[-1]

    yield make
    try:
        if not request.node.stash.get(FAILED, True):
            for dock in docks:
                dock.judge()
                assert dock.bucket.uploads() == []
                recount(dock)
    finally:
        for dock in docks:
            if dock.running:
                dock.kill()
            dock.clear()


@pytest.fixture
def s3_dock(make_s3_dock: Callable[..., S3Dock]) -> S3Dock:
    """A dock with a bucket that keeps versions, and its daemon runs."""
    made = make_s3_dock()
    made.start()
    return made


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
                recount(dock)
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

"""What all tests share: the order in which they run, and a real Ceph for those that ask for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ceph
import pytest


@pytest.fixture(scope="session")
def ceph_service() -> Iterator[ceph.Ceph]:
    """A Ceph with its S3 gateway on loopback; where it cannot be had, tests are skipped, loudly, and fail in CI."""
    lacking = ceph.lacking()
    if lacking:
        assert not os.environ.get("DOCKD_CI"), f"lacking: {', '.join(lacking)}"
        pytest.skip(f"NOT TESTED: S3, for this machine lacks {', '.join(lacking)}")
    # A short name, for a socket's path may not be long; and a disk, for it may grow to gigabytes.
    made = ceph.Ceph(Path(tempfile.mkdtemp(prefix="ceph-", dir="/var/tmp")))
    yield made
    made.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that wait long go first, so that the others run beside them and not before them."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.get_closest_marker("long") is not None:
        return 0
    if item.get_closest_marker("slow") is not None:
        return 1
    return 2 if "e2e" in item.path.parts else 3

"""The kinds of store and of camera that the contract suites are run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.cameras import CAMERA_KINDS, CameraKind
from contract.stores import KINDS, REMEMBERED, StoreKind, in_s3, open_store
from e2e.kernel import Mounts

from dockd.direct_io import Buffer
from dockd.stores.base import EvidenceStore

STORE_PARAMS = [
    "filesystem",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("tmpfs", "ramfs")),
    *(pytest.param(name, marks=pytest.mark.s3) for name in ("s3", "s3-versioned")),
]


@pytest.fixture(params=STORE_PARAMS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreKind]:
    """A new and empty store of each kind."""
    REMEMBERED.clear()
    if request.param in KINDS:
        opened = KINDS[request.param](tmp_path)
    else:
        opened = in_s3(request.getfixturevalue("ceph_service"), request.param)
    with opened as made:
        yield made


@pytest.fixture
def store(kind: StoreKind) -> EvidenceStore:
    """A client of that store, pinned to it."""
    return open_store(kind.spec)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Where the files to be stored lie."""
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


@pytest.fixture
def buffer() -> Buffer:
    return Buffer()


@pytest.fixture(params=sorted(CAMERA_KINDS))
def camera_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CameraKind]:
    """A new camera of each kind, with nothing on it."""
    with CAMERA_KINDS[request.param](tmp_path) as made:
        yield made
        made.close()


@pytest.fixture(params=sorted(name for name in CAMERA_KINDS if name.startswith("folder")))
def folder_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CameraKind]:
    """The kinds whose disk other things lie on too."""
    with CAMERA_KINDS[request.param](tmp_path) as made:
        yield made
        made.close()


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    """Mounts that are undone after the test."""
    made = Mounts(tmp_path)
    yield made
    made.close()

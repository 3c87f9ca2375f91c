"""The kinds of evidence store that the contract suite is run on.

A new kind is a class with the methods of `StoreKind`, a line in `open_store`, and its name in `KINDS`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import ceph
import pytest
from contract.tools import Call, need_root, plant
from s3_bucket import Bucket, client

from dockd.direct_io import UNIT_BYTES
from dockd.durable import STORE_SENTINEL, file_system_of
from dockd.runtime.randomness import SystemRandomness
from dockd.stores.base import EvidenceStore, Upload
from dockd.stores.filesystem import FilesystemStore, initialise
from dockd.stores.s3 import S3Store
from dockd.stores.s3_bucket import S3Settings

PART_BYTES = 5 * UNIT_BYTES
"""The smallest that S3 permits."""


class StoreKind(Protocol):
    """One kind of store, new and empty, and what only a test may do to it: look and meddle behind its back."""

    name: str
    spec: dict[str, Any]
    """What `open_store` needs in another process."""

    sending: str
    """The system calls in which this kind sends content."""

    unit_bytes: int
    """What is sent again as a whole if it was not sent whole."""

    versions: bool
    """Whether the same content put there anew can be told from the former."""

    exclusive: bool
    """Whether of several that save under one key at the same moment one alone is told that it was the first."""

    def sent_bytes(self, calls: list[Call]) -> int:
        """How much content was sent, going by the system calls of the sending process."""

    def visible(self) -> dict[str, bytes]:
        """Everything that has a visible name, but what makes the store known."""

    def begun(self) -> set[str]:
        """The ids of the uploads that left something behind."""

    def put(self, key: str, data: bytes) -> None:
        """Put an object there behind the store's back, in place of any other."""

    def remove(self, key: str) -> None:
        """Take an object away behind the store's back."""

    def break_off(self, key: str, upload_id: str, data: bytes) -> None:
        """Leave behind what an upload leaves that was broken off when `data` were sent."""


REMEMBERED: dict[str, str] = {}
"""What stores call the uploads of a test, as the journal would keep it."""


def known(token: str) -> str:
    """What the journal would keep of an upload."""
    return REMEMBERED.get(token) or token


def upload_of(token: str) -> Upload:
    """An upload as the journal would know it."""
    return Upload(known(token), lambda name: REMEMBERED.update({token: name}))


def open_store(spec: dict[str, Any]) -> EvidenceStore:
    """A client of its own, as another dock would have it, pinned to the store."""
    store: EvidenceStore
    if spec["kind"] == "filesystem":
        store = FilesystemStore(Path(spec["root"]))
    else:
        store = S3Store(s3_settings(**{name: value for name, value in spec.items() if name != "kind"}))
    store.pin(store.identify())
    return store


def s3_settings(endpoint: str, bucket: str, **changed: Any) -> S3Settings:
    """A bucket of the tests' Ceph, as a dock would be configured for it."""
    given: dict[str, Any] = {
        "bucket": bucket,
        "endpoint_url": endpoint,
        "region": None,
        "ca_file": None,
        "addressing": "path",
        "part_size_bytes": PART_BYTES,
        "object_lock_days": 0,
        "sign_payload": True,
        "encryption": None,
        "dock": "calgary/district-4/dock-07",
        "secrets": lambda: (ceph.ACCESS_KEY, ceph.SECRET_KEY),
    }
    return S3Settings(**{**given, **changed})


class FilesystemKind:
    """See `StoreKind`."""

    unit_bytes = UNIT_BYTES
    versions = True
    exclusive = True
    sending = "write,pwrite64,pwritev,writev,copy_file_range,sendfile"

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root
        self.spec = {"kind": "filesystem", "root": str(root)}
        initialise(root, SystemRandomness())

    def sent_bytes(self, calls: list[Call]) -> int:
        return sum(call.count for call in calls if call.ok and any(p.endswith(".partial") for p in call.paths[:1]))

    def _files(self) -> Iterator[Path]:
        return (path for path in self.root.rglob("*") if path.is_file() or path.is_symlink())

    def visible(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self._files()
            if not path.name.startswith(".")
        }

    def begun(self) -> set[str]:
        hidden = {path.name for path in self._files() if path.name.startswith(".")} - {STORE_SENTINEL}
        assert all(name.endswith(".partial") for name in hidden), hidden
        return {name[1:].removesuffix(".partial") for name in hidden}

    def put(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.unlink(missing_ok=True)
        plant(path, data)

    def remove(self, key: str) -> None:
        (self.root / key).unlink()

    def break_off(self, key: str, upload_id: str, data: bytes) -> None:
        plant((self.root / key).with_name(f".{upload_id}.partial"), data)


class S3Kind:
    """See `StoreKind`."""

    unit_bytes = PART_BYTES
    sending = "sendfile"

    def __init__(self, name: str, bucket: Bucket, *, versions: bool) -> None:
        self.name = name
        self.bucket = bucket
        self.versions = versions
        # Where versions are kept Ceph looks and then writes; who comes second becomes a version of its own.
        self.exclusive = not versions
        self.spec = {"kind": "s3", "endpoint": bucket.ceph.endpoint, "bucket": bucket.name}
        S3Store(s3_settings(bucket.ceph.endpoint, bucket.name)).initialise(SystemRandomness())

    def sent_bytes(self, calls: list[Call]) -> int:
        return sum(call.count for call in calls if call.ok)

    def visible(self) -> dict[str, bytes]:
        return {key: self.bucket.get(key) for key in self.bucket.names() if key != STORE_SENTINEL}

    def begun(self) -> set[str]:
        tokens = {name: token for token, name in REMEMBERED.items()}
        return {tokens.get(f"s3:{remote}", remote) for _, remote in self.bucket.uploads()}

    def put(self, key: str, data: bytes) -> None:
        self.bucket.put(key, data)

    def remove(self, key: str) -> None:
        self.bucket.remove(key)

    def break_off(self, key: str, upload_id: str, data: bytes) -> None:
        at = {"Bucket": self.bucket.name, "Key": key}
        dockd = client(self.bucket.ceph.endpoint, ceph.ACCESS_KEY, ceph.SECRET_KEY)
        remote = dockd.create_multipart_upload(**at)["UploadId"]
        for number, start in enumerate(range(0, len(data), PART_BYTES), start=1):
            part = data[start : start + PART_BYTES]
            dockd.upload_part(**at, UploadId=remote, PartNumber=number, Body=part)
        REMEMBERED[upload_id] = f"s3:{remote}"


@contextmanager
def in_s3(service: ceph.Ceph, name: str) -> Iterator[StoreKind]:
    """In a bucket of a real Ceph, which keeps versions or does not."""
    versions = name == "s3-versioned"
    yield S3Kind(name, Bucket(service, versioned=versions), versions=versions)


@contextmanager
def _on_ext4(folder: Path) -> Iterator[StoreKind]:
    """On the disk that the tests' folders lie on; that is ext4 where these tests were made."""
    yield FilesystemKind("filesystem", folder / "store")


@contextmanager
def _on_tmpfs(folder: Path) -> Iterator[StoreKind]:
    """In memory: nothing there can be read past this host's memory."""
    if not Path("/dev/shm").is_dir() or file_system_of("/dev/shm").kind != "tmpfs":
        pytest.skip("NOT TESTED: a store on tmpfs, for /dev/shm is none")
    root = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="store-"))
    try:
        yield FilesystemKind("tmpfs", root)
    finally:
        shutil.rmtree(root)


@contextmanager
def refusing_direct(folder: Path) -> Iterator[Path]:
    """A mounted file system that refuses O_DIRECT, as some network file systems do (tmpfs no longer does)."""
    need_root("a file system that refuses O_DIRECT")
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "ramfs", "ramfs", folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)


@contextmanager
def _on_ramfs(folder: Path) -> Iterator[StoreKind]:
    """On a file system that refuses O_DIRECT."""
    with refusing_direct(folder / "ramfs") as mounted:
        yield FilesystemKind("ramfs", mounted / "store")


KINDS = {"filesystem": _on_ext4, "tmpfs": _on_tmpfs, "ramfs": _on_ramfs}


def disk_bytes(path: Path) -> int:
    """How much room a file takes on its disk."""
    return os.stat(path).st_blocks * 512

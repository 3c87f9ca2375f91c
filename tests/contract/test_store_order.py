"""In which order a store writes: data before its name, names up to the root before anybody says so (I4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contract.stores import FilesystemKind
from contract.test_store_contract import UPLOAD, key_of
from contract.tools import MIB, Call, calls_in, content, digests_of, in_child, plant, tracer

WATCHED = "fsync,fdatasync,syncfs,linkat,link,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,pwrite64,write"
PUBLISHES = {"linkat", "link", "rename", "renameat", "renameat2"}
SYNCS = {"fsync", "fdatasync"}


class Trace:
    """The system calls of one child, by what they mean for one visible file of a store."""

    def __init__(self, log: Path, visible: Path) -> None:
        self.calls = [call for call in calls_in(log) if call.ok]
        self.visible = visible

    def publish(self) -> Call | None:
        found = [c for c in self.calls if c.name in PUBLISHES and str(self.visible) in c.paths[1:]]
        assert len(found) <= 1, found
        return found[0] if found else None

    def synced(self, path: str | Path) -> list[Call]:
        return [c for c in self.calls if c.name in SYNCS and c.paths[0] == str(path)]

    def last_write(self, path: str | Path) -> Call:
        return [c for c in self.calls if c.name in {"pwrite64", "write"} and c.paths[0] == str(path)][-1]


def folders_up_to(root: Path, path: Path) -> list[Path]:
    """The folders from that of `path` up to and including `root`."""
    return [parent for parent in path.parents if parent.is_relative_to(root)]


@pytest.fixture
def kind(tmp_path: Path) -> FilesystemKind:
    return FilesystemKind("filesystem", tmp_path / "store")


def traced_save(tmp_path: Path, kind: FilesystemKind, data: bytes, **more: Any) -> Trace:
    source = plant(tmp_path / "one.part", data)
    digests = digests_of(data)
    log = tmp_path / "calls"
    saved = in_child(
        "save",
        tracer=tracer(log, WATCHED),
        store=kind.spec,
        key=key_of(data),
        source=str(source),
        digests=[digests.size_bytes, digests.blake3, digests.sha256],
        upload_id=UPLOAD,
    )
    assert saved == {"already_there": False, **more}
    return Trace(log, kind.root / key_of(data))


@pytest.mark.parametrize("size", [0, 100, 3 * MIB + 1])
def test_data_is_durable_before_its_name_and_every_folder_before_the_answer(
    tmp_path: Path, kind: FilesystemKind, size: int
) -> None:
    trace = traced_save(tmp_path, kind, content(size))
    published = trace.publish()
    assert published is not None
    hidden = trace.visible.with_name(f".{UPLOAD}.partial")
    durable = trace.synced(hidden)
    assert durable
    assert durable[-1].ended < published.begun
    if size:
        assert trace.last_write(hidden).ended < durable[-1].begun
    for folder in folders_up_to(kind.root, trace.visible):
        assert any(call.begun > published.ended for call in trace.synced(folder)), f"{folder} is not durable"


def test_each_new_folder_is_durable_in_the_one_above(tmp_path: Path, kind: FilesystemKind) -> None:
    trace = traced_save(tmp_path, kind, content(100))
    made = [call for call in trace.calls if call.name in {"mkdir", "mkdirat"} and str(kind.root) in call.text]
    assert len(made) == 3
    for call in made:
        parent = str(Path(call.paths[-1]).parent)
        assert any(sync.begun > call.ended for sync in trace.synced(parent)), f"{call.text} is not durable"


@pytest.mark.parametrize("same", [True, False])
def test_what_was_found_there_is_made_durable_too(tmp_path: Path, kind: FilesystemKind, same: bool) -> None:
    data = content(5000)
    kind.put(key_of(data), data if same else b"something else")
    trace = traced_save(tmp_path, kind, data, already_there=True)
    assert trace.publish() is None
    assert trace.synced(trace.visible)
    for folder in folders_up_to(kind.root, trace.visible):
        assert trace.synced(folder), f"{folder} is not durable"


def test_an_upload_that_went_on_makes_also_the_former_part_durable(tmp_path: Path, kind: FilesystemKind) -> None:
    """Whoever wrote the former part may not have come to that."""
    data = content(3 * MIB)
    kind.break_off(key_of(data), UPLOAD, data)
    trace = traced_save(tmp_path, kind, data)
    published = trace.publish()
    assert published is not None
    durable = trace.synced(trace.visible.with_name(f".{UPLOAD}.partial"))
    assert durable
    assert durable[0].ended < published.begun


@pytest.mark.parametrize("there", [False, True])
def test_a_small_object_is_durable_in_the_same_order(tmp_path: Path, kind: FilesystemKind, there: bool) -> None:
    key = "calgary/holds/a.json"
    if there:
        kind.put(key, b"{}")
    log = tmp_path / "calls"
    told = in_child("put_small", tracer=tracer(log, WATCHED), store=kind.spec, key=key, text="{}")
    assert told == {"new": not there}
    trace = Trace(log, kind.root / key)
    published = trace.publish()
    start = -1 if published is None else published.ended
    assert (published is None) == there
    if published is not None:
        hidden = published.paths[0]
        assert trace.last_write(hidden).ended < trace.synced(hidden)[-1].begun
        assert trace.synced(hidden)[-1].ended < published.begun
    else:
        assert trace.synced(trace.visible)
    for folder in folders_up_to(kind.root, trace.visible):
        assert any(call.begun > start for call in trace.synced(folder)), f"{folder} is not durable"


def test_a_store_is_known_durably(tmp_path: Path) -> None:
    """Its own name too: what is confirmed in it an hour later must not go with it."""
    root = tmp_path / "mnt" / "store"
    root.parent.mkdir()
    log = tmp_path / "calls"
    assert in_child("init", tracer=tracer(log, WATCHED), root=str(root))["new"]
    trace = Trace(log, root / ".dockd-store")
    published = trace.publish()
    assert published is not None
    assert any(call.begun > published.ended for call in trace.synced(root))
    made = next(call for call in trace.calls if call.name in {"mkdir", "mkdirat"} and str(root) in call.text)
    assert any(call.begun > made.ended for call in trace.synced(root.parent)), "the store's own name is not durable"

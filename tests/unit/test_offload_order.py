"""Nothing is claimed before it is durable (I4): told from the system calls of a process of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import blake3
import pytest
from contract.tools import MIB, Call, calls_in, content, digests_of, in_child, plant, start_child, tracer, wait_for
from contract.world import PATH, World, ledger_of

from dockd.journal import recordings
from dockd.lifecycle import RecordingState

CHUNK = 8 * MIB
WATCHED = "write,pwrite64,pwritev,fsync,fdatasync,unlink,unlinkat,pread64,preadv,preadv2,ftruncate"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "dock")
    yield made
    made.close()


def docked(world: World, data: bytes) -> int:
    """Plant and note one recording, and let go of everything, so that another process can go on."""
    world.plant(data)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
    world.close()
    return recording


def written(call: Call) -> bytes:
    """The bytes that a call wrote, from the log's hexadecimal form."""
    text = re.search(r'"((?:[^"\\]|\\.)*)"', call.text)
    assert text is not None
    return text[1].encode("latin-1").decode("unicode_escape").encode("latin-1")


class Trace:
    """What one process did with its spool file and its journal."""

    def __init__(self, log: Path) -> None:
        self.calls = [call for call in calls_in(log) if call.ok and call.paths]
        self.spool = next(c.paths[0] for c in self.calls if c.paths[0].endswith(".part"))

    def of(self, path: str, *names: str) -> list[Call]:
        return [call for call in self.calls if call.paths[0] == path and call.name in names]

    def claimed(self, what: bytes) -> Call:
        """The first write to the journal that has these bytes in it."""
        for call in self.calls:
            if call.paths[0].endswith("journal.db-wal") and call.name == "pwrite64" and what in written(call):
                return call
        raise AssertionError("it was never written to the journal")

    def durable_bytes(self, before: int) -> int:
        """How much of the spool file was durable when line `before` of the log began."""
        syncs = [call for call in self.of(self.spool, "fsync", "fdatasync") if call.ended < before]
        if not syncs:
            return 0
        writes = [call for call in self.of(self.spool, "pwrite64") if call.ended < syncs[-1].begun]
        return sum(call.count for call in writes)


def traced(world: World, tmp_path: Path, command: str, recording: int, *options: str) -> Trace:
    log = tmp_path / f"{command}.calls"
    prefix = tracer(log, WATCHED, "-x", "-s", "4200", "-e", "write=none", *options)
    told = in_child(command, tracer=prefix, folder=str(world.root), recording=recording)
    assert "error" not in told, told
    return Trace(log)


def test_the_ledger_never_claims_more_than_is_durable(world: World, tmp_path: Path) -> None:
    data = content(5 * CHUNK + 100)
    recording = docked(world, data)
    # Syncing is made slow, so that a claim that does not wait for it is seen to come first.
    trace = traced(world, tmp_path, "copy", recording, "-e", "inject=fdatasync:delay_enter=100000")
    hasher = blake3.blake3()
    for end in range(CHUNK, 4 * CHUNK + 1, CHUNK):
        hasher.update(data[end - CHUNK : end])
        claim = trace.claimed(hasher.digest())
        assert trace.durable_bytes(claim.begun) >= end, f"{end} bytes were claimed before they were durable"


def test_a_copy_is_claimed_only_when_data_and_name_are_durable_and_the_disk_gave_it_back(
    world: World, tmp_path: Path
) -> None:
    data = content(3 * MIB + 1)
    recording = docked(world, data)
    trace = traced(world, tmp_path, "copy", recording, "-e", "inject=fsync,fdatasync:delay_enter=50000")
    claim = trace.claimed(digests_of(data).sha256.encode())
    last_write = trace.of(trace.spool, "pwrite64")[-1]
    synced = [c for c in trace.of(trace.spool, "fsync", "fdatasync") if c.begun > last_write.ended]
    assert synced
    assert synced[0].ended < claim.begun
    named = trace.of(str(world.spool.directory), "fsync")
    assert named
    assert named[-1].ended < claim.begun
    read = [call for call in trace.of(trace.spool, "preadv", "preadv2", "pread64") if call.begun > synced[0].ended]
    assert sum(call.count for call in read) == len(data)
    assert read[-1].ended < claim.begun


def test_the_spool_file_goes_only_after_the_confirmation_is_durable(world: World, tmp_path: Path) -> None:
    data = content(MIB)
    world.plant(data)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        world.copy(camera, recording)
    spooled = str(world.spool_file(recording))
    world.close()
    trace = traced(world, tmp_path, "store", recording, "-e", "inject=fdatasync:delay_enter=50000")
    removed = next(call for call in trace.calls if call.name.startswith("unlink") and spooled in call.paths)
    claim = trace.claimed(b"recording_confirmed")
    journal = claim.paths[0]
    committed = [call for call in trace.of(journal, "fsync", "fdatasync") if call.begun > claim.ended]
    assert committed
    assert committed[0].ended < removed.begun


@pytest.mark.slow
@pytest.mark.parametrize("at", [20, 50])
def test_a_process_that_is_killed_leaves_only_what_it_can_prove(world: World, at: int) -> None:
    data = content(90 * MIB)
    recording = docked(world, data)
    child = start_child("copy", folder=str(world.root), recording=recording)
    wait_for(lambda: sum(p.stat().st_size for p in world.spool.directory.iterdir()) >= at * MIB, "a part of the copy")
    child.kill()
    child.communicate()
    spooled = next(world.spool.directory.iterdir())
    marks = ledger_of(world.journal_path, recording)
    with open(spooled, "rb") as file:
        assert file.read(max(marks, default=0)) == data[: max(marks, default=0)]
    again = World(world.root)
    try:
        assert again.row(recording).state is RecordingState.FOUND
        with again.attached() as camera:
            again.dock(camera)
            again.copy(camera, recording)
        assert again.row(recording).blake3 == digests_of(data).blake3
        assert list(again.spooled().values()) == [data]
    finally:
        again.close()


# --- read errors -------------------------------------------------------------------------------------


def with_read_errors(world: World, recording: int, first: int, tmp_path: Path) -> dict[str, str]:
    """Copy while the kernel fails reads of the camera's file from the `first` on."""
    source = world.folder / os.fsdecode(PATH)
    fault = f"inject=preadv,preadv2:error=EIO:when={first}+"
    prefix = tracer(tmp_path / "calls", "preadv,preadv2", "-P", str(source), "-e", fault)
    told: dict[str, str] = in_child("copy", tracer=prefix, folder=str(world.root), recording=recording)
    return told


def test_a_read_error_keeps_what_was_read_and_names_the_place(world: World, tmp_path: Path) -> None:
    data = content(20 * MIB)
    recording = docked(world, data)
    told = with_read_errors(world, recording, 19, tmp_path)
    assert told["error"] == "RecordingUnreadableError"
    assert str(18 * MIB) in told["message"]
    again = World(world.root)
    try:
        assert again.row(recording).state is RecordingState.FOUND
        assert max(again.marks(recording)) == 16 * MIB
        assert again.spool_file(recording).read_bytes()[: 16 * MIB] == data[: 16 * MIB]
        with again.attached() as camera:
            again.copy(camera, recording)
        assert list(again.spooled().values()) == [data]
    finally:
        again.close()


def test_a_read_error_of_the_very_first_byte_claims_nothing(world: World, tmp_path: Path) -> None:
    recording = docked(world, content(MIB))
    assert with_read_errors(world, recording, 1, tmp_path)["error"] == "RecordingUnreadableError"
    assert ledger_of(world.journal_path, recording) == []


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_disk_that_cannot_sync_is_not_trusted(world: World, tmp_path: Path, what: str) -> None:
    recording = docked(world, content(3 * MIB))
    again = World(world.root)
    name = again.spool.new_name("ab" * 16)
    again.journal.run_in_thread(lambda tx: recordings.begin_copy(tx, recording, name))
    again.close()
    failing = world.spool.path(name) if what == "file" else world.spool.directory
    plant(world.spool.path(name), b"")
    fault = "inject=fsync,fdatasync:error=EIO:when=1+"
    prefix = tracer(tmp_path / "calls", "fsync,fdatasync", "-P", str(failing), "-e", fault)
    told = in_child("copy", tracer=prefix, folder=str(world.root), recording=recording)
    assert told["error"] == "SpoolCorruptError"
    again = World(world.root)
    row = again.row(recording)
    again.close()
    assert (row.state, row.blake3) == (RecordingState.FOUND, None)
    assert ledger_of(world.journal_path, recording) == []

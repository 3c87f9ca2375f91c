"""The log in systemd's journal: its datagrams, and what happens to what the journal does not take."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from dockd.report.journald import JournalSink, datagram, fields_of, stderr_is_journal

EVENT = {"event": "recording_copied", "level": "warning", "bay": "folder-CAM1", "size": 5, "hint": "do this"}


@pytest.fixture
def journald() -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(Path(folder) / "journal"))
        made.setblocking(False)
        yield made


def parse(raw: bytes) -> dict[str, str]:
    """The journal's own rules: NAME=value, or NAME, a newline, 8 bytes of length, the value."""
    found = {}
    while raw:
        line, _, rest = raw.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            raw = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            value, raw = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[name.decode()] = value.decode()
    return found


def taken(sink: JournalSink, **event: object) -> bool:
    try:
        sink(None, "info", {**EVENT, **event})
    except structlog.DropEvent:
        return True
    return False


def test_an_event_becomes_a_sentence_and_fields(journald: socket.socket) -> None:
    sink = JournalSink(journald.getsockname())
    assert taken(sink)
    assert parse(journald.recv(65536)) == {
        "MESSAGE": "recording copied: bay=folder-CAM1 size=5 [do this]",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "dockd",
        "DOCKD_EVENT": "recording_copied",
        "DOCKD_BAY": "folder-CAM1",
        "DOCKD_SIZE": "5",
        "DOCKD_HINT": "do this",
    }
    sink.close()


def test_no_value_can_forge_a_field() -> None:
    hostile = "CAM1\nDOCKD_BAY=folder-CAM2\nPRIORITY=0"
    found = parse(datagram(fields_of({**EVENT, "camera": hostile}), 1024))
    assert found["DOCKD_CAMERA"] == hostile
    assert (found["DOCKD_BAY"], found["PRIORITY"]) == ("folder-CAM1", "4")


def test_a_field_has_a_name_that_the_journal_takes() -> None:
    names = [name for name, _ in fields_of({"event": "x", "with-dash é": 1, "long" * 40: 2})]
    assert all(len(name) <= 64 and name.replace("_", "A").isalnum() and name.isascii() for name in names)


def test_what_is_too_long_is_cut_and_not_lost(journald: socket.socket) -> None:
    sink = JournalSink(journald.getsockname())
    wide = {f"field_{number}": "y" * 40_000 for number in range(12)}
    assert taken(sink, **wide)
    found = parse(journald.recv(1 << 20))
    assert found["DOCKD_EVENT"] == "recording_copied"
    assert 0 < len(found["DOCKD_FIELD_1"]) <= 40_000
    sink.close()


def test_a_journal_that_is_not_there_leaves_the_event_to_standard_error() -> None:
    sink = JournalSink("/nonexistent/journal")
    assert not taken(sink)
    sink.close()


def test_a_journal_that_hangs_costs_events_and_says_how_many(journald: socket.socket) -> None:
    sink = JournalSink(journald.getsockname())
    sent = 0
    while not sink._dropped:
        assert taken(sink), "standard error leads there too, and would block"
        sent += 1
        assert sent < 100_000
    assert taken(sink)
    lost = sink._dropped
    for _ in range(sent - 1):
        journald.recv(65536)
    assert taken(sink)
    assert parse(journald.recv(65536))["DOCKD_EVENTS_DROPPED"] == str(lost)
    assert taken(sink)
    assert "DOCKD_EVENTS_DROPPED" not in parse(journald.recv(65536))
    sink.close()


def test_it_is_used_only_where_standard_error_is_the_journal(tmp_path: Path) -> None:
    with open(tmp_path / "stream", "w") as stream:
        found = os.fstat(stream.fileno())
        right = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert stderr_is_journal(right, stream.fileno())
        for wrong in ({}, {"JOURNAL_STREAM": ""}, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"}):
            assert not stderr_is_journal(wrong, stream.fileno())
    assert not stderr_is_journal(right, 9999)

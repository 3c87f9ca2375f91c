"""What the service manager hears of the daemon, on a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from dockd.errors import TransientError
from dockd.journal.journal import Journal
from dockd.report.systemd import STATUS_LIMIT_CHARACTERS, Systemd, status_line

QUIET_S = 0.4
WAIT_S = 30.0


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.setblocking(False)
        self.heard: list[str] = []
        self.told_by: list[Systemd] = []

    def systemd(self, watchdog_s: float | None = None) -> Systemd:
        self.told_by.append(Systemd(self.path, watchdog_s))
        return self.told_by[-1]

    def listen(self) -> list[str]:
        while True:
            try:
                self.heard += self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.heard

    async def hear(self, what: Callable[[list[str]], Any]) -> None:
        """Until what was heard is as wanted."""
        deadline_s = time.monotonic() + WAIT_S
        while not what(self.listen()):
            assert time.monotonic() < deadline_s, self.heard
            await asyncio.sleep(0.01)


@pytest.fixture
def manager() -> Iterator[Manager]:
    # Not pytest's folder: a socket's path has a limit of 108 bytes.
    with tempfile.TemporaryDirectory() as folder:
        made = Manager(str(Path(folder) / "notify"))
        yield made
        made.socket.close()
        for systemd in made.told_by:
            systemd.close()


class Writer:
    """A journal's writer that answers, raises or hangs."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.answers.set()
        self.error: Exception | None = None
        self.asked = 0

    async def run(self, function: Callable[[Any], Any]) -> Any:
        self.asked += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return function(None)


def journal(writer: Writer) -> Journal:
    return cast("Journal", writer)


def sample(**changes: Any) -> dict[str, Any]:
    counts = {"unaccounted": 0, "sole_copy": 0, "awaiting_return": 0}
    return {"bays": [], "counts": counts, "alerts": [], **changes}


def test_without_a_service_manager_nothing_is_sent() -> None:
    for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "@"}, {"NOTIFY_SOCKET": "vsock:2:1"}):
        found = Systemd.from_environment(environment)
        assert found.watchdog_s is None
        assert not found.send("READY=1")


def test_the_watchdog_is_taken_only_if_it_is_meant_for_this_process() -> None:
    base = {"NOTIFY_SOCKET": "@dockd-test-nobody", "WATCHDOG_USEC": "3000000"}

    def told(**changes: str) -> float | None:
        with closing(Systemd.from_environment({**base, **changes})) as found:
            return found.watchdog_s

    assert told() == 3
    assert told(WATCHDOG_PID=str(os.getpid())) == 3
    assert told(WATCHDOG_PID="1") is None
    for value in ("", "0", "soon", "-5"):
        assert told(WATCHDOG_USEC=value) is None


def test_a_manager_that_is_gone_is_no_error() -> None:
    with closing(Systemd("@dockd-test-nobody")) as found:
        assert not found.send("READY=1")
        found.close()
        assert not found.send("READY=1")


async def test_it_says_that_it_serves_what_it_does_and_that_it_lives(manager: Manager) -> None:
    systemd = manager.systemd(watchdog_s=0.15)
    task = asyncio.create_task(systemd.run(journal(Writer())))
    await manager.hear(lambda heard: heard.count("WATCHDOG=1") >= 3)
    assert manager.heard.count("READY=1") == 1
    systemd.take(sample())
    await manager.hear(lambda heard: "STATUS=0 of 0 bays busy; unaccounted 0" in heard)
    systemd.stopping()
    await manager.hear(lambda heard: "STOPPING=1" in heard)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_journal_that_hangs_starves_the_watchdog_and_one_without_room_does_not(manager: Manager) -> None:
    writer = Writer()
    task = asyncio.create_task(manager.systemd(watchdog_s=0.15).run(journal(writer)))
    writer.error = TransientError("no room", "make some")
    await manager.hear(lambda heard: heard.count("WATCHDOG=1") >= 3)
    writer.answers.clear()
    asked = writer.asked
    await manager.hear(lambda _: writer.asked > asked)
    fed = manager.heard.count("WATCHDOG=1")
    await asyncio.sleep(QUIET_S)
    assert manager.listen().count("WATCHDOG=1") == fed
    task.cancel()
    await asyncio.wait([task])


async def test_the_watchdog_is_fed_well_within_its_time(manager: Manager) -> None:
    """Whatever the machine: the pause between two signs is a third of the time that systemd waits."""
    writer = Writer()
    task = asyncio.create_task(manager.systemd(watchdog_s=600).run(journal(writer)))
    await manager.hear(lambda heard: "WATCHDOG=1" in heard)
    await asyncio.sleep(QUIET_S)
    assert manager.listen().count("WATCHDOG=1") == 1
    task.cancel()
    await asyncio.wait([task])


def test_a_reload_is_told_from_its_beginning_to_its_end_even_if_it_fails(manager: Manager) -> None:
    systemd = manager.systemd()
    systemd.while_reloading(lambda: manager.heard.append("(reloading)"))
    assert [line.split("=")[0] for line in manager.listen()] == ["(reloading)", "RELOADING", "MONOTONIC_USEC", "READY"]
    manager.heard.clear()

    def fails() -> None:
        raise ValueError("unusable")

    with pytest.raises(ValueError, match="unusable"):
        systemd.while_reloading(fails)
    assert manager.listen()[-1] == "READY=1"
    manager.heard.clear()
    systemd.stopping()
    systemd.while_reloading(fails)
    assert "RELOADING=1" not in manager.listen(), "who stops does not begin anything"


def test_the_status_line_says_what_waits_and_stays_one_line() -> None:
    bays = [
        {"bay": "folder-CAM1", "state": "uploading", "reason": None},
        {"bay": "folder-CAM2", "state": "waiting", "reason": "store: refused\nSTATUS=all is well\x1b[31m"},
    ]
    counts = {"unaccounted": 2, "sole_copy": 5, "awaiting_return": 0}
    alerts = [{"code": "chain", "severity": "critical"}, {"code": "paused", "severity": "warning"}]
    line = status_line(sample(bays=bays, counts=counts, alerts=alerts))
    assert line == (
        "1 of 2 bays busy; unaccounted 2; alerts: chain; sole_copy 5; "
        "folder-CAM2: waiting (store: refused?STATUS=all is well?[31m)"
    )
    many = [{"bay": f"folder-CAM{number}", "state": "attention", "reason": "why"} for number in range(500)]
    line = status_line(sample(bays=many))
    assert len(line) == STATUS_LIMIT_CHARACTERS
    assert line.endswith("…")

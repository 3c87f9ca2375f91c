"""Tells systemd how the daemon is: serving, alive, reloading, stopping, and in one line what it does.

The protocol (sd_notify) is one datagram of `NAME=value` lines to the socket that $NOTIFY_SOCKET names. Where
there is none, nothing is sent. The watchdog is fed by the loop and the journal's writer together and by nothing
else: without either of them the daemon can do nothing, while a camera or a store that hangs is told of, not died of.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import structlog

from dockd.errors import TransientError
from dockd.journal.journal import Journal

log = structlog.get_logger()

STATUS_EVERY_S: Final = 1.0
STATUS_LIMIT_CHARACTERS: Final = 400
FEEDS_PER_TIMEOUT: Final = 3
BUSY: Final = frozenset({"identifying", "offloading", "uploading", "confirming", "wiping"})


class Systemd:
    """The service manager that started this process, if one did.

    `address` is the socket's, `watchdog_s` how long it waits for a sign of life, if it does.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address is not None and address.startswith("@") else address
        self.watchdog_s = watchdog_s
        self._ready_told = False
        self._stopping = False
        self._status = ""
        self._status_told = ""
        self._socket: socket.socket | None = None
        if address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """What the environment says of the service manager; the watchdog only if it is meant for this process."""
        found = os.environ if environment is None else environment
        address = found.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")) or len(address) < 2:
            return cls()
        return cls(address, _watchdog_s(found))

    def send(self, *lines: str) -> bool:
        """Send one datagram; False if it was not taken. Never waits and never raises: the work goes on without it."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)  # type: ignore[arg-type] # set with it
        except OSError as error:
            log.debug("systemd_not_told", error=str(error))
            return False
        return True

    def close(self) -> None:
        """Let go of the socket; nothing is sent from then on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # --- what the daemon says ------------------------------------------------------------------------

    def take(self, status: dict[str, Any]) -> None:
        """A status of the dock; systemd is told of it soon, if it says something new."""
        self._status = status_line(status)

    def stopping(self) -> None:
        """The daemon takes nothing new from now on."""
        self._stopping = True
        self.send("STOPPING=1", "STATUS=stopping")

    def while_reloading(self, reload: Callable[[], None]) -> None:
        """Run `reload`, and tell of its beginning and its end."""
        if self._stopping:
            return
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            reload()
        finally:
            self._ready_told = self.send("READY=1")

    async def run(self, journal: Journal) -> None:
        """Say that the daemon serves, then what it does and that it lives, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell())
            if self.watchdog_s is not None:
                group.create_task(self._feed(journal, self.watchdog_s))

    async def _tell(self) -> None:
        while self._socket is not None:
            if not self._ready_told:
                self._ready_told = self.send("READY=1")
            if self._status != self._status_told and not self._stopping and self.send(f"STATUS={self._status}"):
                self._status_told = self._status
            await asyncio.sleep(STATUS_EVERY_S)

    async def _feed(self, journal: Journal, timeout_s: float) -> None:
        while True:
            try:
                await journal.run(lambda _: None)
            except TransientError as error:
                # No room, or another program holds the lock: the writer answered, so it lives.
                log.debug("journal_waits", error=error.message)
            self.send("WATCHDOG=1")
            await asyncio.sleep(timeout_s / FEEDS_PER_TIMEOUT)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """For how long systemd waits for a sign of life of this process; None if it does not."""
    timeout, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not timeout.isdecimal() or int(timeout) == 0 or (process and process != str(os.getpid())):
        return None
    return int(timeout) / 1_000_000


def status_line(status: Mapping[str, Any]) -> str:
    """The dock's status in one line, for `systemctl status`."""
    bays, counts = status["bays"], status["counts"]
    busy = sum(bay["state"] in BUSY for bay in bays)
    parts = [f"{busy} of {len(bays)} bays busy", f"unaccounted {counts['unaccounted']}"]
    parts += [f"{code} {counts[code]}" for code in ("sole_copy", "awaiting_return") if counts[code]]
    for state in ("attention", "waiting"):
        parts += [f"{bay['bay']}: {state} ({bay['reason']})" for bay in bays if bay["state"] == state]
    worst = [alert["code"] for alert in status["alerts"] if alert["severity"] == "critical"]
    if worst:
        parts.insert(2, f"alerts: {', '.join(sorted(set(worst)))}")
    line = "; ".join(parts)
    # One line, whatever a camera is called or an error says.
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= STATUS_LIMIT_CHARACTERS else f"{line[: STATUS_LIMIT_CHARACTERS - 1]}…"

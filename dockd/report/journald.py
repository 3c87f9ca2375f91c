"""The log as systemd's journal likes it: one datagram per event, with fields that journalctl can be asked for.

`journalctl DOCKD_BAY=folder-CAM1` then gives what happened to one bay. Used only where standard error leads to the
journal anyway; what the journal does not take goes there instead. A log that cannot be written stops nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import threading
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

import structlog

SOCKET: Final = "/run/systemd/journal/socket"
VALUE_LIMITS_BYTES: Final = (48 * 1024, 1024)
"""How much of each value is sent: so that a traceback is whole; and if that is too much for one datagram, of all."""
FIELD_LIMIT: Final = 64
PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_OWN: Final = frozenset({"event", "level", "timestamp", "exception"})
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Z0-9_]")


def stderr_is_journal(environment: Mapping[str, str] | None = None, fd: int = 2) -> bool:
    """Whether standard error is the stream that systemd connected to its journal."""
    device, _, inode = (os.environ if environment is None else environment).get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


class JournalSink:
    """A structlog processor that takes events to the journal, and lets pass only what the journal did not take."""

    def __init__(self, address: str = SOCKET) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._lock = threading.Lock()
        self._dropped = 0

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Send one event; raises DropEvent once nothing is left to do with it."""
        with self._lock:
            sent = self._send(event)
        if sent:
            raise structlog.DropEvent
        return event

    def _send(self, event: Mapping[str, Any]) -> bool:
        fields = fields_of(event)
        if self._dropped:
            fields.append(("DOCKD_EVENTS_DROPPED", str(self._dropped)))
        for limit_bytes in VALUE_LIMITS_BYTES:
            try:
                self._socket.sendto(datagram(fields, limit_bytes), self._address)
            except BlockingIOError:
                # The journal hangs. Standard error leads to it as well and would block the whole daemon.
                self._dropped += 1
                return True
            except OSError as error:
                if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                    return False
                continue
            self._dropped = 0
            return True
        return False

    def close(self) -> None:
        """Let go of the socket."""
        with contextlib.suppress(OSError):
            self._socket.close()


def fields_of(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The journal's fields for one event."""
    own = {name: _text(value) for name, value in event.items() if name not in _OWN}
    fields = [
        ("MESSAGE", _message(event, own)),
        ("PRIORITY", str(PRIORITIES.get(str(event.get("level")), 6))),
        ("SYSLOG_IDENTIFIER", "dockd"),
        ("DOCKD_EVENT", _text(event.get("event", ""))),
    ]
    fields += [(f"DOCKD_{_NOT_IN_A_NAME.sub('_', name.upper())}"[:64], value) for name, value in own.items()]
    return fields[:FIELD_LIMIT]


def _message(event: Mapping[str, Any], own: Mapping[str, str]) -> str:
    """What a person reads: what happened, then what is known of it."""
    words = _text(event.get("event", "")).replace("_", " ")
    known = " ".join(f"{name}={value}" for name, value in own.items() if name != "hint")
    text = f"{words}: {known}" if known else words
    if "hint" in own:
        text = f"{text} [{own['hint']}]"
    return f"{text}\n{event['exception']}" if event.get("exception") else text


def _text(value: Any) -> str:
    try:
        return value if isinstance(value, str) else str(value)
    except Exception as error:  # noqa: BLE001 - whatever a value's own code raises: the log stops nothing
        return f"<{type(value).__name__}: {type(error).__name__}>"


def datagram(fields: Iterable[tuple[str, str]], limit_bytes: int) -> bytes:
    """The journal's native form: `NAME=value`, and with its length before it what holds a newline."""
    parts = []
    for name, value in fields:
        raw = value.encode("utf-8", "replace")[:limit_bytes]
        if b"\n" in raw:
            parts.append(name.encode() + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n")
        else:
            parts.append(name.encode() + b"=" + raw + b"\n")
    return b"".join(parts)

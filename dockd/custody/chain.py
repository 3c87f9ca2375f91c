"""The hash chain: each record names the SHA-256 of the line before it.

A record is one line of canonical JSON (RFC 8785). Pure functions; where lines are kept is not known here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import rfc8785

from dockd.events import Event

GENESIS = "0" * 64
"""`prev` of a chain's first record."""

CHAIN_NAME_DIGITS = 16
LARGEST_NUMBER = 2**53


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What the kernel says of its clock: synchronised or not, by what, and how far it may be off."""

    synchronised: bool
    source: str
    uncertainty_ms: int | None

    def payload(self) -> dict[str, Any]:
        """The `clock` object of a record."""
        return {
            "source": self.source,
            "synchronised": self.synchronised,
            "uncertainty_ms": self.uncertainty_ms,
        }


def rfc3339(moment: datetime) -> str:
    """`moment` in UTC with milliseconds, as RFC 3339."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line_digest(line: str) -> str:
    """SHA-256 of a record's line without its newline, in hex."""
    return hashlib.sha256(line.encode()).hexdigest()


def make_line(*, seq: int, prev: str, time: datetime, clock: ClockReading, dock: str, event: Event) -> str:
    """The canonical line of one record, without a newline."""
    record: dict[str, Any] = {
        **{name: _exact(value) for name, value in event.payload().items()},
        "seq": seq,
        "prev": prev,
        "time": rfc3339(time),
        "clock": clock.payload(),
        "dock": dock,
        "event": event.event,
    }
    return rfc8785.dumps(record).decode()


def _exact(value: Any) -> Any:
    """JSON has no exact numbers beyond 2^53: a size that only a hostile file system can claim becomes text."""
    return str(value) if isinstance(value, int) and abs(value) >= LARGEST_NUMBER else value


def chain_name(first_line: str) -> str:
    """A chain's name: the first 16 hex digits of the SHA-256 of its first line."""
    return line_digest(first_line)[:CHAIN_NAME_DIGITS]


def _is_canonical(record: dict[str, Any], line: str) -> bool:
    try:
        return rfc8785.dumps(record).decode() == line
    except (rfc8785.CanonicalizationError, RecursionError):
        return False


@dataclass(frozen=True, slots=True)
class Break:
    """The first place at which lines are no chain: which record, and what is wrong there."""

    seq: int
    what: str


def find_break(lines: Iterable[str], *, seq: int = 1, prev: str = GENESIS) -> Break | None:
    """The first break in `lines`, which should begin with number `seq` after a line of digest `prev`."""
    expected = seq
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return Break(expected, "the line is not JSON")
        # `true` equals 1 for Python.
        if not isinstance(record, dict) or type(record.get("seq")) is not int or record["seq"] != expected:
            return Break(expected, f"number {expected} was expected")
        if record.get("prev") != prev:
            return Break(expected, "it does not name the line before it")
        if not _is_canonical(record, line):
            return Break(expected, "the line is not canonical JSON")
        prev = line_digest(line)
        expected += 1
    return None

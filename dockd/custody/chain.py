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


# --- reading -----------------------------------------------------------------------------------------


class BadLineError(ValueError):
    """A line is not the record that belongs in its place: what is wrong, and where it can be told, what was found."""

    def __init__(self, what: str, expected: str = "", found: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found


class _NotPlainError(ValueError):
    """JSON with numbers of which the standard library's writing is not known to be canonical."""


def _plain_integer(digits: str) -> int:
    number = int(digits) if len(digits) <= 17 else LARGEST_NUMBER
    if abs(number) >= LARGEST_NUMBER:
        raise _NotPlainError
    return number


def _no_plain_number(text: str) -> float:
    raise _NotPlainError(text)


_reader = json.JSONDecoder(
    parse_int=_plain_integer, parse_float=_no_plain_number, parse_constant=_no_plain_number
).decode
_writer = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


def _has_ascii_keys(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(str.isascii, value)) and all(map(_has_ascii_keys, value.values()))
    return not isinstance(value, list) or all(map(_has_ascii_keys, value))


def _read_plain(line: str) -> Any:
    """The value of a line that is surely canonical; None if that takes a closer look.

    Where numbers are whole and small and keys are ASCII, the standard library writes what RFC 8785 asks for, and
    several times as fast as rfc8785 does: the two differ in floats and in the order of keys beyond ASCII alone.
    """
    try:
        value = _reader(line)
        # A line without a letter beyond ASCII that is written back the same has no such key either.
        if _writer(value) == line and (line.isascii() or _has_ascii_keys(value)):
            line.encode()
            return value
    except (ValueError, RecursionError, TypeError):
        # A journal that was tampered with may even hold bytes; what is wrong with a line is for others to say.
        pass
    return None


def _is_canonical(record: dict[str, Any], line: str) -> bool:
    try:
        return rfc8785.dumps(record).decode() == line
    except (rfc8785.CanonicalizationError, RecursionError):
        return False


def read_line(line: str, *, seq: int, prev: str) -> dict[str, Any]:
    """The record of a line that should have this number and name the digest before it; raises BadLineError."""
    record = _read_plain(line)
    plain = record is not None
    if not plain:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise BadLineError("the line is not JSON", "one JSON object", repr(line[:60])) from None
    # `true` equals 1 for Python.
    if not isinstance(record, dict) or type(record.get("seq")) is not int or record["seq"] != seq:
        found = record.get("seq") if isinstance(record, dict) else "no object"
        raise BadLineError(f"number {seq} was expected", f"seq {seq}", f"seq {found!r:.40}")
    if record.get("prev") != prev:
        raise BadLineError("it does not name the line before it", f"prev {prev}", f"prev {record.get('prev')!r:.80}")
    if not plain and not _is_canonical(record, line):
        raise BadLineError("the line is not canonical JSON", "the one way of RFC 8785 to write it", "another one")
    return record


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
            read_line(line, seq=expected, prev=prev)
        except BadLineError as bad:
            return Break(expected, bad.what)
        prev = line_digest(line)
        expected += 1
    return None

"""The file into which a camera writes the time of its own clock when it is docked: what it says. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, Literal

LIMIT_BYTES: Final = 256
"""How much of the file is read: a line is all that is asked for."""

FILE_TIME_RESOLUTION_MS: Final = 2000
"""How coarse a file's time is where it may be FAT's."""

_TIME: Final = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?: ?(?:([Zz])|([+-])(\d\d):(\d\d)))?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TimeFile:
    """The file's beginning, and its own time."""

    content: bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Said:
    """A time that a camera's clock showed; `resolution_ms` is how finely it is told.

    `time_zone_known` is False for a file's time that may be local time taken for UTC.
    """

    time_ns: int
    resolution_ms: int
    source: Literal["content", "mtime"]
    time_zone_known: bool


def said(file: TimeFile, *, utc_times: bool) -> Said:
    """What the file says: its first line where that is a time (UTC unless it names an offset), else its own time.

    `utc_times`: its file system is known to keep UTC.
    """
    told = _first_line(file.content)
    if told is not None:
        return told
    return Said(file.mtime_ns, 1 if utc_times else FILE_TIME_RESOLUTION_MS, "mtime", utc_times)


def _first_line(content: bytes) -> Said | None:
    line = content.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0].strip(b" \t\r\0")
    found = _TIME.fullmatch(line)
    if found is None:
        return None
    sign, hours, minutes = found[9], int(found[10] or 0), int(found[11] or 0)
    if hours > 23 or minutes > 59:
        return None
    offset = timedelta(hours=hours, minutes=minutes) * (-1 if sign == b"-" else 1)
    try:
        moment = datetime(*(int(found[number]) for number in range(1, 7)), tzinfo=timezone(offset))  # type: ignore[misc, arg-type]
    except ValueError:
        return None
    fraction = found[7] or b""
    # No camera's clock is told finer than a millisecond by a file.
    resolution_ms = 10 ** (3 - min(3, len(fraction)))
    time_ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1000 + int(fraction.ljust(9, b"0"))
    return Said(time_ns, resolution_ms, "content", True)

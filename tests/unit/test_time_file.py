"""What a camera's time file says: a time in its first line, or when it was written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockd.cameras.time_file import Said, TimeFile, said

NOON_NS = round(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) * 10**9
SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS


def told(content: bytes, *, utc_times: bool = True) -> Said:
    return said(TimeFile(content, 5), utc_times=utc_times)


@pytest.mark.parametrize(
    ("content", "time_ns", "resolution_ms"),
    [
        (b"2026-03-01 12:00:00", NOON_NS, 1000),
        (b"2026-03-01T12:00:00Z", NOON_NS, 1000),
        (b"2026-03-01t12:00:00z\r\n", NOON_NS, 1000),
        (b"2026-03-01T12:00:00+02:00", NOON_NS - 2 * HOUR_NS, 1000),
        (b"2026-03-01 12:00:00 -05:30\n", NOON_NS + 11 * HOUR_NS // 2, 1000),
        (b"2026-03-01T12:00:00.5Z", NOON_NS + SECOND_NS // 2, 100),
        (b"2026-03-01T12:00:00.123456789Z", NOON_NS + 123_456_789, 1),
        (b"\xef\xbb\xbf2026-03-01 12:00:00\r\nserial 7\r\n", NOON_NS, 1000),
        (b"\n\n  2026-03-01 12:00:00  \0\0\0", NOON_NS, 1000),
        (b"1969-12-31T23:59:59Z", -SECOND_NS, 1000),
    ],
)
def test_the_first_line_is_a_time(content: bytes, time_ns: int, resolution_ms: int) -> None:
    assert told(content, utc_times=False) == Said(time_ns, resolution_ms, "content", True)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"12:00",
        b"2026-03-01",
        b"20260301T120000Z",
        b"2026-13-01 12:00:00",
        b"2026-02-30 12:00:00",
        b"2026-03-01 24:00:00",
        b"2026-03-01 12:00:60",
        b"0000-00-00 00:00:00",
        b"2026-03-01 12:00:00 +25:00",
        b"2026-03-01 12:00:00 +01:60",
        b"2026-03-01 12:00:00 PM",
        b"time: 2026-03-01 12:00:00",
        "٢٠٢٦-03-01 12:00:00".encode(),
        b"\xff" * 256,
    ],
)
def test_what_is_no_time_leaves_the_files_own(content: bytes) -> None:
    assert told(content) == Said(5, 1, "mtime", True)
    assert told(content, utc_times=False) == Said(5, 2000, "mtime", False)


@given(
    st.datetimes(),
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    st.sampled_from(["T", " "]),
)
def test_any_time_is_read_as_it_was_meant(moment: datetime, zone: timezone, between: str) -> None:
    meant = moment.replace(year=1900 + moment.year % 300, day=min(moment.day, 28), tzinfo=zone)
    found = told(meant.isoformat(between).encode())
    assert found.source == "content"
    assert found.time_ns == (meant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


@given(st.binary(max_size=60))
def test_nothing_breaks_it(content: bytes) -> None:
    assert told(content).source in ("content", "mtime")

"""The hash chain: canonical lines, names, and any change to any line found at the first line that is wrong."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import rfc8785
from event_samples import HEAD, sample
from journal_desk import DOCK, STEPPED

from dockd.custody.chain import (
    GENESIS,
    Break,
    ClockReading,
    chain_name,
    find_break,
    line_digest,
    make_line,
    rfc3339,
)
from dockd.events import Event, RecordingFound, all_events
from dockd.identity import name_fields

NOW = datetime(2026, 3, 1, 12, 0, 0, 123_999, UTC)
CLOCK = ClockReading(synchronised=True, source="kernel", uncertainty_ms=7)


def line(seq: int = 1, prev: str = GENESIS, event: Event = STEPPED, clock: ClockReading = CLOCK) -> str:
    return make_line(seq=seq, prev=prev, time=NOW, clock=clock, dock=DOCK, event=event)


def chain(length: int, event: Event = STEPPED) -> list[str]:
    lines: list[str] = []
    for seq in range(1, length + 1):
        prev = hashlib.sha256(lines[-1].encode()).hexdigest() if lines else "0" * 64
        lines.append(line(seq, prev, event))
    return lines


def canonical(record: dict[str, Any]) -> str:
    """RFC 8785 for records without floats and with ASCII keys, by the standard library."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("kind", all_events(), ids=lambda kind: kind.event)
def test_a_line_is_the_canonical_json_of_envelope_and_event(kind: type[Event]) -> None:
    event = sample(kind)
    made = line(3, "e" * 64, event)
    assert made == canonical(
        {
            **event.payload(),
            "seq": 3,
            "prev": "e" * 64,
            "time": "2026-03-01T12:00:00.123Z",
            "clock": {"synchronised": True, "source": "kernel", "uncertainty_ms": 7},
            "dock": "calgary/district-4/dock-07",
            "event": kind.event,
        }
    )
    assert "\n" not in made


def test_a_clock_that_cannot_be_vouched_for_says_so() -> None:
    told = json.loads(line(clock=ClockReading(synchronised=False, source="unknown", uncertainty_ms=None)))
    assert told["clock"] == {"synchronised": False, "source": "unknown", "uncertainty_ms": None}


def test_a_name_that_is_not_utf_8_stands_in_a_line_as_text_and_hex() -> None:
    raw = b'DCIM/\xff\n\xe2\x80\xa8"one\x00.mp4'
    event = RecordingFound.model_validate(
        {"recording": "r", "camera": "c", "generation": 1, "size": 1, "mtime": "m", **name_fields("path", raw)}
    )
    made = line(event=event)
    assert bytes.fromhex(json.loads(made)["path_hex"]) == raw
    assert "\n" not in made
    assert find_break([made]) is None


def test_a_digest_is_sha256_of_the_line_without_its_newline() -> None:
    made = line()
    assert line_digest(made) == hashlib.sha256(made.encode("utf-8")).hexdigest()
    assert chain_name(made) == line_digest(made)[:16]
    assert re.fullmatch(r"[0-9a-f]{16}", chain_name(made))


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOW, "2026-03-01T12:00:00.123Z"),
        (datetime(2026, 3, 1, 12, 0, tzinfo=timezone(timedelta(hours=-7))), "2026-03-01T19:00:00.000Z"),
        (datetime(1970, 1, 1, tzinfo=UTC), "1970-01-01T00:00:00.000Z"),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC), "9999-12-31T23:59:59.999Z"),
        # A camera whose clock was never set, on a file system that can say so.
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
        (datetime(999, 12, 31, tzinfo=UTC), "0999-12-31T00:00:00.000Z"),
    ],
)
def test_times_are_rfc_3339_in_utc_with_milliseconds(moment: datetime, text: str) -> None:
    assert rfc3339(moment) == text


def test_a_whole_chain_has_no_break_from_wherever_it_is_read() -> None:
    lines = chain(6)
    assert find_break([]) is None
    assert find_break(lines) is None
    for start in range(1, 6):
        assert find_break(lines[start:], seq=start + 1, prev=line_digest(lines[start - 1])) is None


LENGTH = 5
Spoil = Callable[[list[str], int], None]


def changed(lines: list[str], at: int) -> None:
    lines[at] = canonical(json.loads(lines[at]) | {"dock": "another"})


def backdated(lines: list[str], at: int) -> None:
    lines[at] = canonical(json.loads(lines[at]) | {"time": "2026-02-28T12:00:00.123Z"})


def removed(lines: list[str], at: int) -> None:
    del lines[at]


def repeated(lines: list[str], at: int) -> None:
    lines.insert(at, lines[at - 1])


def swapped(lines: list[str], at: int) -> None:
    lines[at], lines[at + 1] = lines[at + 1], lines[at]


def inserted(lines: list[str], at: int) -> None:
    lines.insert(at, line(at + 1, line_digest(lines[at - 1]) if at else GENESIS))
    lines[at] = canonical(json.loads(lines[at]) | {"step_ms": 99})


# What was done, where, and the first record that must be named. A record that was itself rewritten with the
# right `prev` is betrayed by the one after it.
SPOILED: list[tuple[Spoil, int, int]] = [
    *[(changed, at, at + 2) for at in range(LENGTH - 1)],
    *[(backdated, at, at + 2) for at in range(LENGTH - 1)],
    *[(removed, at, at + 1) for at in range(LENGTH - 1)],
    *[(repeated, at, at + 1) for at in range(1, LENGTH)],
    *[(swapped, at, at + 1) for at in range(LENGTH - 1)],
    *[(inserted, at, at + 2) for at in range(LENGTH)],
]


@pytest.mark.parametrize(("spoil", "at", "named"), SPOILED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_the_first_break_is_named(spoil: Spoil, at: int, named: int) -> None:
    lines = chain(LENGTH)
    spoil(lines, at)
    found = find_break(lines)
    assert found is not None
    assert found.seq == named
    assert found.what


def test_of_two_breaks_the_first_is_named() -> None:
    lines = chain(8)
    removed(lines, 5)
    changed(lines, 1)
    found = find_break(lines)
    assert found is not None
    assert found.seq == 3


def test_a_change_of_the_last_line_shows_in_its_digest_only() -> None:
    lines = chain(3)
    head = line_digest(lines[-1])
    changed(lines, 2)
    assert find_break(lines) is None
    assert line_digest(lines[-1]) != head


def test_a_part_of_a_chain_taken_for_another_part_is_a_break() -> None:
    lines = chain(4)
    assert find_break(lines[1:], seq=2, prev="f" * 64) == Break(2, "it does not name the line before it")
    assert find_break(lines, seq=2) == Break(2, "number 2 was expected")
    other = chain(3, sample(RecordingFound))
    assert find_break(lines[:2] + other[2:]) == Break(3, "it does not name the line before it")


def test_a_first_line_that_names_a_line_before_it_is_a_break() -> None:
    assert find_break([line(1, prev="e" * 64)]) == Break(1, "it does not name the line before it")


@pytest.mark.parametrize(
    "spoiled",
    [
        "",
        "{",
        "null",
        "[]",
        '"text"',
        "{}",
        " " + line(),
        line() + " ",
        line() + "\n",
        line()[:-1],
        line().replace('"seq":1', '"seq":1.0'),
        line().replace('"seq":1', '"seq":"1"'),
        line().replace('"seq":1', '"seq":true'),
        line().replace(",", ", "),
        line().replace('"dock":', '"dock":"x","dock":'),
        line().replace("calgary", "c\\u0061lgary"),
        # What Python reads as JSON, and what no canonical line can hold.
        line().replace('"step_ms":5', '"step_ms":NaN'),
        line().replace('"step_ms":5', '"step_ms":1e999'),
        line().replace('"step_ms":5', '"step_ms":9007199254740993'),
        line().replace("calgary", "\\ud800"),
        line().replace('"step_ms":5', '"step_ms":' + "[" * 100_000 + "]" * 100_000),
    ],
    ids=lambda text: repr(text[:12] + "…" + text[-40:]),
)
def test_what_is_no_canonical_line_is_a_break_and_never_a_crash(spoiled: str) -> None:
    found = find_break([spoiled])
    assert found is not None
    assert found.seq == 1


@pytest.mark.parametrize("nested", [False, True])
def test_keys_beyond_ascii_stand_in_the_order_of_utf_16(nested: bool) -> None:
    """As RFC 8785 asks for; the standard library would order them by code point."""
    keys = {"\U0001f600": 1, "\uff5e": 2}
    record = json.loads(line()) | ({"list": [keys]} if nested else keys)
    assert find_break([rfc8785.dumps(record).decode()]) is None
    assert find_break([canonical(record)]) == Break(1, "the line is not canonical JSON")


def test_the_head_of_a_chain_is_a_number_and_a_digest() -> None:
    assert HEAD.model_dump() == {"chain": "0123456789abcdef", "seq": 7, "sha256": "d" * 64}

"""Chains of any events: canonical by an independent check, and no change to them stays unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import rfc8785
from event_samples import sample
from hypothesis import given
from hypothesis import strategies as st

from dockd.custody.chain import GENESIS, ClockReading, _read_plain, find_break, line_digest, make_line, rfc3339
from dockd.events import ClockStepped, Event, RecordingAnomaly, RecordingFound, all_events
from dockd.identity import name_fields

MOMENTS = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=UTC)
)
RAW_NAMES = st.one_of(st.binary(max_size=20), st.text(max_size=10).map(lambda text: text.encode(errors="ignore")))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# A sparse file may claim any size up to 2^63 - 1.
SIZES = st.one_of(st.integers(0, 2**53), st.sampled_from([2**53 + 1, 2**60, 2**63 - 1]))


def found(raw: bytes, size: int) -> Event:
    return RecordingFound.model_validate(
        {"recording": "r", "camera": "c", "generation": 1, "size": size, "mtime": "m", **name_fields("path", raw)}
    )


def anomaly(detail: str) -> Event:
    return RecordingAnomaly(
        recording="r", camera="c", path="p", generation=1, anomaly="a", detail=detail, blocks_wipe=True
    )


EVENTS = st.one_of(
    st.sampled_from([sample(kind) for kind in all_events()]),
    st.builds(found, RAW_NAMES, st.integers(0, 2**53)),
    st.builds(anomaly, TEXTS),
    st.builds(ClockStepped, step_ms=st.integers(-(2**53) + 1, 2**53 - 1)),
)
CLOCKS = st.builds(
    ClockReading,
    synchronised=st.booleans(),
    source=st.sampled_from(["kernel", "unknown"]),
    uncertainty_ms=st.one_of(st.none(), st.integers(0, 10**6)),
)


def chain_of(events: list[Event], moments: list[datetime], clock: ClockReading) -> list[str]:
    lines: list[str] = []
    for seq, event in enumerate(events, start=1):
        prev = hashlib.sha256(lines[-1].encode()).hexdigest() if lines else GENESIS
        moment = moments[seq % len(moments)]
        lines.append(make_line(seq=seq, prev=prev, time=moment, clock=clock, dock="a/b/c", event=event))
    return lines


CHAINS = st.builds(
    chain_of, st.lists(EVENTS, min_size=1, max_size=8), st.lists(MOMENTS, min_size=1, max_size=3), CLOCKS
)


@given(CHAINS)
def test_every_line_is_canonical_and_one_line(lines: list[str]) -> None:
    for line in lines:
        record = json.loads(line)
        assert line == json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert "\n" not in line
        assert {"seq", "prev", "time", "clock", "dock", "event"} <= set(record)
    assert find_break(lines) is None


@given(SIZES)
def test_a_file_of_any_size_can_be_recorded(size: int) -> None:
    line = make_line(
        seq=1,
        prev=GENESIS,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        clock=ClockReading(True, "kernel", 1),
        dock="d",
        event=found(b"one", size),
    )
    assert find_break([line]) is None


@given(MOMENTS)
def test_a_time_of_any_year_is_rfc_3339(moment: datetime) -> None:
    text = rfc3339(moment)
    assert len(text) == len("2026-03-01T12:00:00.000Z")
    assert datetime.fromisoformat(text) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@given(CHAINS, st.data())
def test_no_edit_but_at_the_very_end_stays_unseen(lines: list[str], data: st.DataObject) -> None:
    """One byte changed, or lines cut out, put in, or put elsewhere: the break is not after the edit's successor."""
    at = data.draw(st.integers(0, len(lines) - 1))
    what = data.draw(st.sampled_from(["change", "remove", "repeat", "move", "insert"]))
    spoiled = list(lines)
    if what == "change":
        place = data.draw(st.integers(0, len(lines[at]) - 1))
        letter = data.draw(st.characters(exclude_categories=["Cs"]))
        spoiled[at] = lines[at][:place] + letter + lines[at][place + 1 :]
    elif what == "remove":
        del spoiled[at]
    elif what == "repeat":
        spoiled.insert(data.draw(st.integers(0, len(lines))), lines[at])
    elif what == "move":
        spoiled.insert(data.draw(st.integers(0, len(lines) - 1)), spoiled.pop(at))
    else:
        spoiled.insert(at, data.draw(st.sampled_from(["", "{}", lines[at] + " ", "NaN", "[1]"])))
    found_break = find_break(spoiled)
    first = next((i for i, pair in enumerate(zip(lines, spoiled, strict=False)) if pair[0] != pair[1]), len(lines))
    if first >= len(spoiled):
        # Nothing but the tail is missing: that shows in the head alone.
        assert found_break is None
        assert spoiled == lines or line_digest(lines[-1]) != (line_digest(spoiled[-1]) if spoiled else GENESIS)
    elif first == len(spoiled) - 1 and found_break is None:
        # The last line was rewritten as another whole one: that, too, shows in the head.
        assert line_digest(spoiled[-1]) != line_digest(lines[-1])
    else:
        assert found_break is not None
        assert found_break.seq in (first + 1, first + 2)


# --- the fast way to tell what is canonical ----------------------------------------------------------

# The one of these that comes first in UTF-16 comes last among code points.
KEYS = st.one_of(st.text(max_size=3), st.sampled_from(["\uff5e", "\U0001f600"]))
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**60), 2**60),
        st.integers(2**53 - 3, 2**53 + 3),
        st.floats(),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
WRITERS = st.sampled_from(
    [
        lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
        lambda value: json.dumps(value, sort_keys=True, separators=(",", ":")),
        lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
        lambda value: json.dumps(value, sort_keys=True),
    ]
)


@given(st.dictionaries(KEYS, VALUES, max_size=4), WRITERS)
def test_the_fast_way_accepts_only_what_rfc_8785_writes(fields: dict[str, Any], write: Callable[[Any], str]) -> None:
    line = write(fields | {"seq": 1, "prev": GENESIS})
    if _read_plain(line) is not None:
        assert rfc8785.dumps(json.loads(line)).decode() == line


@given(st.dictionaries(st.text("abc_", max_size=3), st.one_of(TEXTS, st.integers(-(2**53) + 1, 2**53 - 1))))
def test_the_fast_way_takes_all_that_a_dock_writes(fields: dict[str, Any]) -> None:
    line = rfc8785.dumps(fields | {"seq": 1, "prev": GENESIS}).decode()
    assert _read_plain(line) == json.loads(line)


@given(st.text(max_size=60))
def test_no_line_makes_it_stumble(text: str) -> None:
    found = find_break([text])
    assert found is not None
    assert found.seq == 1

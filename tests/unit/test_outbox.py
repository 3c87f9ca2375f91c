"""The cursor into the chain: where the event stream stands, over restarts and over the borders of chains."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from journal_desk import STARTED, STEPPED, Desk, desk_in

from dockd.report import outbox
from dockd.report.outbox import Cursor


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as made:
        yield made


def fill(desk: Desk, count: int) -> None:
    for _ in range(count):
        desk.do(lambda tx: tx.append(STEPPED))


def everything(desk: Desk, cursor: Cursor, limit: int = 3) -> list[outbox.Queued]:
    found: list[outbox.Queued] = []
    while batch := desk.do(partial(outbox.events_after, cursor=cursor, limit=limit)):
        found += batch
        cursor = batch[-1].cursor
    return found


def test_a_stream_begins_with_the_first_record_of_the_present_chain(desk: Desk) -> None:
    fill(desk, 7)
    cursor = desk.do(outbox.load_cursor)
    head = desk.do(lambda tx: tx.head)
    found = everything(desk, cursor)
    assert [queued.record["seq"] for queued in found] == list(range(1, head.seq + 1))
    assert {queued.chain for queued in found} == {head.chain}
    assert desk.do(lambda tx: outbox.depth(tx, cursor)) == head.seq


def test_the_cursor_is_kept_and_what_comes_after_it_is_given(desk: Desk) -> None:
    fill(desk, 5)
    last = everything(desk, desk.do(outbox.load_cursor))[-1].cursor
    desk.do(lambda tx: outbox.save_cursor(tx, last))
    assert desk.do(outbox.load_cursor) == last
    assert everything(desk, last) == []
    assert desk.do(lambda tx: outbox.depth(tx, last)) == 0
    fill(desk, 2)
    assert [queued.record["seq"] for queued in everything(desk, last)] == [last.seq + 1, last.seq + 2]
    assert desk.do(lambda tx: outbox.depth(tx, last)) == 2


def test_a_new_chain_comes_after_the_old_one(desk: Desk) -> None:
    fill(desk, 3)
    middle = everything(desk, desk.do(outbox.load_cursor))[1].cursor
    old = desk.do(lambda tx: tx.head)
    desk.do(lambda tx: tx.begin_chain(STARTED, acknowledged=False))
    fill(desk, 2)
    new = desk.do(lambda tx: tx.head)
    found = everything(desk, middle, limit=2)
    wanted = [(old.chain, seq) for seq in range(middle.seq + 1, old.seq + 1)] + [(new.chain, seq) for seq in (1, 2, 3)]
    assert [(queued.chain, queued.record["seq"]) for queued in found] == wanted
    assert desk.do(lambda tx: outbox.depth(tx, middle)) == len(wanted)
    assert desk.do(lambda tx: outbox.find_chain(tx, None)) == (2, new.chain, 3)
    assert desk.do(lambda tx: outbox.find_chain(tx, old.chain)) == (1, old.chain, old.seq)
    assert desk.do(lambda tx: outbox.find_chain(tx, "nonsense")) is None


def test_topics_that_are_kept_are_forgotten_one_by_one(desk: Desk) -> None:
    desk.do(lambda tx: outbox.keep_topics(tx, ["bay/1", "alert/x/dock"]))
    desk.do(lambda tx: outbox.keep_topics(tx, ["bay/1"]))
    assert desk.do(outbox.kept_topics) == {"bay/1", "alert/x/dock"}
    desk.do(lambda tx: outbox.forget_topic(tx, "bay/1"))
    assert desk.do(outbox.kept_topics) == {"alert/x/dock"}

"""The tables of moves, held against a second list of what may happen to a recording and to a docking."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import TypeVar

import pytest
from journal_desk import Desk, desk_in

import dockd.lifecycle
from dockd.errors import IllegalMoveError, IntegrityError
from dockd.lifecycle import (
    DOCKING_MOVES,
    IN_STORE,
    RECORDING_MOVES,
    WHOLE_HERE,
    Bucket,
    DockingState,
    RecordingState,
    bucket,
    check_docking_move,
    check_recording_move,
)

R = RecordingState
D = DockingState

LEGAL = {
    (R.FOUND, R.SPOOLED),
    (R.FOUND, R.VANISHED),
    (R.SPOOLED, R.UPLOADED),
    (R.SPOOLED, R.FOUND),
    (R.SPOOLED, R.VANISHED),
    (R.UPLOADED, R.CONFIRMED),
    (R.UPLOADED, R.SPOOLED),
    (R.UPLOADED, R.VANISHED),
    (R.CONFIRMED, R.WIPE_INTENT),
    (R.CONFIRMED, R.FOUND),
    (R.WIPE_INTENT, R.WIPED),
    (R.WIPE_INTENT, R.CONFIRMED),
    (R.VANISHED, R.FOUND),
}
LEGAL_DOCKING = {
    (D.IDENTIFYING, D.ACTIVE),
    (D.IDENTIFYING, D.ENDED),
    (D.ACTIVE, D.ENDED),
    (D.ENDED, D.CLOSED),
}


S = TypeVar("S", bound=StrEnum)


def reachable(moves: Mapping[S, Iterable[S]], start: S, without: S | None = None) -> set[S]:
    """What can be reached from `start` on ways that do not touch `without`."""
    found: set[S] = set()
    todo = [start]
    while todo:
        state = todo.pop()
        if state in found or state is without:
            continue
        found.add(state)
        todo.extend(moves[state])
    return found


@pytest.mark.parametrize(("before", "after"), list(product(R, R)))
def test_a_recording_makes_only_the_moves_of_the_table(before: R, after: R) -> None:
    if (before, after) in LEGAL:
        check_recording_move(before, after)
        return
    with pytest.raises(IllegalMoveError, match=f"from {before} to {after}"):
        check_recording_move(before, after)


@pytest.mark.parametrize(("before", "after"), list(product(D, D)))
def test_a_docking_makes_only_the_moves_of_the_table(before: D, after: D) -> None:
    if (before, after) in LEGAL_DOCKING:
        check_docking_move(before, after)
        return
    with pytest.raises(IllegalMoveError, match=f"from {before} to {after}"):
        check_docking_move(before, after)


def test_every_state_has_its_line_in_the_table_and_can_be_reached() -> None:
    assert set(RECORDING_MOVES) == set(R) == reachable(RECORDING_MOVES, R.FOUND)
    assert set(DOCKING_MOVES) == set(D) == reachable(DOCKING_MOVES, D.IDENTIFYING)


@pytest.mark.parametrize("station", [R.SPOOLED, R.UPLOADED, R.CONFIRMED, R.WIPE_INTENT])
def test_no_way_to_wiped_leaves_out_a_station(station: R) -> None:
    for start in (R.FOUND, R.VANISHED):
        assert R.WIPED not in reachable(RECORDING_MOVES, start, without=station)


def test_wiped_is_entered_from_wipe_intent_alone_and_never_left() -> None:
    assert [state for state in R if R.WIPED in RECORDING_MOVES[state]] == [R.WIPE_INTENT]
    assert [state for state in R if R.WIPE_INTENT in RECORDING_MOVES[state]] == [R.CONFIRMED]
    assert not RECORDING_MOVES[R.WIPED]
    assert not DOCKING_MOVES[D.CLOSED]


def test_what_the_store_was_seen_to_hold_becomes_unseen_only_before_a_wipe_may_have_begun() -> None:
    leaving = {(state, to) for state in IN_STORE for to in RECORDING_MOVES[state] if to not in IN_STORE}
    assert leaving == {(R.CONFIRMED, R.FOUND)}


def test_vanished_and_wiped_are_never_taken_for_footage_that_is_safe_elsewhere() -> None:
    assert not {R.VANISHED, R.WIPED} & WHOLE_HERE
    assert R.VANISHED not in IN_STORE
    assert IN_STORE | WHOLE_HERE | {R.FOUND, R.VANISHED} == set(R)
    for on_device, store_fault in product((False, True), repeat=2):
        assert bucket(R.VANISHED, on_device=on_device, store_fault=store_fault) is Bucket.UNACCOUNTED
        wiped = bucket(R.WIPED, on_device=on_device, store_fault=store_fault)
        assert wiped is (Bucket.UNACCOUNTED if store_fault else Bucket.IN_STORE)


def test_an_illegal_move_is_told_as_a_defect() -> None:
    with pytest.raises(IntegrityError) as caught:
        check_recording_move(R.FOUND, R.WIPED)
    assert "defect" in caught.value.hint


BUCKETS = {
    # state: (on a docked camera, camera gone), with a sound store; with a fault, if it is in the store.
    R.FOUND: (Bucket.ON_DOCKED_CAMERA, Bucket.AWAITING_RETURN),
    R.SPOOLED: (Bucket.ON_DOCKED_CAMERA, Bucket.SOLE_COPY),
    R.UPLOADED: (Bucket.ON_DOCKED_CAMERA, Bucket.SOLE_COPY),
    R.CONFIRMED: (Bucket.IN_STORE, Bucket.IN_STORE),
    R.WIPE_INTENT: (Bucket.IN_STORE, Bucket.IN_STORE),
    R.WIPED: (Bucket.IN_STORE, Bucket.IN_STORE),
    R.VANISHED: (Bucket.UNACCOUNTED, Bucket.UNACCOUNTED),
}
COMBINATIONS = list(product(R, (True, False), (None, "missing", "altered")))


@pytest.mark.parametrize(("state", "on_device", "store_fault"), COMBINATIONS)
def test_each_recording_is_counted_in_one_place(state: R, on_device: bool, store_fault: str | None) -> None:
    expected = BUCKETS[state][0 if on_device else 1]
    if store_fault is not None and state in (R.CONFIRMED, R.WIPE_INTENT, R.WIPED):
        expected = Bucket.UNACCOUNTED
    assert bucket(state, on_device=on_device, store_fault=store_fault is not None) is expected


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk_in(tmp_path_factory.mktemp("buckets")) as made:
        made.dock()
        yield made


@pytest.mark.parametrize(("state", "on_device", "store_fault"), COMBINATIONS)
def test_the_journal_counts_as_the_function_does(
    desk: Desk, state: R, on_device: bool, store_fault: str | None
) -> None:
    numbers = dict.fromkeys(("size_bytes", "mtime_ns", "device", "inode", "ctime_ns", "generation", "camera"), 1)
    name = f"{state}-{on_device}-{store_fault}"
    row_id = desk.do(
        lambda tx: tx.insert(
            "recording",
            uid=name,
            path=name.encode(),
            state=state,
            on_device=on_device,
            store_fault=store_fault,
            **numbers,
        )
    )
    assert desk.ask("SELECT bucket FROM recording WHERE id = ?", row_id) == [
        (str(bucket(state, on_device=on_device, store_fault=store_fault is not None)),)
    ]


def test_each_state_says_in_a_sentence_what_is_true_in_it() -> None:
    module = ast.parse(Path(inspect.getsourcefile(dockd.lifecycle) or "").read_text(encoding="utf-8"))
    told: dict[str, dict[str, str]] = {}
    for kind in (node for node in module.body if isinstance(node, ast.ClassDef)):
        for member, after in zip(kind.body, kind.body[1:], strict=False):
            if (
                isinstance(member, ast.Assign)
                and isinstance(member.targets[0], ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                told.setdefault(kind.name, {})[member.targets[0].id] = str(after.value.value)
    for states in (R, D):
        sentences = told[states.__name__]
        assert set(sentences) == {state.name for state in states}
        assert all(sentence.endswith(".") and len(sentence.split()) > 5 for sentence in sentences.values())
        assert len(set(sentences.values())) == len(states)

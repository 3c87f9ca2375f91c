"""The board of alerts: what stands, since when, the worst first; and each code with something to do about it."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta

import pytest
from journal_desk import HandClock

from dockd.alerts import ALERTS, Alert, AlertBoard


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def board(clock: HandClock) -> AlertBoard:
    return AlertBoard(clock.now)


@pytest.mark.parametrize("code", ALERTS)
def test_every_alert_says_how_bad_it_is_and_what_to_do(code: str) -> None:
    kind = ALERTS[code]
    assert kind.severity in ("info", "warning", "critical")
    assert len(kind.hint.split()) > 4
    assert kind.hint.rstrip().endswith((".", "CAMERA", "acknowledge", "audit", "init", "resume", "retry"))
    assert code == code.lower()
    assert code.replace("_", "").isalpha()


def test_what_may_mean_lost_evidence_is_critical() -> None:
    for code in ("unaccounted", "store_fault", "store_conflict", "journal_rolled_back", "chain_not_acknowledged"):
        assert ALERTS[code].severity == "critical", code


def test_an_alert_stands_until_it_is_taken_down(board: AlertBoard) -> None:
    board.put("spool_full", "dock", "no room")
    (alert,) = board.standing()
    assert (alert.code, alert.subject, alert.what) == ("spool_full", "dock", "no room")
    assert board.codes_of("dock") == {"spool_full"}
    board.put("spool_full", "dock", None)
    assert board.standing() == []
    assert board.codes_of("dock") == set()


def test_an_empty_text_takes_it_down_too(board: AlertBoard) -> None:
    board.put("spool_full", "dock", "no room")
    board.put("spool_full", "dock", "")
    assert board.standing() == []


def test_one_raised_again_keeps_since_and_takes_the_new_text(board: AlertBoard, clock: HandClock) -> None:
    board.put("sole_copy", "dock", "1 recording")
    clock.wall += timedelta(hours=1)
    board.put("sole_copy", "dock", "2 recordings")
    (alert,) = board.standing()
    assert (alert.since, alert.what) == ("2026-03-01T12:00:00.250Z", "2 recordings")
    board.put("sole_copy", "dock", None)
    board.put("sole_copy", "dock", "3 recordings")
    assert board.standing()[0].since == "2026-03-01T13:00:00.250Z"


def test_the_worst_stand_first_then_the_oldest(board: AlertBoard, clock: HandClock) -> None:
    for code, subject in (
        ("entries_left_alone", "camera-1"),
        ("sole_copy", "dock"),
        ("unaccounted", "dock"),
        ("store_full", "dock"),
    ):
        board.put(code, subject, "what")
        clock.wall += timedelta(seconds=1)
    assert [alert.code for alert in board.standing()] == [
        "unaccounted",
        "store_full",
        "sole_copy",
        "entries_left_alone",
    ]


def test_one_code_stands_once_for_each_subject(board: AlertBoard) -> None:
    board.put("camera_stalled", "camera-1", "a")
    board.put("camera_stalled", "camera-2", "b")
    board.put("camera_stalled", "camera-1", None)
    assert [alert.subject for alert in board.standing()] == ["camera-2"]


def test_a_subject_that_left_takes_its_alerts_along_and_no_others(board: AlertBoard) -> None:
    board.put("camera_stalled", "camera-1", "a")
    board.put("wipe_blocked", "camera-1", "b")
    board.put("wipe_blocked", "camera-10", "c")
    board.drop_subject("camera-1")
    assert [(alert.code, alert.subject) for alert in board.standing()] == [("wipe_blocked", "camera-10")]
    board.drop_subject("nobody")


def test_listeners_hear_when_one_comes_up_and_goes_and_not_in_between(board: AlertBoard) -> None:
    heard: list[tuple[Alert, bool]] = []
    board.on_change = lambda alert, stands: heard.append((alert, stands))
    board.put("sole_copy", "dock", None)
    board.put("sole_copy", "dock", "1 recording")
    board.put("sole_copy", "dock", "2 recordings")
    board.put("sole_copy", "dock", None)
    board.put("camera_stalled", "camera-1", "a")
    board.drop_subject("camera-1")
    assert [(alert.code, alert.what, stands) for alert, stands in heard] == [
        ("sole_copy", "1 recording", True),
        ("sole_copy", "2 recordings", False),
        ("camera_stalled", "a", True),
        ("camera_stalled", "a", False),
    ]


def test_a_listener_may_look_at_the_board(board: AlertBoard) -> None:
    seen: list[int] = []
    board.on_change = lambda alert, stands: seen.append(len(board.standing()))
    board.put("sole_copy", "dock", "1")
    board.put("sole_copy", "dock", None)
    assert seen == [1, 0]


def test_a_payload_carries_what_the_contract_names(board: AlertBoard) -> None:
    board.put("sole_copy", "dock", "1 recording")
    payload = board.standing()[0].payload()
    assert {"severity", "since", "what", "hint"} <= set(payload)
    assert payload["severity"] == "warning"
    assert payload["hint"] == ALERTS["sole_copy"].hint


def test_a_code_that_nobody_knows_is_a_defect(board: AlertBoard) -> None:
    with pytest.raises(AssertionError):
        board.put("no_such_code", "dock", "what")


def test_many_threads_may_use_the_board_at_once(board: AlertBoard) -> None:
    """Subjects come and go in one thread while others raise and look."""
    troubles: list[BaseException] = []
    done = threading.Event()

    def hammer(name: str) -> None:
        number = 0
        try:
            while not done.is_set():
                number += 1
                board.put("camera_stalled", f"{name}-{number % 50}", "what" if number % 3 else None)
                board.standing()
        except BaseException as error:  # noqa: BLE001 - told below
            troubles.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=hammer, args=(f"camera-{number}",)) for number in range(3)]
    try:
        for thread in threads:
            thread.start()
        for number in range(3000):
            board.drop_subject(f"camera-1-{number % 50}")
    finally:
        done.set()
        for thread in threads:
            thread.join(30)
        sys.setswitchinterval(before)
    assert troubles == []

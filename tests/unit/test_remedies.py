"""What `dockd explain` says of a camera after a fault: one sentence with what to do, listed in the manual."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from journal_desk import CAMERA, Desk, desk_in, seen_file

from dockd.alerts import ALERTS
from dockd.identity import encode_part
from dockd.journal.queries import find_cameras
from dockd.lifecycle import RecordingState
from dockd.report.remedies import of_camera, of_stranger

NAME = CAMERA.serial.decode()
SUBJECT = f"camera-{encode_part(CAMERA.serial)}"
MANUAL = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
LISTED = MANUAL.split("## What explain says of a camera", 1)[1].split("\n## ", 1)[0].replace("\n", " ")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as made:
        yield made


def status(*alerts: tuple[str, str, str]) -> dict[str, Any]:
    """A status with alerts: code, what it is about, what is the matter."""
    return {
        "alerts": [
            {"code": code, "about": about, "what": what, "hint": ALERTS[code].hint} for code, about, what in alerts
        ]
    }


def said(desk: Desk, *alerts: tuple[str, str, str]) -> list[str]:
    def ask(tx: Any) -> list[str]:
        (row,) = find_cameras(tx, NAME)
        return of_camera(tx, row, status(*alerts))

    return desk.do(ask)


def test_a_camera_that_is_docked_and_well_needs_no_words(desk: Desk) -> None:
    desk.bring_to(RecordingState.CONFIRMED)
    assert said(desk) == []


def test_taken_out_too_early(desk: Desk) -> None:
    docking = desk.dock()
    desk.note(docking, seen_file())
    desk.end(docking, "it was taken out of bay 1, or its card was")
    (sentence,) = said(desk)
    assert sentence.startswith(f"{NAME} left bay 1 at ")
    told = "1 of its recordings are not whole here. Dock it again, and the copy goes on where it was."
    assert sentence.endswith(told)
    assert told.replace("1 of", "2 of") in LISTED


def test_taken_out_during_its_wipe(desk: Desk) -> None:
    docking = desk.dock()
    desk.bring_to(RecordingState.WIPE_INTENT, docking=docking)
    desk.end(docking, "it was taken out of bay 1, or its card was")
    (sentence,) = said(desk)
    told = "while it was being wiped; all of that is in the store. Dock it again, and it is looked at."
    assert sentence.endswith(told)
    assert told in LISTED


def test_taken_out_in_time(desk: Desk) -> None:
    docking = desk.dock()
    desk.bring_to(RecordingState.CONFIRMED, docking=docking)
    desk.end(docking, "it was taken out of bay 1, or its card was")
    (sentence,) = said(desk)
    told = "everything that was seen on it is whole here or in the store. Nothing is to be done."
    assert sentence.endswith(told)
    assert told in LISTED


ABOUT_CAMERAS = (
    "camera_not_mounted",
    "camera_stalled",
    "identity_clash",
    "recording_unreadable",
    "survivors_damaged",
)


@pytest.mark.parametrize("code", ABOUT_CAMERAS)
def test_what_stands_against_a_docked_camera_is_said_with_what_to_do(desk: Desk, code: str) -> None:
    desk.dock()
    other = ("no_medium", "bay-2", "of another one")
    assert said(desk, (code, SUBJECT, "this happened"), other) == [f"This happened. {ALERTS[code].hint}"]
    assert ALERTS[code].hint in LISTED


def test_explain_does_not_send_anybody_to_explain(desk: Desk) -> None:
    desk.dock()
    assert "See: dockd explain" in ALERTS["wipe_blocked"].hint
    (sentence,) = said(desk, ("wipe_blocked", SUBJECT, "2 recordings: the card took no deletion"))
    assert "dockd explain" not in sentence
    assert "the card took no deletion" in LISTED


@pytest.mark.parametrize("code", ["device_refused", "port_not_listed"])
def test_of_one_that_was_never_docked_it_says_what_stands_of_bays_and_ports(code: str) -> None:
    now = status((code, "dock", "STRAY sits where it must not"), ("no_medium", "bay-2", "of another one"))
    assert of_stranger("STRAY", now) == [f"STRAY sits where it must not. {ALERTS[code].hint}"]
    assert of_stranger("OTHER", now) == []
    assert of_stranger("", now) == []
    assert ALERTS[code].hint in LISTED


def test_one_that_could_not_even_be_mounted_is_told_of() -> None:
    now = status(("camera_not_mounted", "camera-NEW%201", "udisks2 is not there"))
    assert of_stranger("NEW 1", now) == [f"Udisks2 is not there. {ALERTS['camera_not_mounted'].hint}"]


def test_hostile_text_is_shown_not_obeyed(desk: Desk) -> None:
    desk.dock()
    (sentence,) = said(desk, ("camera_not_mounted", SUBJECT, "\x1b[31mred\nline"))
    assert "\x1b" not in sentence
    assert "\n" not in sentence

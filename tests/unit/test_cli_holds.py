"""`dockd hold` and `dockd explain`: the very camera or recording that is meant, and no other."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from command_line import exit_code
from journal_desk import CAMERA, OTHER_CAMERA, desk_in

from dockd.identity import CameraIdentity
from dockd.lifecycle import RecordingState

WHO = ["--reason", "case 7", "--by", "clerk"]


def holds(config: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert exit_code("hold", "list", "--json", "--config", config) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def docked(state: Path, *serials: bytes) -> None:
    with desk_in(state) as desk:
        for number, serial in enumerate(serials):
            desk.dock(CameraIdentity(serial), str(number))


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("serial", [b"X Y", b"X%20Y"])
def test_a_serial_that_looks_like_anothers_key_is_told_apart(
    config: str, state: Path, serial: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    docked(state, b"X Y", b"X%20Y")
    assert exit_code("hold", "add", "--camera", serial.decode(), *WHO, "--config", config) == 0
    assert [hold["camera_hex"] for hold in holds(config, capsys)] == [serial.hex()]


@pytest.mark.usefixtures("store")
def test_a_name_that_two_cameras_go_by_holds_neither_and_names_both(
    config: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docked(state, b"C\xffX", b"C\xfeX")
    assert exit_code("hold", "add", "--camera", "C\ufffdX", *WHO, "--config", config) == 64
    told = capsys.readouterr().err
    assert "C%FFX" in told
    assert "C%FEX" in told
    assert holds(config, capsys) == []
    for name, serial in (("C%FEX", b"C\xfeX"), (os.fsdecode(b"C\xffX"), b"C\xffX")):
        assert exit_code("hold", "add", "--camera", name, *WHO, "--config", config) == 0
        assert serial.hex() in {hold["camera_hex"] for hold in holds(config, capsys)}


@pytest.mark.usefixtures("store")
def test_a_camera_that_was_never_seen_is_held_all_the_same_and_that_is_said(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("hold", "add", "--camera", "CAM 99", *WHO, "--config", config) == 0
    assert "never seen" in capsys.readouterr().out
    assert [hold["camera"] for hold in holds(config, capsys)] == ["CAM 99"]


@pytest.mark.usefixtures("store")
def test_a_digest_holds_every_recording_of_that_content(
    config: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_in(state) as desk:
        rows = [
            desk.bring_to(RecordingState.CONFIRMED, name, desk.dock(camera, name.decode()))
            for camera, name in ((CAMERA, b"one.mp4"), (OTHER_CAMERA, b"two.mp4"))
        ]
    assert rows[0].blake3 is not None
    assert rows[0].blake3 == rows[1].blake3
    assert exit_code("hold", "add", "--recording", rows[0].blake3, *WHO, "--config", config) == 0
    assert {hold["recording"] for hold in holds(config, capsys)} == {row.uid for row in rows}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "argv",
    [
        ["--camera", "", *WHO],
        ["--camera", " ", *WHO],
        ["--recording", "", *WHO],
        ["--camera", "CAM 1", "--reason", "", "--by", "clerk"],
        ["--camera", "CAM 1", "--reason", "case 7", "--by", "\t"],
    ],
)
def test_an_empty_variable_is_no_name(config: str, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("hold", "add", *argv, "--config", config) == 64
    assert holds(config, capsys) == []


def test_explain_names_the_id_by_which_a_recording_is_held(
    config: str, state: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_in(state) as desk:
        row = desk.bring_to(RecordingState.FOUND, b"one.mp4")
    assert exit_code("explain", "CAM 1", "--config", config) == 0
    name = capsys.readouterr().out.split()[0]
    assert name == row.uid
    assert exit_code("hold", "add", "--recording", name, *WHO, "--config", config) == 0


FORGED = b"x.mp4: was wiped.\n\x1b[1A\x1b[2K\xe2\x80\xaefake \xe2\x80\xa8line\x07"


def test_a_name_forges_no_line_and_moves_no_cursor(
    config: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_in(state) as desk:
        docking = desk.dock(CameraIdentity(b"E\x1b[31mVIL\n"), "1\x1b[2J")
        desk.bring_to(RecordingState.FOUND, FORGED, docking)
    for command in (["explain", "E\x1b[31mVIL\n"], ["status"]):
        assert exit_code(*command, "--config", config) == 0
        told = capsys.readouterr().out
        assert set(told) & set("\x1b\x07\u202e\u2028") == set()
        assert "VIL" in told or "x.mp4" in told
        assert len([line for line in told.splitlines() if line.lstrip().startswith("x.mp4")]) == 0
    assert exit_code("explain", "E\x1b[31mVIL\n", "--config", config) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


# --- a journal that is spoilt or gone ----------------------------------------------------------------

COMMANDS = [["status"], ["explain", "CAM 1"], ["audit"], ["custody", "export"]]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_journal_that_is_gone_is_not_taken_for_a_new_dock(
    command: list[str], config: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = {"chain": "0" * 16, "seq": 149, "sha256": "a" * 64}
    (state / "custody-head.json").write_text(json.dumps(head))
    assert exit_code(*command, "--config", config) == 74
    assert "149" in capsys.readouterr().err
    assert exit_code("check", "--json", "--config", config) == 1
    verdicts = {line["name"]: line["verdict"] for line in json.loads(capsys.readouterr().out)}
    assert verdicts["journal"] == "failed"
    # A hold is wanted now more than ever.
    assert exit_code("hold", "add", "--camera", "CAM 1", *WHO, "--config", config) == 0


@pytest.mark.usefixtures("store")
def test_damaged_pages_end_with_74_and_not_with_a_traceback(
    config: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_in(state) as desk:
        docking = desk.dock()
        for number in range(300):
            desk.bring_to(RecordingState.CONFIRMED, b"%03d.mp4" % number, docking)
    journal = state / "journal.db"
    pages = bytearray(journal.read_bytes())
    # The first page says that it is a journal of dockd; all others are spoilt.
    pages[4096:] = b"\xa5" * (len(pages) - 4096)
    journal.write_bytes(pages)
    for command in (["explain", "CAM 1"], ["audit"], ["status"]):
        assert exit_code(*command, "--config", config) == 74, command
        assert "journal" in capsys.readouterr().err
    assert exit_code("check", "--json", "--config", config) == 1
    verdicts = {line["name"]: line["verdict"] for line in json.loads(capsys.readouterr().out)}
    assert verdicts["journal"] == "failed"

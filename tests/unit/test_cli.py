"""The command line: its exit codes, its help, and what it says when something is wrong."""

from __future__ import annotations

import argparse
import fcntl
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from command_line import exit_code
from journal_desk import CAMERA, STARTED, desk_in, raw

from dockd.cli import build_parser
from dockd.events import Head
from dockd.journal.startup import start
from dockd.lifecycle import RecordingState

DOCKD = Path(sys.executable).with_name("dockd")
COUNTS = {"recordings", "in_store", "on_docked_camera", "sole_copy", "awaiting_return", "unaccounted", "wiped"}


def leaves(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Every command, and whether it does something itself."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    yield path, not groups
    for group in groups:
        for name, below in group.choices.items():
            yield from leaves(below, (*path, name))


BY_THEMSELVES = {("demo",), ("setup",), ("custody", "verify")}
"""Commands that bring a configuration of their own, make one, or need none."""

COMMANDS = list(leaves(build_parser()))


def test_the_commands_are_there() -> None:
    assert {path[0] for path, _ in COMMANDS if path} >= {
        *("run", "setup", "check", "status", "explain", "audit", "store", "hold", "custody"),
    }


@pytest.mark.parametrize(("path", "does"), COMMANDS, ids=str)
def test_every_command_has_help(path: tuple[str, ...], does: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*path, "--help") == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: {' '.join(('dockd', *path))}")
    if does and path not in BY_THEMSELVES:
        assert "--config FILE" in told
        assert "/etc/dockd/config.toml" in told
    description = told.split("\n\n")[1]
    assert description.strip().endswith("."), description


def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"dockd {metadata.version('dockd')}\n"


def test_the_installed_program_is_the_same(tmp_path: Path) -> None:
    for start_it in ([str(DOCKD)], [sys.executable, "-P", "-m", "dockd"]):
        told = subprocess.run([*start_it, "nonsense"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert told.returncode == 64
        assert told.stdout == ""
        assert "dockd" in told.stderr


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["status", "--nonsense"],
        ["status", "extra"],
        ["explain"],
        ["store"],
        ["hold"],
        ["hold", "add", "--camera", "CAM1", "--reason", "r"],
        ["hold", "add", "--camera", "CAM1", "--by", "b"],
        ["hold", "add", "--reason", "r", "--by", "b"],
        ["hold", "add", "--camera", "CAM1", "--recording", "x", "--reason", "r", "--by", "b"],
        ["hold", "remove", "--reason", "r", "--by", "b"],
        ["custody", "acknowledge"],
        ["custody", "verify"],
        ["custody", "verify", "--head"],
        ["passport", "some-id"],
        ["passport", "--out"],
        ["audit", "--sample", "0"],
        ["audit", "--sample", "-3"],
        ["audit", "--sample", "many"],
    ],
    ids=" ".join,
)
def test_a_command_line_that_cannot_be_used_is_refused_with_64(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*argv) == 64
    told = capsys.readouterr()
    assert told.out == ""
    assert "usage: dockd" in told.err
    assert not re.search(r"invalid _\w+ value", told.err), "the name of a function is no help"


LEAVES = [path for path, does in COMMANDS if does and path not in BY_THEMSELVES]
NEEDED = {
    ("explain",): ["CAM 1"],
    ("report",): ["--date", "2026-03-01"],
    ("hold", "add"): ["--camera", "CAM 1", "--reason", "r", "--by", "b"],
    ("hold", "remove"): ["hold-1", "--reason", "r", "--by", "b"],
    ("custody", "acknowledge"): ["--by", "b"],
    ("identify",): ["--bay", "folder-CAM1"],
    ("passport",): ["some-id", "--out", "/nowhere/passport"],
}


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
@pytest.mark.parametrize("text", [None, "[dock", '[dock]\nagency = "UPPER CASE"\n'], ids=["none", "no TOML", "bad"])
def test_every_command_refuses_a_bad_configuration_with_78(
    path: tuple[str, ...], text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    assert exit_code(*path, *NEEDED.get(path, []), "--config", str(file)) == 78
    told = capsys.readouterr()
    assert told.out == ""
    assert str(file) in told.err
    assert "Traceback" not in told.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "argv",
    [
        ["audit"],
        ["hold", "list"],
        ["hold", "add", "--camera", "CAM 1", "--reason", "r", "--by", "b"],
        ["custody", "export"],
        ["custody", "acknowledge", "--by", "b"],
    ],
    ids=" ".join,
)
def test_what_needs_a_store_or_a_journal_ends_with_69_where_there_is_none(
    argv: list[str], config: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*argv, "--config", config) == 69
    message, hint = capsys.readouterr().err.split("\n", 1)
    assert message.startswith("dockd: ")
    assert len(hint.split()) >= 3
    assert list(state.iterdir()) == []


def test_a_second_writer_is_refused_with_69(
    config: str, store: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_in(state) as desk:
        desk.dock()
    with open(state / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert exit_code("custody", "acknowledge", "--by", "b", "--config", config) == 69
    assert "another dockd" in capsys.readouterr().err


def test_a_state_dir_that_cannot_be_used_ends_with_77(config: str, state: Path) -> None:
    state.rmdir()
    state.write_text("a file in its place", encoding="ascii")
    told = subprocess.run(
        [str(DOCKD), "run", "--config", config], capture_output=True, text=True, check=False, timeout=60
    )
    assert told.returncode == 77, told.stderr
    assert "state_dir" in told.stderr
    assert state.is_file()


@pytest.mark.parametrize(
    ("error", "code"),
    [(PermissionError(13, "Permission denied", "/x"), 77), (OSError(5, "Input/output error"), 74)],
)
def test_an_error_of_the_system_is_told_without_a_traceback(
    error: OSError, code: int, config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> None:
        raise error

    monkeypatch.setattr("dockd.commands.look.load_config", refuse)
    assert exit_code("status", "--config", config) == code
    told = capsys.readouterr().err
    assert (error.strerror or "?") in told
    assert len(told.splitlines()) == 2


@pytest.mark.parametrize("command", [["status"], ["explain", "CAM 1"], ["custody", "export"]], ids=" ".join)
@pytest.mark.parametrize("damage", ["no database", "later version"])
def test_a_journal_that_cannot_be_trusted_ends_with_74(
    command: list[str], damage: str, config: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_in(state) as desk:
        desk.dock()
    if damage == "no database":
        (state / "journal.db").write_bytes(b"this is no database\n" * 1000)
    else:
        raw(state / "journal.db", "PRAGMA user_version = 9999")
    before = (state / "journal.db").read_bytes()
    assert exit_code(*command, "--config", config) == 74
    assert len(capsys.readouterr().err.splitlines()) >= 2
    assert (state / "journal.db").read_bytes() == before


# --- what commands say -------------------------------------------------------------------------------


def test_a_dock_that_never_ran_has_a_status(config: str, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("status", "--json", "--config", config) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == dict.fromkeys(COUNTS, 0)
    assert {"dock", "counts", "wipe_mode", "bays", "alerts", "store", "spool", "mqtt", "clock"} <= set(told)
    assert list(state.iterdir()) == []
    assert exit_code("status", "--config", config) == 0
    assert "calgary/district-4/dock-07" in capsys.readouterr().out


def test_status_tells_what_the_journal_last_knew(config: str, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with desk_in(state) as desk:
        docking = desk.dock()
        desk.bring_to(RecordingState.SPOOLED, docking=docking)
        desk.end(docking)
        desk.dock()
    before = (state / "journal.db").read_bytes()
    assert exit_code("status", "--json", "--config", config) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == dict.fromkeys(COUNTS, 0) | {"recordings": 1, "sole_copy": 1}
    assert [alert["code"] for alert in told["alerts"]] == ["sole_copy"]
    (bay,) = told["bays"]
    assert (bay["camera"], bay["state"], bay["safe_to_take"]) == ("CAM 1", "attention", False)
    assert (state / "journal.db").read_bytes() == before


def test_explain_says_a_sentence_for_each_recording(
    config: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_in(state) as desk:
        docking = desk.dock()
        desk.bring_to(RecordingState.WIPED, b"one.mp4", docking)
        desk.bring_to(RecordingState.FOUND, b"two.mp4", docking)
    for name in ("CAM 1", "CAM%201"):
        assert exit_code("explain", name, "--config", config) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0].split()[1] for line in lines] == ["one.mp4", "two.mp4"]
    assert exit_code("explain", "CAM 2", "--config", config) == 64
    assert "CAM 2" in capsys.readouterr().err


def test_a_hold_comes_and_does_not_go_by_itself(config: str, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold = ["--reason", "case 7", "--by", "clerk", "--config", config]
    assert exit_code("hold", "add", "--camera", "CAM 1", *hold) == 0
    capsys.readouterr()
    assert exit_code("hold", "list", "--json", "--config", config) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["camera"], told["reason"], told["by"]) == (CAMERA.serial.decode(), "case 7", "clerk")
    # How it goes: test_cli_lifts.py.
    assert exit_code("hold", "remove", told["hold"], *hold) == 78
    capsys.readouterr()
    assert exit_code("hold", "list", "--json", "--config", config) == 0
    assert json.loads(capsys.readouterr().out) == [told]
    assert exit_code("hold", "add", "--recording", "nobody's", *hold) == 64


def test_a_hold_that_comes_too_late_says_so_with_1(
    config: str, store: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_in(state) as desk:
        desk.bring_to(RecordingState.WIPED)
    argv = ["hold", "add", "--camera", "CAM 1", "--reason", "r", "--by", "b", "--config", config]
    assert exit_code(*argv) == 1
    assert "too late" in capsys.readouterr().out


def test_a_chain_that_waits_is_acknowledged_once(config: str, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with desk_in(state) as desk:
        desk.do(lambda tx: start(tx, STARTED, Head(chain="0" * 16, seq=9, sha256="f" * 64), []))
    for words in ("acknowledged", "nothing waits"):
        assert exit_code("custody", "acknowledge", "--by", "sergeant", "--config", config) == 0
        assert words in capsys.readouterr().out
    assert exit_code("custody", "export", "--config", config) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["event"] for record in told] == ["dock_started", "custody_acknowledged"]
    assert told[1]["by"] == "sergeant"


def test_a_check_that_finds_something_wrong_ends_with_1(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("check", "--json", "--config", config) == 1
    assert {one["verdict"] for one in json.loads(capsys.readouterr().out)} >= {"failed"}

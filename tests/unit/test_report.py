"""`dockd report`: what came in on a day, each recording once, and no name of a file breaks it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import exit_code
from hypothesis import given
from hypothesis import strategies as st
from journal_desk import OTHER_CAMERA, STARTED, Desk, raw, seen, seen_file
from rich.console import Console

from dockd.journal import recordings
from dockd.journal.startup import start
from dockd.lifecycle import RecordingState
from dockd.report import tables
from dockd.report.day import CSV_COLUMNS, Arrival, arrivals, write_csv
from dockd.report.tables import print_day

R = RecordingState
DAY = date(2026, 3, 1)
HOSTILE = [
    b"=cmd|' /C calc'!A0.mp4",
    b"+1.mp4",
    b"-1.mp4",
    b"@SUM(1).mp4",
    "＝1.mp4".encode(),  # noqa: RUF001 - a wide sign
    b'quote"s, and commas.mp4',
    b"new\nline.mp4",
    b"\r=1.mp4",
    b"\t=1.mp4",
    b"\x1b[2J\x1b]0;owned\x07.mp4",
    b"[bold red]markup[/].mp4",
    b"\xff\xfe.mp4",
    "\u202egpm.exe".encode(),
    b"'=1.mp4",
]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    state = tmp_path / "state"
    state.mkdir()
    made = Desk(state / "journal.db")
    made.do(lambda tx: start(tx, STARTED, None, []))
    yield made
    made.journal.close()


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.toml"
    path.write_text(
        '[dock]\nagency = "calgary"\nsite = "district-4"\nname = "dock-07"\n'
        f'state_dir = "{tmp_path}/state"\n[store]\npath = "{tmp_path}/store"\n',
        encoding="utf-8",
    )
    return str(path)


def day(desk: Desk, when: date = DAY) -> list[Arrival]:
    return desk.do(lambda tx: list(arrivals(tx, when)))


def as_csv(found: list[Arrival]) -> list[dict[str, str]]:
    text = io.StringIO()
    write_csv(found, text)
    return list(csv.DictReader(io.StringIO(text.getvalue())))


# --- what is in it --------------------------------------------------------------------------------------


def test_each_recording_says_where_it_is_and_since_when_that_is_proven(desk: Desk) -> None:
    stay = desk.dock(bay="4")
    wanted = {b"a": R.WIPED, b"b": R.CONFIRMED, b"c": R.UPLOADED, b"d": R.SPOOLED, b"e": R.FOUND}
    for path, state in wanted.items():
        desk.bring_to(state, path, stay)
    found = {row.path: row for row in day(desk)}
    assert {path: row.state for path, row in found.items()} == wanted
    rows = {path: desk.newest(path) for path in wanted}
    for path, row in found.items():
        assert (row.camera, row.bay, row.docking, row.docked_at) == (b"CAM 1", "4", stay.name, stay.started_utc)
        assert (row.recording, row.size_bytes, row.sha256) == (rows[path].uid, 1000, rows[path].sha256)
        # Nothing is said to be in the store that was not read back from there.
        in_store = path in (b"a", b"b")
        assert row.key == (rows[path].store_key if in_store else None)
        assert row.place == ("in_store" if in_store else "on_docked_camera")
        assert (row.confirmed_at, row.wiped_at is not None) == (rows[path].confirmed_utc, path == b"a")
        clock = {"source": "kernel", "synchronised": True, "uncertainty_ms": 7}
        assert row.clock == (clock if in_store else None)


def test_a_recording_is_in_the_report_of_the_day_on_which_it_was_found_first_and_of_no_other(desk: Desk) -> None:
    desk.clock.wall = datetime(2026, 3, 1, 23, 59, 59, 999_000, UTC)
    stay = desk.dock()
    desk.note(stay, seen_file(b"before"))
    desk.clock.wall += timedelta(milliseconds=1)
    desk.note(stay, seen_file(b"after"))
    desk.end(stay)
    desk.clock.wall += timedelta(days=5)
    desk.note(desk.dock(), seen_file(b"before"), seen_file(b"after"), seen_file(b"late"))
    days = {n: [row.path for row in day(desk, DAY + timedelta(days=n))] for n in range(-1, 8)}
    assert {n: paths for n, paths in days.items() if paths} == {0: [b"before"], 1: [b"after"], 6: [b"late"]}
    (row,) = day(desk, DAY + timedelta(days=1))
    assert row.docking == stay.name


def test_another_generation_is_another_recording(desk: Desk) -> None:
    row = desk.bring_to(R.CONFIRMED)
    desk.do(lambda tx: recordings.reread_differs(tx, row.id, "another", "other bytes"))
    desk.note(desk.dock(OTHER_CAMERA, "2"), seen_file(uid="the other camera's"))
    found = day(desk)
    assert [(row.camera, row.generation) for row in found] == [(b"CAM 1", 1), (b"CAM 1", 2), (b"CAM\xff2", 1)]


def test_what_the_store_lost_is_not_said_to_be_there(desk: Desk) -> None:
    row = desk.bring_to(R.WIPED)
    desk.do(lambda tx: recordings.store_fault(tx, row.id, "missing", "not there"))
    (found,) = day(desk)
    assert (found.place, found.state, found.store_fault) == ("unaccounted", "wiped", "missing")
    assert f"missing at {row.store_key}" in shown([found], 200)


def test_what_was_found_before_this_was_noted_counts_for_the_day_of_its_docking(desk: Desk) -> None:
    desk.bring_to(R.CONFIRMED)
    desk.close()
    back = ["DROP INDEX recording_found_at", "ALTER TABLE recording DROP COLUMN found_utc"]
    script = (Path(recordings.__file__).parent / "schema_v2.sql").read_text(encoding="utf-8")
    raw(desk.path, *back, *re.findall(r"(?:ALTER|UPDATE|CREATE INDEX)[^;]*found_utc[^;]*;", script))
    desk.open()
    assert [row.found_at for row in day(desk)] == ["2026-03-01T12:00:00.250Z"]


# --- how it is shown --------------------------------------------------------------------------------------


def test_no_name_breaks_a_line_or_becomes_a_formula(desk: Desk) -> None:
    stay = desk.dock()
    for path in HOSTILE:
        desk.note(stay, seen_file(path))
    text = io.StringIO()
    write_csv(day(desk), text)
    assert len(text.getvalue().splitlines()) == len(HOSTILE) + 1
    rows = as_csv(day(desk))
    for row in rows:
        assert tuple(row) == CSV_COLUMNS
        assert not any(cell.startswith(tuple("=+-@＝\t\r")) for cell in row.values())  # noqa: RUF001 - as above
        assert all(char.isprintable() for cell in row.values() for char in cell)
    # And what each name really is can be told.
    assert {bytes.fromhex(row["path_hex"]) if row["path_hex"] else row["path"].encode() for row in rows} == set(HOSTILE)
    assert {row["path"] for row in rows if not row["path_hex"]} == {
        'quote"s, and commas.mp4',
        "[bold red]markup[/].mp4",
        "'=1.mp4",
    }


@given(st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=20))
def test_any_name_comes_back_out_of_the_csv(path: bytes, camera: bytes) -> None:
    row = Arrival("r", camera, "b", "d", "t", "t", path, 1, 5, None, None, "found", "on_docked_camera", *[None] * 4)
    (found,) = as_csv([row])
    for name, raw_name in (("path", path), ("camera", camera)):
        told = bytes.fromhex(found[f"{name}_hex"]) if found[f"{name}_hex"] else found[name].encode()
        assert told == raw_name


def shown(found: list[Arrival], width: int = 100) -> str:
    """What a terminal shows of it, its colours left out."""
    out = io.StringIO()

    class Terminal(Console):
        def __init__(self, **more: Any) -> None:
            super().__init__(file=out, force_terminal=True, width=width, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "Console", Terminal)
        print_day("calgary/district-4/dock-07", DAY, found)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_table_has_everything_and_obeys_no_name(desk: Desk, width: int) -> None:
    stay = desk.dock(bay="4")
    for path in HOSTILE:
        desk.note(stay, seen_file(path))
    row = desk.bring_to(R.WIPED, b"DCIM/good.mp4", stay)
    text = shown(day(desk), width)
    assert "\x1b" not in text
    assert all(char.isprintable() or char == "\n" for char in text)
    assert max(map(len, text.splitlines())) <= width
    assert "15 recordings" in text
    assert re.search(r"in_store\s+1\s+on_docked_camera\s+14\s+unaccounted\s+0\s+wiped\s+1\s*$", text)
    for name in ("DCIM/good.mp4", "[bold red]markup[/].mp4", r"new\nline.mp4", r"\x1b[2J"):
        assert name in text
    if width == 200:
        assert {row.sha256, row.store_key} <= set(text.split())


def test_a_clock_that_was_not_synchronised_is_named(desk: Desk) -> None:
    desk.clock.sync = (False, None)
    desk.bring_to(R.CONFIRMED)
    assert "unsynchronised" in shown(day(desk))
    assert as_csv(day(desk))[0]["confirmed_clock_synchronised"] == "no"


# --- the command ----------------------------------------------------------------------------------------


def test_a_pipe_gets_csv_and_json_has_the_same(desk: Desk, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    desk.bring_to(R.CONFIRMED, b"\xff.mp4")
    desk.note(desk.dock(OTHER_CAMERA, "2"), seen_file(b"b", seen(2000)))
    assert exit_code("report", "--date", "2026-03-01", "--config", config) == 0
    piped = capsys.readouterr().out
    assert exit_code("report", "--date", "2026-03-01", "--csv", "--config", config) == 0
    assert capsys.readouterr().out == piped
    rows = list(csv.DictReader(io.StringIO(piped)))
    assert exit_code("report", "--date", "2026-03-01", "--json", "--config", config) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dock"], told["date"]) == ("calgary/district-4/dock-07", "2026-03-01")
    assert [row["recording"] for row in told["recordings"]] == [row["recording"] for row in rows]
    assert [row["size_bytes"] for row in told["recordings"]] == [1000, 2000]
    assert [row.get("path_hex") for row in told["recordings"]] == [b"\xff.mp4".hex(), None]
    assert told["recordings"][0]["confirmed_clock"]["uncertainty_ms"] == 7


def test_a_terminal_gets_the_table(
    desk: Desk, config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.bring_to(R.CONFIRMED)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert exit_code("report", "--date", "2026-03-01", "--config", config) == 0
    assert "what came in on 2026-03-01 (UTC)" in capsys.readouterr().out


def test_a_day_without_recordings_and_a_dock_that_never_ran_have_none(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    assert exit_code("report", "--date", "2026-03-01", "--config", config) == 0
    assert capsys.readouterr().out == ",".join(CSV_COLUMNS) + "\n"
    assert "0 recordings" in shown([])


@pytest.mark.parametrize(
    "text", ["", "today", "2026-02-30", "20260301", "2026-W09-1", "9999-12-31", "2026-3-1", "٢٠٢٦-03-01"]
)
def test_what_is_no_day_is_refused(text: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("report", "--date", text, "--config", config) == 64
    assert "is no day" in capsys.readouterr().err

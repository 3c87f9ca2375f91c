"""Journals from the future, damaged, restored from a backup or lost, and a clock that jumps."""

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from e2e.harness import Dock, alerts
from e2e.kernel import WallClock
from e2e.planting import MIB

FILES = {b"a.mp4": 3 * MIB, b"b/b.mp4": 5000}
DAY_S = 86_400


def worked_a_while(make_dock) -> Dock:
    """A dock that has stored and wiped something, and was stopped."""
    dock: Dock = make_dock()
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    assert dock.term() == 0
    return dock


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused_and_unharmed(dock: Dock) -> str:
    """The daemon refuses the journal, and neither it nor a camera is touched."""
    dock.cameras.add("CAM2", FILES)
    cameras, store = snapshot(dock.cameras.docked), snapshot(dock.store)
    journal = (dock.state / "journal.db").read_bytes()
    said = dock.refuses_to_start(74)
    assert (dock.state / "journal.db").read_bytes() == journal
    assert snapshot(dock.cameras.docked) == cameras
    assert snapshot(dock.store) == store
    return said


def put_back(dock: Dock, kept: bytes) -> None:
    for path in dock.state.glob("journal.db*"):
        path.unlink()
    (dock.state / "journal.db").write_bytes(kept)
    dock.start()
    dock.finish()


def test_a_journal_from_the_future_is_refused(make_dock):
    dock = worked_a_while(make_dock)
    kept = (dock.state / "journal.db").read_bytes()
    with sqlite3.connect(dock.state / "journal.db") as journal:
        journal.execute("PRAGMA user_version = 9999")
    journal.close()
    assert "version" in refused_and_unharmed(dock)
    put_back(dock, kept)


def no_sqlite(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def cut_short(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2 // 4096 * 4096)


def holed(path: Path) -> None:
    with open(path, "r+b") as file:
        for page in range(2, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xa5" * 64)


def rewritten(path: Path) -> None:
    """A sound database in which somebody changed the past."""
    with sqlite3.connect(path) as journal:
        journal.execute("DROP TRIGGER record_unchanged")
        seq, line = journal.execute("SELECT seq, line FROM record ORDER BY seq DESC LIMIT 1 OFFSET 3").fetchone()
        record = json.loads(line) | {"dock": "another"}
        line = json.dumps(record, sort_keys=True, separators=(",", ":"))
        journal.execute("UPDATE record SET line = ? WHERE seq = ?", (line, seq))
    journal.close()


@pytest.mark.parametrize("damage", [no_sqlite, cut_short, holed])
def test_a_damaged_journal_is_refused(make_dock, damage):
    dock = worked_a_while(make_dock)
    kept = (dock.state / "journal.db").read_bytes()
    damage(dock.state / "journal.db")
    refused_and_unharmed(dock)
    put_back(dock, kept)


def test_a_chain_that_was_rewritten_takes_in_and_wipes_nothing_until_that_is_acknowledged(make_dock):
    dock = worked_a_while(make_dock)
    rewritten(dock.state / "journal.db")
    dock.chain_whole = False
    dock.cameras.add("CAM2", FILES)
    dock.start()
    alert = dock.wait_alert("chain_broken")
    assert re.search(r"record \d+ of chain [0-9a-f]{16} breaks the chain", alert["what"])
    dock.wait(lambda status: status["counts"]["in_store"] == 4, "what is docked is taken in all the same")
    dock.wait_idle()
    assert dock.cameras.to_wipe()[0] == len(FILES), "nothing was wiped"
    assert "chain" in dock.explain("CAM2")
    dock.judge(finished=True)
    assert dock.term() == 0
    # The same at the next start.
    dock.start()
    dock.wait_alert("chain_broken")
    assert dock.term() == 0
    dock.run("custody", "acknowledge", "--by", "a clerk")
    dock.start()
    dock.wait(lambda status: dock.cameras.to_wipe()[0] == 0, "the camera is emptied")
    dock.wait_no_alert("chain_broken")


def test_an_empty_file_in_the_place_of_the_journal_loses_nothing(make_dock):
    dock = worked_a_while(make_dock)
    (dock.state / "journal.db").write_bytes(b"")
    dock.cameras.add("CAM2", FILES)
    dock.start()
    dock.wait(lambda status: status["counts"]["in_store"] == 2, "stored")
    dock.judge()


@pytest.mark.slow
def test_a_journal_restored_from_a_backup_wipes_nothing_until_it_is_acknowledged(make_dock):
    dock = worked_a_while(make_dock)
    yesterday = (dock.state / "journal.db").read_bytes()
    dock.start()
    dock.cameras.add("CAM2", FILES)
    dock.cameras.plant("CAM1", b"c.mp4", MIB)
    dock.finish()
    assert dock.term() == 0
    for path in dock.state.glob("journal.db*"):
        path.unlink()
    (dock.state / "journal.db").write_bytes(yesterday)
    dock.chain_whole = False
    dock.cameras.add("CAM3", FILES)
    dock.start()
    dock.wait_alert("journal_rolled_back")
    dock.wait(lambda status: status["counts"]["in_store"] == 4, "what is docked is taken in all the same")
    dock.wait_idle()
    assert dock.cameras.to_wipe()[0] == len(FILES), "nothing was wiped"
    dock.judge(finished=True)
    assert dock.term() == 0
    dock.run("custody", "acknowledge", "--by", "a clerk")
    dock.start()
    dock.wait(lambda status: dock.cameras.to_wipe()[0] == 0, "the camera is emptied")
    dock.wait_no_alert("journal_rolled_back")
    dock.judge()


def test_a_lost_journal_takes_in_anew_and_stores_nothing_twice(make_dock):
    dock = make_dock(wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.wait_stored()
    assert dock.term() == 0
    before = {path: path.stat().st_ino for path in dock.objects()}
    shutil.rmtree(dock.state)
    # The store knows the chain that was lost: another one begins as soon as that is seen, before or after the copying.
    dock.chain_whole = False
    dock.start()
    dock.wait_stored()
    dock.wait_idle()
    dock.judge(finished=True)
    assert {path: path.stat().st_ino for path in dock.objects()} == before


def test_status_without_a_journal_says_that_nothing_is_known(make_dock):
    dock = make_dock()
    counts = dock.status()["counts"]
    assert set(counts.values()) == {0}
    dock.start()


def test_status_can_be_asked_for_at_any_moment_of_a_start(make_dock):
    dock = make_dock()
    for _ in range(3):
        dock.start(wait=False)
        while not dock.is_fresh():
            assert dock.status()["counts"]["recordings"] == 0
            assert dock.running
        dock.kill()


@pytest.mark.slow
@pytest.mark.parametrize("step_s", [-DAY_S, DAY_S])
def test_a_clock_that_jumps_by_a_day_changes_nothing(make_dock, tmp_path, step_s):
    clock = WallClock(tmp_path)
    dock = make_dock(grace="1h")
    dock.start(environment=clock.environment)
    dock.cameras.add("CAM1", FILES)
    dock.wait_stored()
    clock.move(step_s)
    dock.until(lambda: dock.events("clock_stepped"), "the step is recorded")
    (step,) = dock.events("clock_stepped")[:1]
    assert abs(step["step_ms"] - step_s * 1000) < 60_000
    dock.cameras.add("CAM2", FILES)
    dock.wait_stored()
    status = dock.wait_idle()
    # The grace time is not over, whatever the wall clock says.
    assert status["counts"]["wiped"] == 0
    dock.judge(finished=True)
    for serial in ("CAM1", "CAM2"):
        dock.cameras.undock(serial)
    dock.until(lambda: dock.manifests("CAM1") and dock.manifests("CAM2"), "both manifests")
    for serial in ("CAM1", "CAM2"):
        dock.cameras.redock(serial)
    assert dock.term() == 0
    dock.configure(grace="0s")
    dock.start(environment=clock.environment)
    dock.finish()
    assert not alerts(dock.status(), "unaccounted")

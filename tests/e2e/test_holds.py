"""Legal holds: what is held is never wiped, whoever holds it and however late."""

import json

import pytest
from e2e.harness import Dock
from e2e.kernel import UNLINKS, traced
from e2e.planting import MIB

FILES = {b"a.mp4": 3 * MIB, b"b/b.mp4": 5000}


def stays(dock: Dock, serial: str = "CAM1") -> None:
    """Everything is stored, and nothing of it leaves the camera."""
    dock.wait_stored()
    dock.wait_idle()
    assert all(dock.cameras.file(serial, path).exists() for path in FILES)
    dock.judge(finished=True)


@pytest.mark.slow
def test_a_held_camera_is_not_emptied_until_the_hold_is_lifted(dock):
    dock.hold("CAM1")
    dock.cameras.add("CAM1", FILES)
    dock.cameras.add("CAM2", FILES)
    dock.wait(lambda status: status["counts"]["wiped"] == len(FILES), "the other camera is emptied")
    stays(dock)
    assert "hold" in dock.explain("CAM1")
    assert dock.hold_names()
    assert "case 1" in dock.run("hold", "list").stdout
    dock.lift_holds()
    dock.finish()
    events = [json.loads(line)["event"] for line in dock.custody()]
    assert events.index("hold_added") < events.index("hold_removed")


@pytest.mark.slow
def test_a_held_recording_stays_and_the_others_go(dock):
    dock.hold("CAM1")
    dock.cameras.add("CAM1", FILES)
    dock.wait_stored()
    found = {record["path"]: record["recording"] for record in dock.events("recording_found")}
    dock.run("hold", "add", "--recording", found["a.mp4"], "--reason", "case 2", "--by", "a clerk")
    (camera_hold,) = [name for name in dock.hold_names() if b'"scope":"camera"' in hold_bytes(dock, name)]
    dock.lift_holds(camera_hold)
    dock.wait(lambda status: status["counts"]["wiped"] == 1, "the other one is wiped")
    dock.wait_idle()
    assert dock.cameras.file("CAM1", b"a.mp4").exists()
    dock.lift_holds()
    dock.finish()


def hold_bytes(dock: Dock, name: str) -> bytes:
    raw = (dock.store / "calgary" / "holds" / f"{name}.json").read_bytes()
    return json.dumps(json.loads(raw), separators=(",", ":")).encode()


@pytest.mark.slow
def test_a_hold_by_another_dock_is_obeyed(make_dock):
    dock = make_dock()
    clerk = make_dock(name="dock-08", store=dock.store)
    dock.neighbours.append(clerk)
    clerk.neighbours.append(dock)
    dock.start()
    clerk.start()
    clerk.hold("CAM1")
    dock.cameras.add("CAM1", FILES)
    stays(dock)
    clerk.lift_holds()
    dock.finish()


@pytest.mark.slow
def test_a_hold_is_obeyed_after_a_restart_and_while_no_daemon_runs(dock):
    assert dock.term() == 0
    dock.hold("CAM1")
    dock.cameras.add("CAM1", FILES)
    dock.start()
    stays(dock)
    dock.restart()
    stays(dock)
    dock.lift_holds()
    dock.finish()


def test_a_hold_that_cannot_be_read_permits_nothing(dock):
    folder = dock.store / "calgary" / "holds"
    folder.mkdir(parents=True)
    broken = folder / "broken.json"
    broken.write_text("{ this is no hold")
    dock.cameras.add("CAM1", FILES)
    stays(dock)
    broken.unlink()
    dock.finish()


@pytest.mark.slow
def test_a_hold_whose_file_disappears_is_not_lifted(dock):
    dock.hold("CAM1")
    dock.cameras.add("CAM1", FILES)
    stays(dock)
    (path,) = (dock.store / "calgary" / "holds").glob("[!.]*.json")
    hidden = path.rename(dock.root / path.name)
    dock.cameras.plant("CAM1", b"c.mp4", MIB)
    stays(dock)
    hidden.rename(path)
    dock.lift_holds()
    dock.finish()


@pytest.mark.slow
def test_a_hold_added_while_the_wipe_begins_is_obeyed_or_told_that_it_is_late(dock):
    """Slow unlinks keep the wipe going while the hold comes in."""
    names = {b"%02d.mp4" % number: 200_000 for number in range(40)}
    dock.hold("CAM1")
    folder = dock.cameras.add("CAM1", names)
    dock.wait_stored()
    assert dock.process is not None
    with traced(dock.process.pid, f"{UNLINKS}:delay_enter=300000"):
        dock.lift_holds()
        dock.until(lambda: len(list(folder.iterdir())) < len(names) + 1, "the first file is gone")
        done = dock.hold("CAM1", codes=(0, 1))
        (name,) = dock.hold_names()
        dock.wait_idle()
    left = {path.name for path in folder.glob("*.mp4")}
    records = [json.loads(line) for line in dock.custody()]
    added = [record["seq"] for record in records if record["event"] == "hold_added" and record["hold"] == name]
    if added:
        begun_later = [r for r in records if r["event"] == "wipe_started" and r["seq"] > added[0]]
        assert not begun_later, "no wipe begins once the hold is recorded"
    else:
        assert not left, "a machine so slow that the last round had begun: no round looked at holds again"
    if done.returncode == 0:
        assert added, "the hold was said to be in time"
        assert not [r for r in records if r["event"] == "recording_wiped" and r["seq"] > added[0]], "and came too late"
    dock.judge(finished=True)
    # Whatever was not begun is there, and stays until the hold is lifted.
    assert {path.name for path in folder.glob("*.mp4")} == left
    dock.lift_holds()
    dock.finish()


def test_a_hold_that_comes_too_late_says_so(dock):
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    found = dock.events("recording_found")[0]["recording"]
    arguments = ("--recording", found, "--reason", "case 3", "--by", "a clerk")
    done = dock.run("hold", "add", *arguments, codes=(1,))
    assert done.stdout + done.stderr


@pytest.mark.slow
def test_a_lift_that_nobody_approved_is_told_and_lifts_nothing_even_over_a_restart(dock):
    """Who can write to the store, and knows how a lift looks, cannot empty a camera."""
    dock.hold("CAM1")
    dock.cameras.add("CAM1", FILES)
    stays(dock)
    (name,) = dock.hold_names()
    forged = {"hold": name, "reason": "closed", "by": "a clerk", "created": "2026-01-01T00:00:00.000Z", "dock": "d"}
    path = dock.store / "calgary" / "holds" / f"{name}.lifted.json"
    path.write_text(json.dumps(forged))
    alert = dock.wait_alert("hold_lift_refused")
    assert name in alert["what"]
    assert "is not obeyed" in dock.run("hold", "list").stdout
    dock.run("hold", "remove", name, "--reason", "closed", "--by", "a clerk", codes=(1,))
    dock.restart()
    dock.wait_alert("hold_lift_refused")
    stays(dock)
    path.unlink()
    dock.wait_no_alert("hold_lift_refused")
    dock.lift_holds(name)
    dock.finish()
    (removed,) = dock.events("hold_removed")
    assert (removed["by"], removed["approver"]) == ("a clerk", "j.doe")

"""The signed custody log: in the store after each docking, in the name of one dock, and nothing wiped without it."""

import json
import re
import shutil
import subprocess

import pytest
from e2e.planting import MIB

from dockd.custody.keys import SigningKey

FILES = {b"a.mp4": MIB + 5, b"b/b.mp4": 5000}


def covered(dock):
    """How far the store's segments of the present chain go, and how far the chain."""
    status = dock.status()
    folder = dock.store / "calgary/custody/district-4/dock-07" / status["dock"]["chain"]
    last = max((int(path.name[13:25]) for path in folder.glob("*.sha256.sig")), default=0)
    return last, status["dock"]["seq"]


def signed_and_stopped(make_dock):
    """A dock that has stored two recordings and wiped none; all that it recorded before its end is in the store."""
    dock = make_dock(wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.wait_stored(2)
    dock.until(lambda: covered(dock)[0] == covered(dock)[1], "all records are signed and in the store")
    assert dock.term() == 0
    return dock


def away_with(path):
    """Take a folder away, and leave an empty one."""
    kept = path.with_name(f"{path.name}-kept")
    path.rename(kept)
    path.mkdir()
    return kept


def nothing_is_wiped_until_it_is_acknowledged(dock, stored):
    """It takes in, says why it wipes nothing, and goes on once somebody has acknowledged it."""
    left = dock.cameras.to_wipe()[0]
    dock.wait_alert("chain_not_acknowledged")
    dock.wait(lambda status: status["counts"]["in_store"] >= stored, "what is docked is taken in all the same")
    dock.wait_idle()
    assert dock.cameras.to_wipe()[0] == left > 0, "nothing was wiped"
    assert dock.term() == 0
    dock.run("custody", "acknowledge", "--by", "a clerk")
    dock.start()
    dock.wait(lambda status: dock.cameras.to_wipe()[0] == 0, "the camera is emptied")
    dock.wait_no_alert("chain_not_acknowledged")


def test_all_of_a_docking_is_signed_and_checked_with_what_everybody_has(dock, tmp_path):
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    dock.cameras.undock("CAM1")
    dock.until(lambda: dock.events("camera_removed"), "it has left")
    dock.until(lambda: covered(dock)[0] == len(dock.custody()), "all records are signed and in the store")
    signers = tmp_path / "allowed_signers"
    signers.write_text(dock.run("key", "show").stdout)
    segments = sorted(dock.store.rglob("*.sha256"))
    assert segments
    for listed in segments:
        with open(listed, "rb") as file:
            who = ["-I", "calgary/district-4/dock-07", "-n", "dockd-custody", "-s", f"{listed}.sig"]
            verify = ["ssh-keygen", "-Y", "verify", "-f", signers, *who]
            done = subprocess.run(verify, stdin=file, capture_output=True, check=False)
        assert done.returncode == 0, done
    lines = [line for path in segments for line in path.with_suffix(".jsonl").read_text().splitlines()]
    assert lines == dock.custody()
    status = dock.wait(lambda status: status["custody"]["stored_through"] == len(lines), "that is said too")
    assert status["custody"]["problem"] is None
    assert status["custody"]["signed_through"] == len(lines)


def test_with_the_wipe_off_a_docking_is_signed_too(make_dock):
    dock = make_dock(wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.wait_stored(2)
    seq = max(event["seq"] for event in dock.events("recording_confirmed"))
    dock.until(lambda: covered(dock)[0] >= seq, "its confirmations are signed and in the store")


@pytest.mark.slow
def test_a_cloned_dock_wipes_nothing_until_that_is_acknowledged(make_dock):
    dock = make_dock()
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    assert dock.term() == 0
    clone = dock.state.with_name("clone")
    shutil.copytree(dock.state, clone)
    dock.start()
    dock.cameras.plant("CAM1", b"c.mp4", MIB)
    dock.finish()
    assert dock.term() == 0
    # The disk that was copied goes on in the other's name; its own witness knows no better.
    shutil.rmtree(dock.state)
    clone.rename(dock.state)
    dock.chain_whole = False
    dock.cameras.add("CAM2", FILES)
    dock.start()
    nothing_is_wiped_until_it_is_acknowledged(dock, 4)
    first = json.loads(dock.custody()[0])
    assert first["event"] == "dock_started"
    assert re.fullmatch(r"[0-9a-f]{16}", first["predecessor"]["chain"])
    # Once acknowledged it is the dock: another start finds nothing new.
    chain = dock.status()["dock"]["chain"]
    dock.restart()
    dock.wait_idle()
    assert dock.status()["dock"]["chain"] == chain


@pytest.mark.slow
def test_a_dock_that_was_made_anew_wipes_nothing_until_that_is_acknowledged(make_dock):
    dock = make_dock()
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    known = dock.run("key", "show").stdout
    assert dock.term() == 0
    away_with(dock.state)
    dock.chain_whole = False
    dock.cameras.add("CAM2", FILES)
    dock.start()
    nothing_is_wiped_until_it_is_acknowledged(dock, 2)
    assert json.loads(dock.custody()[0])["predecessor"]["seq"] > 1
    assert dock.run("key", "show").stdout != known


def test_without_its_key_a_dock_takes_in_and_wipes_nothing(make_dock):
    dock = make_dock()
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    assert dock.term() == 0
    kept = away_with(dock.state / "keys")
    dock.cameras.add("CAM2", FILES)
    dock.start()
    alert = dock.wait_alert("signing_key")
    assert "dockd key init" in alert["hint"]
    dock.wait(lambda status: status["counts"]["in_store"] == 4, "it is taken in all the same")
    dock.wait_idle()
    assert dock.cameras.to_wipe()[0] == len(FILES), "nothing was wiped"
    assert dock.bay("CAM2")["state"] == "waiting"
    assert "nothing can be signed" in dock.explain("CAM2")
    assert dock.term() == 0
    (dock.state / "keys").rmdir()
    kept.rename(dock.state / "keys")
    dock.start()
    dock.finish()
    dock.wait_no_alert("signing_key")


def test_a_rotated_key_signs_from_then_on(make_dock):
    dock = make_dock()
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    assert dock.term() == 0
    dock.run("key", "rotate")
    new = dock.run("key", "show").stdout.split()[-1]
    dock.start()
    dock.cameras.add("CAM2", FILES)
    dock.finish()
    assert dock.status()["custody"]["public_key"].split()[-1] == new


def test_what_lies_where_a_segment_belongs_stops_the_wipe(make_dock):
    dock = signed_and_stopped(make_dock)
    newest = max(dock.store.rglob("*.sha256"))
    # Somebody who has another go at this dock's chain has written behind what the dock knows.
    (head,) = newest.read_text().splitlines()[-1:]
    seq = int(head.split()[1])
    forged = newest.with_name(f"{seq + 1:012d}-{seq + 5:012d}.sha256")
    forged.write_text("".join(f"{row}\n" for row in [head, *(f"{n:064x}  {seq + n}" for n in range(1, 6))]))
    signature = SigningKey.generate().sign(forged.read_bytes())
    forged.with_name(f"{forged.name}.sig").write_text(signature)
    dock.configure(wipe_mode="on")
    dock.chain_whole = False
    dock.start()
    nothing_is_wiped_until_it_is_acknowledged(dock, 2)
    # It has no records, and all that is left is judged.
    for path in newest.parent.glob(f"{forged.name}*"):
        path.unlink()


def test_a_list_that_nobody_signed_stops_the_wipe_until_it_is_moved_away(make_dock):
    dock = signed_and_stopped(make_dock)
    odd = max(dock.store.rglob("*.sha256")).with_name("000000000900-000000000901.sha256")
    odd.write_text("no list\n")
    dock.configure(wipe_mode="on")
    dock.start()
    assert odd.name in dock.wait_alert("custody_conflict")["what"]
    dock.wait_idle()
    assert dock.cameras.to_wipe()[0] == 2, "nothing was wiped"
    odd.unlink()
    dock.wait(lambda status: dock.cameras.to_wipe()[0] == 0, "the camera is emptied", 240)
    dock.wait_no_alert("custody_conflict")


def test_an_audit_finds_what_the_store_lost_of_the_signed_log_and_it_is_brought_there_again(make_dock):
    dock = make_dock(wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.wait_stored(2)
    dock.until(lambda: covered(dock)[0] >= dock.status()["dock"]["seq"], "all records are signed and in the store")
    assert dock.audit()["segments"]["faults"] == {}
    lost, altered, *_ = sorted(dock.store.rglob("*.sha256"))
    whole = altered.read_bytes()
    lost.unlink()
    altered.write_bytes(whole.replace(b"1", b"2", 1))
    faults = dock.audit(codes=(1,))["segments"]["faults"]
    assert faults == {
        str(path.relative_to(dock.store)): what for path, what in ((lost, "missing"), (altered, "altered"))
    }
    dock.wait_alert("custody_at_fault")
    dock.until(lost.exists, "what was lost is there again")
    altered.write_bytes(whole)
    dock.until(lambda: covered(dock)[0] >= dock.status()["dock"]["seq"], "the audits' records are signed too")
    assert dock.audit()["segments"]["faults"] == {}
    dock.wait_no_alert("custody_at_fault")

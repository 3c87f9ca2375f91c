"""The dock audits its store by itself, goes on over restarts, and takes in anew what the store lost."""

import json

import pytest
from e2e.broker import Broker, Listener
from e2e.harness import Dock, alerts
from e2e.planting import MIB
from journal_desk import raw

FILES = {b"a.mp4": 3 * MIB, b"b/b.mp4": 5000}
OFTEN = (("every", "200ms"), ("sample", 0))


def lose(dock: Dock, name: bytes):
    """Take an object out of the store; where it was."""
    entry = dock.cameras.newest("CAM1", name)
    (path,) = [path for path in dock.objects("CAM1") if path.name.startswith(entry.content.blake3)]
    away = dock.root / "away" / path.name
    path.rename(away)
    return path, away


def stored(dock: Dock) -> None:
    """Until all is in the store; the cameras keep it."""
    dock.wait_stored()
    dock.wait_idle()
    dock.judge(finished=True)


def audits(dock: Dock) -> list[dict]:
    return dock.events("audit")


def test_the_dock_audits_its_store_by_itself_and_says_so(make_dock, broker: Broker) -> None:
    dock = make_dock(audit=OFTEN, mqtt=(("url", f"mqtt://127.0.0.1:{broker.port}"),))
    dock.start()
    with Listener(broker.port) as listener:
        dock.cameras.add("CAM1", FILES)
        dock.finish()
        dock.wait(lambda s: (s["audit"]["last"] or {}).get("checked") == 2, "an audit of both")
        last = dock.status()["audit"]["last"]
        assert (last["missing"], last["altered"], last["unaccounted"], last["chain_ok"]) == (0, 0, 0, True)
        assert "2 read back, all as they were" in dock.run("status").stdout
        listener.wait(
            lambda: any(h.json()["audit"]["last_checked"] == 2 for h in listener.all("state")), "said over MQTT"
        )
        assert any(h.json()["event"] == "audit" for h in listener.all("event"))
    assert dock.term() == 0
    assert "last audit" in dock.run("status").stdout


def test_what_the_store_lost_is_taken_in_anew_while_its_camera_is_docked(make_dock) -> None:
    dock = make_dock(audit=OFTEN, wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    stored(dock)
    path, _ = lose(dock, b"a.mp4")
    dock.wait(lambda _: path.exists(), "it is in the store again")
    stored(dock)
    seen = [event for event in dock.events("recording_returned") if event["state"] == "found"]
    assert len(seen) == 1
    assert "the store lost it" in seen[0]["why"]
    assert [event["what"] for event in dock.events("integrity_failure")] == ["store-missing"]
    assert len(dock.events("recording_confirmed")) == 3
    assert "recording_taken_in_again" in dock.log.read_text()
    dock.wait_no_alert("unaccounted")


@pytest.mark.slow
def test_a_camera_that_comes_back_has_what_the_store_lost_meanwhile(make_dock) -> None:
    dock = make_dock(audit=OFTEN, wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    stored(dock)
    dock.cameras.undock("CAM1")
    dock.wait(lambda s: not s["bays"], "it left")
    path, _ = lose(dock, b"a.mp4")
    dock.damage(path)
    dock.wait_alert("store_fault")
    dock.wait(lambda s: s["counts"]["unaccounted"] == 1, "it is unaccounted")
    assert "taken in anew once docked" in dock.explain("CAM1")
    assert not path.exists()
    dock.cameras.redock("CAM1")
    dock.wait(lambda s: s["counts"]["unaccounted"] == 0, "nothing is unaccounted any more")
    dock.damaged.clear()
    stored(dock)
    dock.wait_no_alert("store_fault")


@pytest.mark.slow
def test_an_altered_object_is_neither_touched_nor_believed(make_dock) -> None:
    dock = make_dock(audit=OFTEN, wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    stored(dock)
    path, away = lose(dock, b"a.mp4")
    dock.damage(path)
    data = bytearray(away.read_bytes())
    data[MIB] ^= 1
    path.write_bytes(data)
    dock.wait_alert("store_fault")
    done = len(audits(dock))
    dock.wait(lambda _: len(audits(dock)) > done + 2, "two more audits")
    assert path.read_bytes() == data
    assert (audits(dock)[-1]["altered"], audits(dock)[-1]["missing"]) == (1, 0)
    assert [event["state"] for event in dock.events("recording_returned")] == []
    assert dock.counts()["unaccounted"] == 1
    # Once the store's backup is back, it is good again.
    path.unlink()
    away.rename(path)
    dock.damaged.clear()
    dock.wait_no_alert("store_fault")
    stored(dock)


@pytest.mark.slow
def test_one_that_the_store_loses_again_and_again_is_not_taken_in_for_ever(make_dock) -> None:
    dock = make_dock(audit=OFTEN, wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", {b"a.mp4": 5000})
    stored(dock)
    path, away = lose(dock, b"a.mp4")
    dock.wait(lambda _: path.exists(), "it is in the store again")
    dock.wait_stored(1)
    dock.wait_no_alert("unaccounted")
    path.rename(away)
    dock.damage(path)
    dock.wait_alert("store_fault")
    done = len(audits(dock))
    dock.wait(lambda _: len(audits(dock)) > done + 3, "three more audits")
    assert not path.exists()
    assert dock.counts()["unaccounted"] == 1
    dock.judge()


@pytest.mark.slow
def test_an_audit_goes_on_where_a_restart_broke_it_off_and_keeps_to_its_rate(make_dock) -> None:
    slowly = (("every", "0s"), ("rate_limit", "64KiB"))
    dock = make_dock(audit=slowly, wipe_mode="off", name="dock-08")
    dock.start()
    names = {f"{number}.mp4".encode(): 96 * 1024 for number in range(8)}
    dock.cameras.add("CAM1", names)
    stored(dock)
    dock.configure(audit=(("every", "1ms"), ("sample", 0), ("rate_limit", "64KiB")))
    dock.restart()
    come = dock.wait(lambda s: s["audit"].get("checked", 0) >= 2, "some are read")["audit"]
    assert come["total"] == 8
    assert dock.term() == 0
    kept = json.loads((dock.state / "audit.progress.json").read_text())
    assert 2 <= kept["checked"] < 8
    dock.configure(audit=(("every", "100h"), ("sample", 0)))
    dock.start()
    dock.wait(lambda s: s["audit"]["last"], "the audit is done")
    assert dock.status()["audit"]["last"]["checked"] == 8
    assert len(audits(dock)) == 1
    assert not (dock.state / "audit.progress.json").exists()
    # Eight files of 96 KiB at 64 KiB a second: what was read before the restart was not read at once.
    assert "audit_begun" in dock.log.read_text()


@pytest.mark.slow
def test_an_audit_waits_for_a_store_that_is_away(make_dock) -> None:
    dock = make_dock(audit=OFTEN, wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    stored(dock)
    hidden = dock.store.with_name("hidden")
    dock.store.rename(hidden)
    dock.wait_alert("store_unavailable")
    done = len(audits(dock))
    hidden.rename(dock.store)
    dock.wait_no_alert("store_unavailable")
    dock.wait(lambda _: len(audits(dock)) > done, "audits go on", 150)
    assert not alerts(dock.status(), "store_fault")
    assert all((event["missing"], event["altered"]) == (0, 0) for event in audits(dock))


def test_counts_that_the_records_do_not_bear_out_are_told(make_dock) -> None:
    dock = make_dock(audit=(("every", "0s"),), wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    stored(dock)
    found = dock.audit()
    assert found["counts_agree"]
    assert found["recount"] == found["counts"] == dock.counts()
    dock.until(lambda: audits(dock), "the audit is taken up")
    assert audits(dock)[-1]["counts_agree"] is True
    assert dock.term() == 0
    alter = "UPDATE counter SET count = count {} 1 WHERE docking = 0 AND name IN ('recordings', 'in_store')"
    raw(dock.state / "journal.db", alter.format("+"))
    found = dock.audit(codes=(1,))
    assert (found["ok"], found["unaccounted"], found["missing"], found["altered"]) == (False, 0, 0, 0)
    assert found["counts_agree"] is False
    assert (found["recount"]["in_store"], found["counts"]["in_store"]) == (2, 3)
    said = dock.run("audit", codes=(1,)).stdout
    assert "NOT the same" in said
    assert "in_store: the journal counts 3, its records give 2" in said
    dock.start()
    dock.wait_alert("counts_disagree")
    assert audits(dock)[-1]["counts_agree"] is False
    assert "counts DISAGREE" in dock.run("status").stdout
    assert dock.term() == 0
    assert alerts(dock.status(), "counts_disagree")
    raw(dock.state / "journal.db", alter.format("-"))
    dock.start()
    dock.audit()
    dock.wait_no_alert("counts_disagree")

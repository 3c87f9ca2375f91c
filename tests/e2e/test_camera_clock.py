"""A camera's clock is measured before its recordings are read, recorded once in a docking, and said over MQTT."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from e2e.broker import Broker, Listener
from e2e.harness import Dock
from e2e.planting import MIB

OFFSET_S = 300
STORY = ("camera_docked", "camera_clock", "recording_found", "recording_copied")


def test_a_cameras_clock_is_told_before_its_recordings_and_its_file_stays(
    make_dock: Callable[..., Dock], broker: Broker
) -> None:
    dock = make_dock(time_file="LOG/TIME.TXT", mqtt=(("url", f"mqtt://127.0.0.1:{broker.port}"),))
    dock.start()
    with Listener(broker.port) as listener:
        dock.cameras.add("CAM1", {b"a.mp4": MIB})
        dock.finish()
        dock.cameras.undock("CAM1")
        dock.wait(lambda s: not s["bays"], "it left")
        # Its user put a recording on it, and it writes the time as it is docked: five minutes ahead.
        dock.cameras.plant("CAM1", b"b.mp4", MIB)
        ahead = datetime.now(UTC) + timedelta(seconds=OFFSET_S)
        dock.cameras.plant("CAM1", b"LOG/TIME.TXT", f"{ahead:%Y-%m-%d %H:%M:%S}\n".encode(), "not_a_recording")
        dock.cameras.redock("CAM1")
        dock.finish()
        bound, measured = dock.events("camera_clock")
        assert (bound["method"], bound["bound"], bound.get("uncertainty_ms")) == ("newest-mtime", "lower", None)
        assert (measured["method"], measured["time_source"]) == ("time-file", "content")
        assert abs(measured["offset_ms"] - OFFSET_S * 1000) <= measured["uncertainty_ms"] < 120_000
        said = [heard.json() for heard in listener.all("camera/CAM1") if heard.payload]
        assert (said[-1]["clock_offset_ms"], said[-1]["clock_offset_at_least_ms"]) == (measured["offset_ms"], None)
        assert any(heard["clock_offset_at_least_ms"] == bound["offset_ms"] for heard in said)
    told = [record["event"] for record in map(json.loads, dock.custody()) if record["event"] in STORY]
    assert told == [*STORY, *STORY]
    assert measured["docking"] == dock.events("camera_docked")[1]["docking"]
    # It is no recording, though the patterns say that everything is one, and nobody is told that it was left alone.
    assert {record["path"] for record in dock.events("recording_found")} == {"a.mp4", "b.mp4"}
    assert (dock.cameras.docked / "CAM1" / "LOG" / "TIME.TXT").exists()
    assert not [alert for alert in dock.status()["alerts"] if alert["code"] == "entries_left_alone"]

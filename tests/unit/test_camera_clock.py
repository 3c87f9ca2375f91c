"""How far a camera's clock is off: what is claimed follows from what could be shown, and is claimed once."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from contract.world import World
from journal_desk import START, HandClock
from usb_samples import device

from dockd.alerts import AlertBoard
from dockd.cameras.folder import FolderCamera
from dockd.journal import queries
from dockd.paths import Forbidden
from dockd.report.messages import camera_messages
from dockd.report.payloads import Camera, event_message
from dockd.runtime.clock import Clock
from dockd.runtime.workers import Worker
from dockd.stages.bays import Bays, Find
from dockd.stages.camera_clock import CameraTime
from dockd.stages.stalls import Stalls
from dockd.usb.devices import connected_s

TIME_FILE = "TIME.TXT"
NOW_NS = round(START.timestamp() * 1000) * 10**6


class Docked:
    """A folder camera, docked again and again, and what is recorded of its clock."""

    def __init__(self, root: Path) -> None:
        self.world = World(root)
        self.world.restarted()
        self.clock = HandClock()
        self.worker = Worker("camera")
        self.write("2026-03-01 12:03:00\n")

    def write(self, text: str, mtime_ns: int = NOW_NS - 10**9) -> None:
        self.file(TIME_FILE, text, mtime_ns)

    def file(self, name: str, text: str = "x", mtime_ns: int = NOW_NS) -> None:
        path = self.world.plant(text.encode(), name.encode())
        os.utime(path, ns=(mtime_ns, mtime_ns))

    def measure(self, absent: float | None = 4.0, *, utc_times: bool = True, docked_for_s: float | None = None) -> Any:
        """The record of a new docking, seen `absent` seconds after the camera was last not there; None if none."""
        camera = self.camera()
        camera.attach()
        camera.utc_times = utc_times
        camera.docked_for_s = lambda: docked_for_s  # type: ignore[method-assign, assignment]
        before = len(self.records())
        asyncio.run(self._measure(camera, None if absent is None else time.monotonic() - absent))
        camera.close()
        self.world.leave()
        found = self.records()[before:]
        assert len(found) <= 1
        return found[0] if found else None

    def camera(self) -> FolderCamera:
        folder = os.fsencode(self.world.folder)
        return FolderCamera(folder, lambda path: True, Forbidden(), TIME_FILE.encode())

    async def _measure(self, camera: FolderCamera, absent_s: float | None) -> None:
        clock = CameraTime(self.world.journal, camera, self.worker, cast("Clock", self.clock), absent_s)
        await clock.read()
        self.world.dock(camera)
        listing = camera.list(self.worker.control)
        row = self.world.journal.run_in_thread(lambda tx: tx.docking(self.world.docking_id))
        for _ in range(2):
            await clock.tell(row, listing)

    def records(self) -> list[dict[str, Any]]:
        lines = self.world.query("SELECT line FROM record WHERE line ->> 'event' = 'camera_clock' ORDER BY chain, seq")
        return [json.loads(line) for (line,) in lines]

    def message(self) -> Camera:
        reports = self.world.journal.run_in_thread(queries.camera_reports)
        (found,) = camera_messages(reports, {"ts": "t", "bays": [], "alerts": []}, "boot").values()
        assert isinstance(found, Camera)
        return found


@pytest.fixture
def docked(tmp_path: Path) -> Iterator[Docked]:
    made = Docked(tmp_path)
    yield made
    made.worker.close()
    made.world.close()


def clock_fields(found: Camera) -> tuple[object, ...]:
    return (
        found.clock_offset_ms,
        found.clock_uncertainty_ms,
        found.clock_offset_at_least_ms,
        found.clock_time_zone_known,
    )


def test_a_time_that_was_written_at_docking_gives_the_offset_and_how_sure_that_is(docked: Docked) -> None:
    record = docked.measure(4.0)
    assert (record["method"], record["time_source"], record["time_zone_known"]) == ("time-file", "content", True)
    assert record["camera_time"] == "2026-03-01T12:03:00.000Z"
    # The dock's clock stands at 12:00:00.250.
    assert record["offset_ms"] == 179_750
    # Four seconds and what the test took, a second's resolution, and 7 ms of the dock's own.
    assert 5007 <= record["uncertainty_ms"] < 9000
    assert "bound" not in record
    assert clock_fields(docked.message()) == (179_750, record["uncertainty_ms"], None, True)


def test_how_long_the_kernel_says_that_it_was_plugged_in_counts_more_than_when_it_was_seen(docked: Docked) -> None:
    assert docked.measure(None, docked_for_s=1.5)["uncertainty_ms"] == 1500 + 1000 + 7
    docked.write("2026-03-01 12:04:00")
    docked.clock.sync = (False, None)
    assert docked.measure(50.0, docked_for_s=1.5)["uncertainty_ms"] == 1500 + 1000


def test_the_files_own_time_serves_where_it_says_none(docked: Docked) -> None:
    docked.write("no time\n", NOW_NS - 5 * 10**9)
    record = docked.measure(4.0)
    assert (record["method"], record["time_source"], record["offset_ms"]) == ("time-file", "mtime", -5000)
    docked.write("no time\n", NOW_NS - 6 * 10**9)
    record = docked.measure(4.0, utc_times=False)
    assert (record["offset_ms"], record["time_zone_known"]) == (-6000, False)
    assert record["uncertainty_ms"] >= 4000 + 2000 + 7


def is_bound(record: dict[str, Any], offset_ms: int) -> bool:
    return (record["method"], record["bound"], record["offset_ms"], record.get("uncertainty_ms")) == (
        "newest-mtime",
        "lower",
        offset_ms,
        None,
    )


def test_of_a_camera_that_was_there_before_anybody_looked_only_a_bound_is_known(docked: Docked) -> None:
    docked.file("a.mp4", mtime_ns=NOW_NS + 2 * 10**9)
    record = docked.measure(None)
    assert is_bound(record, 2000)
    assert record["camera_time"] == "2026-03-01T12:03:00.000Z"
    assert clock_fields(docked.message()) == (None, None, 2000, True)


def test_a_time_that_was_there_in_the_docking_before_was_not_written_in_this_one(docked: Docked) -> None:
    assert docked.measure()["method"] == "time-file"
    docked.clock.wall += timedelta(days=3)
    assert is_bound(docked.measure(), -3 * 86_400_000 - 1000)
    assert is_bound(docked.measure(), -3 * 86_400_000 - 1000)
    docked.write("2026-03-04 12:03:00\n")
    assert docked.measure()["offset_ms"] == 179_750


def test_without_a_time_file_the_newest_file_gives_a_bound_and_the_zone_is_not_guessed(docked: Docked) -> None:
    (docked.world.folder / TIME_FILE).unlink()
    assert docked.measure() is None
    assert clock_fields(docked.message()) == (None, None, None, None)
    docked.file("a.mp4", mtime_ns=NOW_NS - 90 * 10**9)
    docked.file("b.mp4", mtime_ns=NOW_NS - 3600 * 10**9)
    record = docked.measure(utc_times=False)
    assert is_bound(record, -90_000)
    assert record["time_zone_known"] is False
    assert "camera_time" not in record


def test_a_bound_is_rounded_so_that_it_stays_true(docked: Docked) -> None:
    (docked.world.folder / TIME_FILE).unlink()
    docked.file("a.mp4", mtime_ns=NOW_NS - 1)
    assert is_bound(docked.measure(), -1)


def test_what_is_said_of_it_over_mqtt_names_no_file(docked: Docked) -> None:
    record = docked.measure()
    said = event_message(record, "chain", "boot").model_dump()
    assert {"offset_ms", "uncertainty_ms", "method", "camera_time", "time_zone_known"} <= set(said)
    assert TIME_FILE not in str(said)


# --- since when it is there ---------------------------------------------------------------------------------


def find(thing: object, ident: object = "i") -> Find:
    return Find("1", cast("Any", ident), "camera-x", None, thing=cast("Any", thing))


def test_what_is_new_was_not_there_when_the_last_look_began() -> None:
    bays = Bays([], Stalls(60.0, lambda: START), AlertBoard(lambda: START), cast("Any", None))

    def look(at_s: float, number: int = 0, **found: Find) -> dict[str, float | None]:
        bays._note_comings(number, {place.encode(): what for place, what in found.items()}, at_s)
        return {place.decode(): since for (finder, place), (_, since) in bays._came.items() if finder == number}

    # Whatever the first look finds may have been there for long.
    assert look(10.0, a=find(1)) == {"a": None}
    assert look(20.0, a=find(1), b=find(2)) == {"a": None, "b": 10.0}
    # Its medium came late: it is the same thing, and was there before.
    assert look(30.0, a=find(1), b=find(2, "with a card")) == {"a": None, "b": 10.0}
    assert look(40.0, number=1, c=find(7)) == {"c": None}
    assert look(50.0, a=find(3)) == {"a": 30.0}
    assert look(60.0, a=find(3), b=find(2)) == {"a": 30.0, "b": 50.0}


def test_the_kernel_tells_for_how_long_a_device_is_plugged_in(tmp_path: Path) -> None:
    there = replace(device(), sys_path=str(tmp_path))
    assert connected_s(there) is None
    (tmp_path / "power").mkdir()
    (tmp_path / "power" / "connected_duration").write_text("12345\n")
    assert connected_s(there) == 12.345
    (tmp_path / "power" / "connected_duration").write_text("?\n")
    assert connected_s(there) is None

"""How far a bay is: said of what moves, and not too often."""

from __future__ import annotations

from typing import Any

from dockd.report.messages import PROGRESS_EVERY_S, ProgressMeter


def status(done: int, state: str = "offloading") -> dict[str, Any]:
    field = "bytes_copied" if state == "offloading" else "bytes_wiped"
    bay = {"bay": "b1", "state": state, "bytes_total": 1000, "bytes_copied": 0, "bytes_wiped": 0, "in_flight": {}}
    return {"ts": "2026-03-01T12:00:00.000Z", "bays": [{**bay, field: done}]}


def test_rate_and_time_left_come_from_what_moved_since_the_last_message() -> None:
    meter = ProgressMeter("boot")
    assert not meter.measure(status(0), 10.0)
    found = meter.measure(status(200), 12.0)["b1"]
    assert (found.bytes_done, found.bytes_total, found.bytes_per_s, found.eta_s) == (200, 1000, 100.0, 8.0)
    found = meter.measure(status(600), 13.0)["b1"]
    assert (found.bytes_per_s, found.eta_s) == (400.0, 1.0)


def test_however_often_a_status_comes_a_bay_says_at_most_one_a_second() -> None:
    meter = ProgressMeter("boot")
    said = [number / 10 for number in range(101) if meter.measure(status(number), number / 10)]
    assert len(said) == 10 / PROGRESS_EVERY_S


def test_what_stands_still_says_nothing_and_its_rest_is_not_in_the_rate() -> None:
    meter = ProgressMeter("boot")
    meter.measure(status(0), 0.0)
    assert not meter.measure(status(0), 60.0)
    assert meter.measure(status(100), 61.0)["b1"].bytes_per_s == 100.0


def test_another_stage_or_another_camera_begins_anew() -> None:
    meter = ProgressMeter("boot")
    meter.measure(status(900), 0.0)
    assert not meter.measure(status(100, "wiping"), 2.0)
    assert meter.measure(status(300, "wiping"), 4.0)["b1"].bytes_per_s == 100.0
    assert not meter.measure(status(50, "wiping"), 6.0)
    assert not meter.measure({"ts": "", "bays": []}, 7.0)
    assert not meter.measure(status(500, "wiping"), 8.0)
    assert not meter.measure(status(500, "ready"), 10.0)

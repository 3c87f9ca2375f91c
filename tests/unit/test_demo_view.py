"""The demo's picture: the same at any width, whatever a camera is called."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from dockd.demo.ending import Ended, ending_table
from dockd.demo.view import Story, brief, draw, line, stages

COUNTS = dict.fromkeys(
    ("recordings", "in_store", "on_docked_camera", "sole_copy", "awaiting_return", "unaccounted", "wiped"), 7
)
HOSTILE = "CAM\x1b[2J\nwiped\u202e" + "x" * 300


def bay(camera: str, **changes: Any) -> dict[str, Any]:
    made = {
        "camera": camera,
        "state": "offloading",
        "safe_to_take": False,
        "bytes_total": 1000,
        "bytes_copied": 400,
        "bytes_confirmed": 200,
        "bytes_wiped": 100,
        "in_flight": {"offloading": 100, "uploading": 100},
    }
    return {**made, **changes}


def shown(what: Any, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, color_system=None).print(what)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 160, 240])
def test_the_picture_fits_and_cannot_be_forged(width: int) -> None:
    story = Story([f"step {number}" for number in range(20)])
    status = {"counts": COUNTS, "bays": [bay("CAM1"), bay(HOSTILE, state="attention")]}
    heard = [(f"bay/{HOSTILE}", '{"state": "ready"}'), ("event", "{" * 500), ("alert/x/dock", "")]
    lines = shown(draw(story, status, heard), width)
    assert max(map(len, lines)) <= width
    assert not [text for text in lines if "\x1b" in text or "\u202e" in text]
    assert any("step 19" in text for text in lines)
    assert any("CAM1" in text and "offloading" in text and "not yet" in text for text in lines)
    assert any("unaccounted 7" in text for text in lines)
    assert any("(taken back)" in text for text in lines)


def test_bars_count_what_is_under_way_and_end_at_one() -> None:
    assert stages(bay("x")) == (0.5, 0.25, 0.1)
    assert stages(bay("x", bytes_total=0)) == (0.0, 0.0, 0.0)
    assert stages(bay("x", bytes_copied=990, bytes_confirmed=1000, bytes_wiped=1000)) == (1.0, 1.0, 1.0)


def test_a_line_for_a_pipe_names_every_camera() -> None:
    assert line({"bays": []}) == "no camera is docked"
    told = line({"bays": [bay("CAM1"), bay(HOSTILE)]})
    assert "CAM1 offloading: copied 50%, in the store 25%, emptied 10%" in told
    assert "\x1b" not in told
    assert "\n" not in told


@pytest.mark.parametrize("payload", ["", "garbage", '{"state": "ready", "x": 1}'])
def test_any_message_has_a_brief_form(payload: str) -> None:
    assert brief(payload)


@pytest.mark.parametrize("width", [80, 160])
def test_the_ending_fits_and_shows_what_was_not_wiped(width: int) -> None:
    key = f"calgary/recordings/CAM1/{'a' * 64}.mp4"
    rows = [
        Ended("CAM1", "DCIM/CLIP0001.MP4", 5000, "a" * 64, key, "2026-01-01T10:11:12.000Z", "2026-01-01T10:11:13.000Z"),
        Ended("CAM1", "DCIM/CLIP0002.MP4", 5000, None, None, None, None),
    ]
    lines = shown(ending_table(rows, wide=width >= 150), width)
    assert max(map(len, lines)) <= width
    first = next(text for text in lines if "CLIP0001" in text)
    assert "10:11:12" in first
    assert "10:11:13" in first
    assert (key in first) is (width == 160)
    assert next(text for text in lines if "CLIP0002" in text).count(" no") == 3

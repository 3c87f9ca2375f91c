"""Threads that hang: named once, in words that stay, and forgotten when they go on."""

from __future__ import annotations

from datetime import timedelta

from journal_desk import HandClock

from dockd.runtime.workers import Control
from dockd.stages.stalls import Stalls


def stuck(control: Control, still_s: float) -> None:
    """As if it had made no progress for so long."""
    control.started()
    control.begin("uploading", "secret-name.mp4", 10)
    control.last_s -= still_s


def test_only_what_is_busy_and_too_long_without_progress_hangs() -> None:
    stalls, control = Stalls(1000, HandClock().now), Control()
    assert stalls.what(control) is None
    stuck(control, 500)
    assert not stalls.hangs(control)
    stuck(control, 1500)
    assert stalls.hangs(control)
    control.busy = False
    assert not stalls.hangs(control)
    assert stalls.what(control) is None


def test_what_is_said_stays_the_same_while_it_lasts_and_names_no_file() -> None:
    clock, control = HandClock(), Control()
    stalls = Stalls(1000, clock.now)
    stuck(control, 1500)
    said = stalls.what(control)
    assert said == "no progress since 2026-03-01 11:35:00 UTC while uploading"
    control.last_s += 0
    clock.wall += timedelta(hours=3)
    assert stalls.what(control) == said
    control.advance(1)
    assert stalls.what(control) is None
    stuck(control, 1500)
    assert stalls.what(control) != said

"""A throttled loop keeps to its rate, can be stopped while it waits, and does not save up."""

from __future__ import annotations

import pytest

from dockd.errors import StoppedError
from dockd.runtime.throttle import Throttled
from dockd.runtime.workers import Control


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []

    def read(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def made(rate: float) -> tuple[Clock, Control, Throttled]:
    clock, control = Clock(), Control()
    return clock, control, Throttled(control, rate, clock.read, clock.sleep)


def test_what_passes_takes_as_long_as_the_rate_says() -> None:
    clock, control, throttled = made(100.0)
    began_s = clock.now_s
    for _ in range(50):
        throttled.advance(10)
    assert control.done_bytes == 500
    assert 4.0 <= clock.now_s - began_s <= 5.1


def test_a_long_pause_is_not_made_up_for() -> None:
    clock, _, throttled = made(100.0)
    clock.now_s += 3600
    began_s = clock.now_s
    for _ in range(50):
        throttled.advance(10)
    assert clock.now_s - began_s >= 3.9


def test_it_can_be_stopped_while_it_waits() -> None:
    clock, control, throttled = made(1.0)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.slept) == 3:
            control.stop()

    throttled.sleep = sleep
    with pytest.raises(StoppedError):
        throttled.advance(1000)
    assert len(clock.slept) == 3
    assert max(clock.slept) <= 0.25


def test_what_is_no_byte_takes_no_time() -> None:
    clock, _, throttled = made(1.0)
    for _ in range(1000):
        throttled.advance()
        throttled.check()
    assert not clock.slept

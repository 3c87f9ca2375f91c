"""The dock's own clock: what the kernel says of it, nothing else, and when somebody set it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from journal_desk import STEPPED, Desk, desk_in

from dockd.runtime.clock import NOT_SYNCHRONISED, Synchronised, SystemClock
from dockd.upkeep import Upkeep

PPS_FREQUENCY, PPS_TIME, UNSYNC, PPS_SIGNAL, CLOCK_ERROR, NANO = 0x2, 0x4, 0x40, 0x100, 0x1000, 0x2000
OK, INSERT, TIME_ERROR = 0, 1, 5


class PlayedKernel:
    """libc, as far as adjtimex goes."""

    def __init__(self, state: int, status: int, maxerror_us: int) -> None:
        self.answer = (state, status, maxerror_us)

    def adjtimex(self, reference: Any) -> int:
        timex = reference._obj
        assert timex.modes == 0, "the clock is only read"
        state, timex.status, timex.maxerror = self.answer
        return state


def told(state: int, status: int, maxerror_us: int) -> Synchronised:
    clock = SystemClock()
    clock._libc = cast("Any", PlayedKernel(state, status, maxerror_us))
    return clock.synchronised()


@pytest.mark.parametrize(
    ("state", "status", "maxerror_us", "said"),
    [
        (OK, NANO, 0, Synchronised(True, 0, "kernel")),
        (OK, NANO, 1, Synchronised(True, 1, "kernel")),
        (OK, 0, 1000, Synchronised(True, 1, "kernel")),
        (OK, 0, 1001, Synchronised(True, 2, "kernel")),
        # It grows by 500 us in a second without a correction, until the kernel itself gives up.
        (OK, 0, 15_999_999, Synchronised(True, 16_000, "kernel")),
        (INSERT, 0, 5000, Synchronised(True, 5, "kernel")),
        (OK, PPS_TIME | PPS_SIGNAL | PPS_FREQUENCY, 3, Synchronised(True, 1, "kernel-pps")),
        # A pulse that only disciplines the frequency, or is not there, steers no time.
        (OK, PPS_FREQUENCY | PPS_SIGNAL, 3, Synchronised(True, 1, "kernel")),
        (OK, PPS_TIME, 3, Synchronised(True, 1, "kernel")),
        (OK, UNSYNC, 5000, NOT_SYNCHRONISED),
        (TIME_ERROR, 0, 5000, NOT_SYNCHRONISED),
        (TIME_ERROR, UNSYNC | NANO, 16_000_000, NOT_SYNCHRONISED),
        (OK, CLOCK_ERROR, 5000, NOT_SYNCHRONISED),
        (-1, 0, 0, NOT_SYNCHRONISED),
        (OK, 0, -1, NOT_SYNCHRONISED),
    ],
)
def test_it_is_said_as_the_kernel_says_it(state: int, status: int, maxerror_us: int, said: Synchronised) -> None:
    assert told(state, status, maxerror_us) == said


def test_the_real_kernel_answers() -> None:
    found = SystemClock().synchronised()
    assert found.synchronised == (found.uncertainty_ms is not None) == (found.source != "unknown")


def test_what_the_kernel_said_stands_in_every_record(desk: Desk) -> None:
    desk.do(lambda tx: tx.append(STEPPED))
    desk.clock.sync = (False, None)
    desk.do(lambda tx: tx.append(STEPPED))
    assert [record["clock"] for record in desk.records()] == [
        {"synchronised": True, "source": "kernel", "uncertainty_ms": 7},
        {"synchronised": False, "source": "unknown", "uncertainty_ms": None},
    ]


# --- steps ----------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as made:
        yield made


async def steps(desk: Desk, *moves: tuple[float, float]) -> list[int]:
    """The steps that are recorded when the machine's clock and the wall clock move by the seconds of each pair."""
    nothing = cast("Any", None)
    upkeep = Upkeep(desk.journal, desk.clock, nothing, nothing, None, nothing, nothing, nothing, nothing)
    offset_s = desk.clock.now().timestamp() - desk.clock.boottime_s()
    for machine_s, wall_s in moves:
        desk.clock.passed_s += machine_s
        desk.clock.wall += timedelta(seconds=wall_s)
        offset_s = await upkeep._note_clock_step(offset_s)
    return [record["step_ms"] for record in map(json.loads, desk.lines())]


async def test_a_clock_that_is_set_is_recorded_once_forwards_and_back(desk: Desk) -> None:
    assert await steps(desk, (1, 1), (1, 61), (1, 1), (1, -7199.5), (1, 1)) == [60_000, -7_200_500]


async def test_slow_corrections_never_add_up_to_a_step(desk: Desk) -> None:
    assert await steps(desk, *[(1, 1.5)] * 20) == []


async def test_a_machine_that_slept_did_not_have_its_clock_set(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(desk.clock), "monotonic_s", lambda self: 100.0)
    assert await steps(desk, (1, 1), (3600, 3600), (1, 1)) == []

"""Threads that move bytes: watched, stopped at the next step, joined, or left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from dockd.errors import CameraGoneError, StoppedError
from dockd.runtime.workers import Control, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker("test")
    yield made
    made.control.stop()
    made.close()


async def test_calls_run_in_one_thread_in_order(worker: Worker) -> None:
    order: list[int] = []
    threads: set[int] = set()

    def call(number: int) -> int:
        order.append(number)
        threads.add(threading.get_ident())
        return number * 2

    results = await asyncio.gather(*(worker.run(partial(call, number)) for number in range(20)))
    assert results == [number * 2 for number in range(20)]
    assert order == list(range(20))
    assert threads == {worker._thread.ident}
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("error", [ValueError("x"), StoppedError("x"), OSError(5, "x")])
async def test_what_a_call_raises_its_caller_gets_and_the_thread_goes_on(worker: Worker, error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await worker.run(fail)
    assert raised.value is error
    assert await worker.run(lambda: "still there") == "still there"


async def test_a_cancelled_wait_does_not_disturb_the_next_call(worker: Worker) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go_on.wait(10)

    first = asyncio.create_task(worker.run(slow))
    await asyncio.to_thread(begun.wait, 10)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(worker.run(lambda: "second"))
    await asyncio.sleep(0.05)
    assert not second.done(), "the thread is still in the first call"
    go_on.set()
    assert await second == "second"


async def test_a_call_cancelled_before_its_turn_is_not_made(worker: Worker) -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[str] = []

    def slow() -> None:
        begun.set()
        go_on.wait(10)

    first = asyncio.create_task(worker.run(slow))
    await asyncio.to_thread(begun.wait, 10)
    second = asyncio.create_task(worker.run(lambda: made.append("second")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await first
    await worker.run(lambda: made.append("third"))
    assert made == ["third"]


async def test_a_closed_worker_ends_after_what_was_asked_before(worker: Worker) -> None:
    made: list[int] = []
    tasks = [asyncio.create_task(worker.run(partial(made.append, number))) for number in range(3)]
    await asyncio.sleep(0)
    worker.close()
    assert await worker.join(5)
    assert worker.ended
    await asyncio.gather(*tasks)
    assert made == [0, 1, 2]


async def test_a_thread_that_hangs_is_left_behind(worker: Worker) -> None:
    go_on = threading.Event()
    hanging = asyncio.create_task(worker.run(lambda: go_on.wait(20)))
    await asyncio.sleep(0.05)
    worker.close()
    begun_s = time.monotonic()
    assert not await worker.join(0.2)
    assert time.monotonic() - begun_s < 5
    assert not worker.ended
    assert worker._thread.daemon, "one that hangs must not keep the process from ending"
    go_on.set()
    await hanging
    assert await worker.join(5)


# --- control -----------------------------------------------------------------------------------------


def test_a_stop_is_met_at_the_next_step() -> None:
    control = Control()
    control.begin("copying", "a.mp4", 100)
    control.advance(10)
    assert (control.phase, control.subject, control.done_bytes, control.total_bytes) == ("copying", "a.mp4", 10, 100)
    assert not control.stopping
    control.stop()
    assert control.stopping
    for step in (control.advance, control.check, lambda: control.begin("x")):
        with pytest.raises(StoppedError):
            step()


def test_the_first_reason_to_stop_counts() -> None:
    control = Control()
    control.stop(CameraGoneError("pulled"))
    control.stop()
    with pytest.raises(CameraGoneError):
        control.check()


def test_bytes_are_counted_per_piece_of_work_and_over_all() -> None:
    control = Control()
    control.begin("copying", "a", 10)
    control.advance(10)
    control.begin("copying", "b", 20)
    control.advance(5)
    assert (control.done_bytes, control.moved_bytes) == (5, 15)


async def test_a_thread_that_makes_no_progress_is_seen(worker: Worker) -> None:
    assert worker.control.still_s() == 0.0
    go_on = threading.Event()
    task = asyncio.create_task(worker.run(lambda: go_on.wait(20)))
    await asyncio.sleep(0.3)
    assert 0.2 < worker.control.still_s() < 10
    assert worker.control.busy
    worker.control.advance()
    assert worker.control.still_s() < 0.2
    go_on.set()
    await task
    await asyncio.sleep(0.05)
    assert not worker.control.busy
    assert worker.control.still_s() == 0.0
    assert worker.control.phase == "idle"


async def test_idle_time_does_not_count_as_standing_still(worker: Worker) -> None:
    await worker.run(lambda: None)
    await asyncio.sleep(0.3)
    assert await worker.run(worker.control.still_s) < 0.2

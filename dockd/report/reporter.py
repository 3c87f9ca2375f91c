"""Staying in touch with the broker: connecting again and again, each time with a new client."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, Final

import structlog

from dockd.alerts import AlertBoard
from dockd.custody.chain import rfc3339
from dockd.errors import BrokerLostError, DockdError
from dockd.report.link import Incoming, Link, Message
from dockd.report.speaker import Speaker

log = structlog.get_logger()

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
STEADY_S: Final = 5.0
"""A connection that stood for so long was a good one: the next attempt comes soon."""

GOODBYE_S: Final = 1.5

Connect = Callable[[], AbstractAsyncContextManager[Link]]


class Reporter:
    """Runs the speaker over one connection after the other. Nothing waits for it."""

    def __init__(self, speaker: Speaker, connect: Connect, alerts: AlertBoard, now: Callable[[], datetime]) -> None:
        self._speaker = speaker
        self._connect = connect
        self._alerts = alerts
        self._now = now
        self._since = rfc3339(now())
        self._problem: str | None = None
        self._finish = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.connected = False

    def start(self) -> None:
        """Begin to run, beside everything else."""
        self._task = asyncio.create_task(self._run(), name="mqtt")

    def payload(self) -> dict[str, Any]:
        """The broker's part of the status."""
        return {
            "configured": True,
            "connected": self.connected,
            "since": self._since,
            "problem": self._problem,
        }

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._finish.is_set():
            begun_s = asyncio.get_running_loop().time()
            try:
                await self._in_its_own_task(self._attempt())
                return
            except BrokerLostError as error:
                self._down(error)
            except DockdError as error:
                # The journal has no room or is locked: what is to be said cannot be read just now.
                self._down(error)
            except Exception as error:
                # A defect here must not touch footage: it is told, and tried again.
                log.exception("mqtt_failed", error=str(error))
                self._down(DockdError(f"a defect: {error!r}"))
            if asyncio.get_running_loop().time() - begun_s >= STEADY_S:
                pause_s = FIRST_PAUSE_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
                    await self._finish.wait()
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _attempt(self) -> None:
        """One connection, for as long as it stands."""
        async with self._connect() as link:
            self._up()
            await self._speaker.serve(link)

    async def _in_its_own_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` so that nothing of its end sticks to this task.

        Debian 12's Python (3.11.2) forgets to take back the cancellation with which a TaskGroup ends, and the next
        asyncio.timeout in the same task would end in CancelledError: nobody would connect again.
        """
        task = asyncio.create_task(work, name="mqtt-connection")
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        if task.cancelled():
            raise BrokerLostError("the connection to the broker was given up")
        task.result()

    def _up(self) -> None:
        self.connected, self._problem, self._since = True, None, rfc3339(self._now())
        self._alerts.put("mqtt_unavailable", "dock", None)
        log.info("mqtt_connected")

    def _down(self, error: DockdError) -> None:
        if self.connected or self._problem is None:
            self._since = rfc3339(self._now())
            log.warning("mqtt_not_connected", error=error.message, hint=error.hint)
        self.connected, self._problem = False, error.message
        self._alerts.put("mqtt_unavailable", "dock", f"{error.message}. {error.hint}")

    async def finish(self) -> None:
        """Say good-bye if anybody hears it; within a bounded time, whatever the broker does."""
        self._finish.set()
        self._speaker.finish()
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=GOODBYE_S)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([self._task], timeout=GOODBYE_S)


class PrintedLink:
    """A link to standard output, for want of a broker: one line for each message, its topic and its content."""

    def send(self, message: Message) -> asyncio.Future[None]:
        """Print the message."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            print(message.topic, message.payload.decode(), flush=True)  # noqa: T201 - that is what it is for
        except (OSError, ValueError) as error:
            done.set_exception(BrokerLostError(f"standard output cannot be written: {error}"))
        else:
            done.set_result(None)
        return done

    async def subscribe(self, topic: str) -> None:
        """Nobody sends anything here."""

    async def incoming(self) -> AsyncIterator[Incoming]:
        """Nothing comes in."""
        await asyncio.Event().wait()
        yield Incoming("", b"", retain=False)


@asynccontextmanager
async def printing() -> AsyncIterator[Link]:
    """A connection to standard output."""
    yield PrintedLink()

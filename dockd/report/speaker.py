"""What a dock says on one connection after the other: all that is retained, what changes, and every event."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

import structlog

from dockd.custody.chain import rfc3339
from dockd.errors import BrokerLostError, PublishRefusedError
from dockd.journal import queries
from dockd.journal.journal import Journal
from dockd.report import outbox
from dockd.report.event_stream import EventStream
from dockd.report.link import Incoming, Link, Message
from dockd.report.messages import ProgressMeter, Self, bay_faces, camera_messages, compose, phase_of
from dockd.report.payloads import EVERY_S, Availability, Payload, Phase, Progress, State

log = structlog.get_logger()

SHORTEST_S: Final = 0.2
_TAKEN_BACK: Final = ("bay/", "alert/")
_DRIFTING: Final = frozenset({"spool", "clock", "outbox_depth", "oldest_unconfirmed_s"})
"""What of `state` moves all the time: it is renewed every half minute, and whenever the rest changes."""


class Finished(Exception):  # noqa: N818 - not an error
    """The dock has said good-bye."""


class Desk(Protocol):
    """Who carries out commands."""

    async def answer(self, incoming: Incoming, name: str) -> Message | None:
        """Carry out one command, and give the response to send; None: it is to be ignored."""


class Speaker:
    """Speaks below `root`; `refused` gets what the broker refuses, or None once it refuses nothing any more."""

    def __init__(
        self,
        root: str,
        me: Self,
        journal: Journal,
        now: Callable[[], datetime],
        refused: Callable[[str | None], None],
    ) -> None:
        self.root = root
        self.me = me
        self.desk: Desk | None = None
        self.stopping = False
        self.events = EventStream(root, me.boot, journal, self._outcome)
        self._journal = journal
        self._now = now
        self._tell_refused = refused
        self._status: dict[str, Any] | None = None
        self._taken_s = 0.0
        self._news = asyncio.Event()
        self._finish = asyncio.Event()
        self._said: dict[str, dict[str, Any]] = {}
        self._kept: set[str] | None = None
        self._faces: dict[bytes, dict[str, Any]] | None = None
        self._leaving: set[bytes] = set()
        self._refusals: dict[str, str] = {}
        self._meter = ProgressMeter(me.boot)
        self._phase: tuple[Phase, str] | None = None
        self._renewed_s = 0.0
        self._link: Link | None = None

    # --- what is known -------------------------------------------------------------------------------

    def take(self, status: dict[str, Any]) -> None:
        """The newest status of the dock."""
        self._status, self._taken_s = status, asyncio.get_running_loop().time()
        phase = phase_of(status, stopping=self.stopping)
        if self._phase is None or self._phase[0] != phase:
            self._phase = (phase, status["ts"])
        self._news.set()

    def availability(self, state: str) -> Message:
        """The message about the dock's being there; the last will is one of them."""
        payload = Availability.model_validate({"ts": rfc3339(self._now()), "boot": self.me.boot, "state": state})
        return self._message("availability", payload)

    def republish(self) -> None:
        """Say everything that is retained once more."""
        self._said.clear()
        self._faces = None
        self._news.set()

    def stop(self) -> None:
        """The dock is stopping: whoever listens is told, and nobody waits for it."""
        self.stopping = True
        if self._link is not None:
            self._link.send(self.availability("stopping"))

    async def replay(self, chain: str | None, from_seq: int, to_seq: int | None) -> dict[str, Any]:
        """Have events said again, before those that are new; raises CommandError."""
        return await self.events.replay(chain, from_seq, to_seq)

    def finish(self) -> None:
        """Say good-bye; `serve` returns then."""
        self._finish.set()

    # --- one connection ------------------------------------------------------------------------------

    async def serve(self, link: Link) -> None:
        """Say all there is and all that comes, until told to finish; raises BrokerLostError."""
        self.republish()
        self._refusals.clear()
        self._link = link
        try:
            # Whoever sees that the dock is online may send it a command.
            await self._subscribe(link)
            await self._send(link, self.availability("stopping" if self.stopping else "online"))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._say_state(link), name="mqtt-state")
                group.create_task(self.events.run(link), name="mqtt-events")
                group.create_task(self._listen(link), name="mqtt-commands")
                group.create_task(self._say_goodbye(link), name="mqtt-goodbye")
        except BaseExceptionGroup as group:
            for kind in (Finished, BrokerLostError):
                found = group.subgroup(kind)
                if found is not None and len(found.exceptions) == len(group.exceptions):
                    if kind is Finished:
                        return
                    raise BrokerLostError(str(found.exceptions[0])) from None
            raise
        finally:
            self._link = None

    async def _subscribe(self, link: Link) -> None:
        try:
            await link.subscribe(f"{self.root}/command/+")
        except PublishRefusedError as error:
            self._outcome("command/+", error.message)

    async def _say_goodbye(self, link: Link) -> None:
        await self._finish.wait()
        # Of bays nothing more is said: nobody looks after them now, and `offline` tells just that.
        await self._send(link, self.availability("offline"))
        raise Finished

    def _message(self, topic: str, payload: Payload | None, *, qos: int = 1, retain: bool = True) -> Message:
        data = b"" if payload is None else payload.encode()
        return Message(f"{self.root}/{topic}", data, qos, retain)

    async def _send(self, link: Link, message: Message) -> bool:
        """Send and wait; False if the broker refuses it."""
        topic = message.topic.removeprefix(f"{self.root}/")
        try:
            await link.send(message)
        except PublishRefusedError as error:
            self._outcome(topic, error.message)
            return False
        self._outcome(topic, None)
        return True

    def _outcome(self, topic: str, refusal: str | None) -> None:
        """Note what the broker said of a message on this topic."""
        before = bool(self._refusals)
        if refusal is None:
            self._refusals.pop(topic, None)
        else:
            self._refusals[topic] = refusal
        if self._refusals:
            first = min(self._refusals)
            self._tell_refused(f"the broker refuses {len(self._refusals)} topics: {first}: {self._refusals[first]}")
        elif before:
            self._tell_refused(None)

    # --- state ---------------------------------------------------------------------------------------

    async def _say_state(self, link: Link) -> None:
        while True:
            self._news.clear()
            if self._status is not None:
                await self._round(link, self._status, self._taken_s)
            await asyncio.sleep(SHORTEST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._news.wait()

    async def _round(self, link: Link, status: Mapping[str, Any], taken_s: float) -> None:
        assert self._phase is not None
        phase, since = self._phase
        wanted = compose(status, self.me, phase=phase, phase_since=since, outbox_depth=await self.events.depth())
        now_s = asyncio.get_running_loop().time()
        if now_s - self._renewed_s >= EVERY_S:
            self._renewed_s = now_s
            for topic in ("state", *self._refusals):
                self._said.pop(topic, None)
            if self._refusals:
                self._faces = None
        cameras = await self._camera_messages(status)
        await self._keep(wanted)
        for topic, payload in (*wanted.items(), *cameras.items()):
            news = _news(payload)
            if self._said.get(topic) != news:
                await self._send(link, self._message(topic, payload))
                self._said[topic] = news
        await self._take_back(link, wanted)
        for progress in self._meter.measure(status, taken_s).values():
            link.send(self._progress(progress))

    def _progress(self, progress: Progress) -> Message:
        return self._message(f"bay/{progress.bay}/progress", progress, qos=0, retain=False)

    async def _camera_messages(self, status: Mapping[str, Any]) -> dict[str, Payload]:
        """Of all cameras after a connect; after that of those whose bay shows something else, or that left."""
        faces = bay_faces(status)
        serials: set[bytes] | None = None
        if self._faces is not None:
            serials = {serial for serial in {*faces, *self._faces} if faces.get(serial) != self._faces.get(serial)}
            serials |= self._leaving
        self._faces = faces
        if serials is not None and not serials:
            return {}
        reports = await self._journal.run(lambda tx: queries.camera_reports(tx, serials))
        # The end of a docking is recorded a moment after its bay is empty.
        self._leaving = {report.serial for report in reports if report.left_at is None and report.serial not in faces}
        return camera_messages(reports, status, self.me.boot)

    async def _keep(self, wanted: Mapping[str, Payload]) -> None:
        if self._kept is None:
            self._kept = await self._journal.run(outbox.kept_topics)
        fresh = {topic for topic in wanted if topic.startswith(_TAKEN_BACK)} - self._kept
        if fresh:
            await self._journal.run(lambda tx: outbox.keep_topics(tx, fresh))
            self._kept |= fresh

    async def _take_back(self, link: Link, wanted: Mapping[str, Payload]) -> None:
        assert self._kept is not None
        for topic in sorted(self._kept - wanted.keys()):
            self._said.pop(topic, None)
            if await self._send(link, self._message(topic, None)):
                await self._journal.run(lambda tx, topic=topic: outbox.forget_topic(tx, topic))  # type: ignore[misc]
                self._kept.discard(topic)

    # --- commands ------------------------------------------------------------------------------------

    async def _listen(self, link: Link) -> None:
        prefix = f"{self.root}/command/"
        async for incoming in link.incoming():
            if self.desk is not None and incoming.topic.startswith(prefix):
                answer = await self.desk.answer(incoming, incoming.topic.removeprefix(prefix))
                if answer is not None:
                    await self._send(link, answer)


def _news(payload: Payload) -> dict[str, Any]:
    content = payload.content()
    if isinstance(payload, State):
        return {key: value for key, value in content.items() if key not in _DRIFTING}
    return content

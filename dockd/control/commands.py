"""The commands that a running daemon takes, from its control socket and over MQTT.

None of them can wipe, lift a hold, or shorten the way to a wipe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dockd.audit.schedule import Auditor
from dockd.custody.chain import rfc3339
from dockd.errors import CommandError, DockdError
from dockd.journal import recordings
from dockd.journal.journal import Journal
from dockd.runtime.clock import Clock
from dockd.runtime.randomness import SystemRandomness
from dockd.stages.bays import Bays
from dockd.stages.lane import StoreLane
from dockd.stages.switches import EVERY_BAY, Switches
from dockd.wipe.facts import StoreCalls
from dockd.wipe.holds import Hold, publish_hold
from dockd.wipe.placing import Wanted, make_holds, too_late

log = structlog.get_logger()
A = TypeVar("A", bound=BaseModel)

_LARGEST: Final = 2**53
_Text = Annotated[str, Field(min_length=1, max_length=500)]


class _Arguments(BaseModel):
    """What a command needs; keys that it does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _MaybeBay(_Arguments):
    bay: _Text | None = None


class _Bay(_Arguments):
    bay: _Text


class _Hold(_Arguments):
    camera: _Text | None = None
    recording: _Text | None = None
    reason: _Text = "by command"

    @model_validator(mode="after")
    def _one(self) -> _Hold:
        if (self.camera is None) == (self.recording is None):
            raise ValueError("either camera or recording is needed")
        return self


class _Audit(_Arguments):
    sample: Annotated[int, Field(ge=1, le=_LARGEST)] | None = None


class _Replay(_Arguments):
    from_seq: Annotated[int, Field(ge=1, le=_LARGEST)]
    to_seq: Annotated[int, Field(ge=1, le=_LARGEST)] | None = None
    chain: _Text | None = None


class Speaking(Protocol):
    """What commands ask of whoever talks to the broker."""

    def republish(self) -> None:
        """Say everything that is retained once more."""

    async def replay(self, chain: str | None, from_seq: int, to_seq: int | None) -> dict[str, Any]:
        """Have events said again; raises CommandError."""


@dataclass(slots=True)
class Commands:
    """Carries out commands; each gives what it did, or raises CommandError having changed nothing."""

    agency: str
    dock: str
    clock: Clock
    journal: Journal
    calls: StoreCalls
    lane: StoreLane
    bays: Bays | None
    switches: Switches
    auditor: Auditor
    changed: Callable[[], None]
    speaking: Speaking | None = None

    async def run(self, name: str, arguments: Mapping[str, Any], *, by: str, uid: str | None = None) -> dict[str, Any]:
        """Carry out one command that came `by` a way and, where it has one, under the id `uid`."""
        table: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
            "pause": lambda: self._pause(_parse(_MaybeBay, arguments)),
            "resume": lambda: self._resume(_parse(_MaybeBay, arguments)),
            "rescan": lambda: self._rescan(_parse(_MaybeBay, arguments)),
            "retry": lambda: self._retry(_parse(_MaybeBay, arguments)),
            "identify": lambda: self._identify(_parse(_Bay, arguments)),
            "hold": lambda: self._hold(_parse(_Hold, arguments), by, uid),
            "audit": lambda: self._audit(_parse(_Audit, arguments)),
            "republish": self._republish,
            "replay": lambda: self._replay(_parse(_Replay, arguments)),
        }
        command = table.get(name)
        if command is None:
            raise CommandError(f"there is no command {name[:40]!r}; there are: {', '.join(table)}")
        try:
            result = await command()
        except CommandError:
            raise
        except DockdError as error:
            raise CommandError(error.message, error.hint) from error
        log.info("command_done", command=name, by=by, result=result)
        self.changed()
        return result

    # --- bays ----------------------------------------------------------------------------------------

    def _known(self, bay: str | None) -> str | None:
        names = [] if self.bays is None else self.bays.names()
        if bay is not None and bay not in names:
            raise CommandError(f"there is no bay {bay!r} now; there are: {', '.join(names) or 'none'}")
        return bay

    async def _pause(self, wanted: _MaybeBay) -> dict[str, Any]:
        fresh = self.switches.paused_bays | {self._known(wanted.bay) or EVERY_BAY}
        return await self._switch(fresh)

    async def _resume(self, wanted: _MaybeBay) -> dict[str, Any]:
        paused = self.switches.paused_bays
        if wanted.bay is not None and EVERY_BAY in paused:
            raise CommandError("all bays are paused together; resume all of them, then pause those that are meant")
        result = await self._switch(paused - {wanted.bay} if wanted.bay is not None else set())
        if self.bays is not None:
            self.bays.poke_all()
        return result

    async def _switch(self, paused: set[str]) -> dict[str, Any]:
        await self.journal.run(lambda tx: self.switches.save(tx, paused))
        self.switches.paused_bays = paused
        return {"paused": sorted(paused)}

    async def _rescan(self, wanted: _MaybeBay) -> dict[str, Any]:
        self._known(wanted.bay)
        if self.bays is not None:
            self.bays.rescan(wanted.bay)
        return {"bay": wanted.bay}

    async def _retry(self, wanted: _MaybeBay) -> dict[str, Any]:
        self._known(wanted.bay)
        await self.journal.run(recordings.retry_storing)
        self.lane.end_pause()
        self.lane.poke()
        for session in self.bays.sessions() if self.bays is not None else ():
            if wanted.bay in (None, session.camera.bay):
                session.retry()
        return {"bay": wanted.bay}

    async def _identify(self, wanted: _Bay) -> dict[str, Any]:
        self._known(wanted.bay)
        self.switches.identify(wanted.bay)
        log.warning("identify", bay=wanted.bay)
        return {"bay": wanted.bay}

    # --- evidence ------------------------------------------------------------------------------------

    async def _hold(self, wanted: _Hold, by: str, uid: str | None) -> dict[str, Any]:
        created = rfc3339(self.clock.now())
        ask = Wanted(wanted.camera, wanted.recording, wanted.reason, by, created, self.dock)
        names = _tokens(uid)
        holds = await self.journal.run(lambda tx: make_holds(tx, ask, lambda: next(names)))
        late = 0
        for hold in holds:
            await self.calls.run(lambda hold=hold: self._publish(hold))  # type: ignore[misc]
            late += len(await self.journal.run(lambda tx, hold=hold: too_late(tx, hold)))  # type: ignore[misc]
        return {"holds": [hold.hold for hold in holds], "too_late": late}

    def _publish(self, hold: Hold) -> None:
        publish_hold(self.calls.store, self.agency, hold)

    async def _audit(self, wanted: _Audit) -> dict[str, Any]:
        self.auditor.start(wanted.sample)
        return {"started": True, "sample": wanted.sample}

    # --- what is said --------------------------------------------------------------------------------

    async def _republish(self) -> dict[str, Any]:
        if self.speaking is None:
            raise CommandError("this dock has no broker")
        self.speaking.republish()
        return {}

    async def _replay(self, wanted: _Replay) -> dict[str, Any]:
        if self.speaking is None:
            raise CommandError("this dock has no broker")
        return await self.speaking.replay(wanted.chain, wanted.from_seq, wanted.to_seq)


def _tokens(uid: str | None) -> Iterator[str]:
    """Names for holds: of a command with an id always the same, so that it acts once also over a restart."""
    number = 0
    seed = uid if uid is not None else SystemRandomness().token()
    while True:
        yield hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()[:16]
        number += 1


def _parse(model: type[A], arguments: Mapping[str, Any]) -> A:
    try:
        return model.model_validate(dict(arguments))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CommandError(f"{where}: {first['msg']}" if where else first["msg"]) from error

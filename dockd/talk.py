"""Talk: what the daemon says to a broker, and what it is told by one and through its control socket."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from dockd.alerts import AlertBoard
from dockd.audit.schedule import Auditor
from dockd.config.models import DockSettings
from dockd.control.commands import Commands
from dockd.control.desk import MqttDesk
from dockd.control.socket import ControlSocket, socket_path
from dockd.custody.chain import rfc3339
from dockd.journal.journal import Journal
from dockd.paths import StatePaths
from dockd.report import messages
from dockd.report.link import Message
from dockd.report.reporter import Connect, Reporter
from dockd.report.speaker import Speaker
from dockd.report.status_file import StatusFile
from dockd.runtime.clock import Clock
from dockd.stages.bays import Bays
from dockd.stages.lane import StoreLane
from dockd.stages.switches import Switches
from dockd.version import version
from dockd.wipe.facts import StoreCalls


@dataclass(frozen=True, slots=True)
class TalkParts:
    """The parts of the daemon that are talked about, or told what to do."""

    dock: DockSettings
    boot: str
    paths: StatePaths
    clock: Clock
    journal: Journal
    calls: StoreCalls
    lane: StoreLane
    bays: Bays | None
    switches: Switches
    auditor: Auditor
    alerts: AlertBoard
    status_file: StatusFile


@dataclass(slots=True)
class Talk:
    """Commands, the control socket and, if there is anybody to speak to, the speaker."""

    commands: Commands
    socket: ControlSocket
    speaker: Speaker | None = None
    reporter: Reporter | None = None

    @classmethod
    def build(cls, parts: TalkParts, speech: tuple[str, Callable[[Message], Connect]] | None) -> Self:
        """`speech`: the configuration's digest, and how to get a connection that leaves a last will."""
        dock = parts.dock
        commands = Commands(
            dock.agency,
            f"{dock.agency}/{dock.site}/{dock.name}",
            parts.clock,
            parts.journal,
            parts.calls,
            parts.lane,
            parts.bays,
            parts.switches,
            parts.auditor,
            parts.status_file.poke,
        )
        path = socket_path(parts.paths.state_dir, os.environ.get("RUNTIME_DIRECTORY"))
        made = cls(commands, ControlSocket(path, parts.paths.control, commands))
        if speech is not None:
            made.begin_to_speak(parts, *speech)
        return made

    def begin_to_speak(self, parts: TalkParts, config_sha256: str, connector: Callable[[Message], Connect]) -> None:
        """Make the speaker, and have it hear of every status and every command."""
        dock, now, put = parts.dock, parts.clock.now, parts.alerts.put
        root = messages.root_topic(dock.agency, dock.site, dock.name)
        me = messages.Self(parts.boot, version(), config_sha256, rfc3339(now()))
        speaker = Speaker(root, me, parts.journal, now, lambda what: put("mqtt_refused", "dock", what))
        speaker.desk = MqttDesk(root, parts.boot, self.commands, now)
        self.commands.speaking = self.speaker = speaker
        self.reporter = Reporter(speaker, connector(speaker.availability("offline")), parts.alerts, now)
        parts.status_file.listeners.append(speaker.take)

    def payload(self) -> dict[str, Any]:
        """The broker's part of the status."""
        return {"configured": False, "connected": False} if self.reporter is None else self.reporter.payload()

    async def open(self) -> None:
        """Begin to listen and to speak."""
        await self.socket.open()
        if self.reporter is not None:
            self.reporter.start()

    async def stop(self) -> None:
        """The dock is stopping: nothing more is taken on, and whoever listens is told."""
        if self.speaker is not None:
            self.speaker.stop()
        await self.socket.close()

    async def finish(self) -> None:
        """Say good-bye, if anybody hears it."""
        if self.reporter is not None:
            await self.reporter.finish()

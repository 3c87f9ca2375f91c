"""Commands that come over MQTT: read with care, carried out once, answered where they ask to be."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import structlog
from pydantic import ValidationError

from dockd.control.commands import Commands
from dockd.custody.chain import rfc3339
from dockd.errors import CommandError
from dockd.report.link import Incoming, Message
from dockd.report.payloads import Command, Response

log = structlog.get_logger()

PAYLOAD_LIMIT_BYTES: Final = 16 * 1024
REMEMBERED: Final = 1000
CORRELATION_LIMIT_BYTES: Final = 1024
_OWN = ("availability", "info", "state", "bay", "camera", "event", "alert", "custody", "command")
"""Topics on which a dock speaks of itself: nobody may have a response put there."""


class MqttDesk:
    """Answers what comes to `command/{name}`; a repeated id gets the answer that it got before."""

    def __init__(self, root: str, boot: str, commands: Commands, now: Callable[[], datetime]) -> None:
        self._root = root
        self._boot = boot
        self._commands = commands
        self._now = now
        self._answers: OrderedDict[tuple[str, str], Response] = OrderedDict()

    async def answer(self, incoming: Incoming, name: str) -> Message | None:
        """Carry out one command; the response to send, or None for what is to be ignored."""
        if incoming.retain:
            log.warning("retained_command_ignored", command=name[:40])
            return None
        uid: str | None = None
        try:
            topic = self._response_topic(incoming, name)
        except CommandError as error:
            topic, response = f"{self._root}/response/{_short(name)}", self._failed(None, name, error)
        else:
            try:
                arguments = _read(incoming.payload)
                uid = _uid(arguments)
                response = await self._once(name, arguments)
            except CommandError as error:
                response = self._failed(uid, name, error)
        correlation = incoming.correlation
        if correlation is not None and len(correlation) > CORRELATION_LIMIT_BYTES:
            correlation = None
        return Message(topic, response.encode(), 1, retain=False, correlation=correlation)

    def _response_topic(self, incoming: Incoming, name: str) -> str:
        asked = incoming.response_topic
        if not asked:
            return f"{self._root}/response/{_short(name)}"
        head, _, rest = asked.partition(f"{self._root}/")
        if head or not rest or rest.split("/", 1)[0] in _OWN or set(rest) & set("+#\0"):
            raise CommandError(f"the response topic must lie below {self._root}/response")
        return asked

    async def _once(self, name: str, arguments: dict[str, Any]) -> Response:
        try:
            command = Command.model_validate(arguments)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CommandError(f"{where}: {first['msg']}") from error
        known = self._answers.get((name, command.id))
        if known is not None:
            return known
        self._check_expiry(command)
        try:
            result = await self._commands.run(name, arguments, by=f"mqtt command {command.id}", uid=command.id)
        except CommandError as error:
            response = self._failed(command.id, name, error)
        else:
            response = self._response(id=command.id, command=_short(name), ok=True, result=result)
        self._answers[name, command.id] = response
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return response

    def _check_expiry(self, command: Command) -> None:
        if command.expires is None:
            return
        try:
            expires = datetime.fromisoformat(command.expires)
            late = self._now() > expires
        except (ValueError, TypeError) as error:
            raise CommandError(f"expires: {command.expires!r} is no RFC 3339 time with a zone") from error
        if late:
            raise CommandError(f"the command expired at {command.expires}")

    def _failed(self, uid: str | None, name: str, error: CommandError) -> Response:
        return self._response(id=uid, command=_short(name), ok=False, error=f"{error.message}. {error.hint}")

    def _response(self, **fields: Any) -> Response:
        return Response.model_validate({"ts": rfc3339(self._now()), "boot": self._boot, **fields})


def _short(name: str) -> str:
    """A command's name as part of a topic; what is no name is called `unknown`."""
    return name if name.isascii() and name.isalpha() and len(name) <= 40 else "unknown"


def _uid(arguments: dict[str, Any]) -> str | None:
    uid = arguments.get("id")
    return uid if isinstance(uid, str) and len(uid) <= 128 else None


def _read(payload: bytes) -> dict[str, Any]:
    if len(payload) > PAYLOAD_LIMIT_BYTES:
        raise CommandError(f"a command has at most {PAYLOAD_LIMIT_BYTES} bytes")
    try:
        found = json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CommandError("that is no JSON object in UTF-8") from error
    if not isinstance(found, dict):
        raise CommandError("that is no JSON object")
    return found

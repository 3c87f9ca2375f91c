"""One connection to the system's D-Bus, made anew when it was lost; every call has a time limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

from dockd.errors import DeviceServiceError

CALL_LIMIT_S: Final = 60.0


class CallFailed(Exception):  # noqa: N818 - what a service answered, for the caller to make sense of
    """A service refused a call; `name` is D-Bus' name of the error."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


class SystemBus:
    """Calls to services on the system bus, made on the event loop."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()
        self._watched: set[str] = set()

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is None or not self._bus.connected:
                bus = MessageBus(bus_address=self._address, bus_type=BusType.SYSTEM)
                try:
                    async with asyncio.timeout(CALL_LIMIT_S):
                        self._bus = await bus.connect()
                except (OSError, DBusError, TimeoutError) as error:
                    raise DeviceServiceError(
                        f"the system's D-Bus cannot be reached: {error}",
                        "Cameras cannot be mounted without it; footage stays on them. Look at: systemctl status dbus",
                    ) from error
            return self._bus

    async def call(
        self, service: str, path: str, interface: str, member: str, signature: str = "", body: list[Any] | None = None
    ) -> list[Any]:
        """Make a call; raises CallFailed as the service answers, DeviceServiceError if it does not."""
        bus = await self._connected()
        message = Message(
            destination=service,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=body or [],
        )
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                reply = await bus.call(message)
        except (TimeoutError, OSError, EOFError, DBusError) as error:
            self.close()
            raise DeviceServiceError(f"{service} did not answer {member}: {str(error) or 'too late'}") from error
        if reply is None:
            raise DeviceServiceError(f"{service} did not answer {member}")
        if reply.message_type is MessageType.ERROR:
            text = str(reply.body[0]) if reply.body else ""
            raise CallFailed(reply.error_name or "", text)
        return list(reply.body)

    async def listen(self, rule: str, handler: Callable[[Message], None]) -> Callable[[], None]:
        """Have signals that match `rule` given to `handler`, until what is returned is called."""
        bus = await self._connected()
        if rule not in self._watched or bus is not self._bus:
            await self.call(
                "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s", [rule]
            )
            self._watched.add(rule)

        def only_signals(message: Message) -> None:
            if message.message_type is MessageType.SIGNAL:
                handler(message)

        bus.add_message_handler(only_signals)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                bus.remove_message_handler(only_signals)

        return stop

    def close(self) -> None:
        """Let go of the connection; the next call makes another one."""
        if self._bus is not None:
            self._bus.disconnect()
        self._bus = None
        self._watched.clear()

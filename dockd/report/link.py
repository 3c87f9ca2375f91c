"""What the speaker asks of a way to a broker, whatever carries the messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One message to send; an empty payload of a retained one takes it back."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message that came in."""

    topic: str
    payload: bytes
    retain: bool
    response_topic: str | None = None
    correlation: bytes | None = None


class Link(Protocol):
    """One connection; it is never used again after it was lost."""

    def send(self, message: Message) -> asyncio.Future[None]:
        """Hand a message over, in order; done once the broker has taken it.

        The future raises PublishRefusedError or BrokerLostError.
        """

    async def subscribe(self, topic: str) -> None:
        """Ask for new messages of a topic, not for retained ones; raises BrokerLostError or PublishRefusedError."""

    def incoming(self) -> AsyncIterator[Incoming]:
        """What comes in, until the connection is lost (BrokerLostError)."""

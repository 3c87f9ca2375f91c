"""The way to an MQTT 5 broker; the only module that knows aiomqtt.

aiomqtt leaves some things undone that a dock needs, so its client is extended here: a publish that the
broker refuses is seen (its reason code is ignored there), pending publishes end when the connection does,
and the socket of a connection that broke off is closed. Written against aiomqtt 2.5, which uses paho.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from dockd.errors import BrokerLostError, PublishRefusedError
from dockd.report.link import Incoming, Message

KEEPALIVE_S: Final = 20
TIMEOUT_S: Final = 10.0
WILL_DELAY_S: Final = 15
SESSION_EXPIRY_S: Final = 24 * 3600
INCOMING_LIMIT: Final = 100
"""How many commands may wait; a flood beyond that is dropped, and its senders get no response."""

_NO_RETAINED = 2
"""Retain handling of a subscription: what is retained already is not sent."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is and how to get in; files are read anew for each connection."""

    host: str
    port: int
    tls: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None


def _properties(kind: int, **values: Any) -> Properties:
    made = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(made, name, value)
    return made


def tls_context(settings: BrokerSettings) -> ssl.SSLContext:
    """The context for a TLS connection; raises OSError for files that cannot be read or used."""
    context = ssl.create_default_context(cafile=settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.certificate_file is not None:
        context.load_cert_chain(settings.certificate_file, settings.key_file)
    return context


class _Client(aiomqtt.Client):
    """aiomqtt's client; see the module."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._acks: dict[int, asyncio.Future[None]] = {}

    def send(self, message: Message) -> asyncio.Future[None]:
        """See `Link.send`."""
        done: asyncio.Future[None] = self._loop.create_future()
        # Whoever does not wait for it must not make asyncio complain of an exception that nobody saw.
        done.add_done_callback(lambda future: future.cancelled() or future.exception())
        extra = {} if message.correlation is None else {"CorrelationData": message.correlation}
        properties = _properties(PacketTypes.PUBLISH, **extra) if extra else None
        try:
            told = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        except (OSError, ValueError, RuntimeError) as error:
            done.set_exception(BrokerLostError(f"cannot publish: {error}"))
            return done
        if told.rc != 0 or self._disconnected.done():
            done.set_exception(BrokerLostError("the connection to the broker is gone"))
        elif message.qos == 0:
            done.set_result(None)
        else:
            self._acks[told.mid] = done
            late = self._loop.call_later(TIMEOUT_S, self._fail, told.mid, "the broker does not answer")
            done.add_done_callback(lambda _: late.cancel())
        return done

    def _fail(self, mid: int, why: str) -> None:
        done = self._acks.pop(mid, None)
        if done is not None and not done.done():
            done.set_exception(BrokerLostError(why))

    def fail_all(self, why: str) -> None:
        """Let nobody wait for an answer that will not come."""
        for mid in list(self._acks):
            self._fail(mid, why)

    def watch(self) -> None:
        """End pending publishes when the connection ends; called once it stands."""
        self._disconnected.add_done_callback(lambda _: self.fail_all("the connection to the broker was lost"))

    def _on_publish(
        self, client: PahoClient, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        super()._on_publish(client, userdata, mid, reason_code, properties)
        done = self._acks.pop(mid, None)
        if done is None or done.done():
            return
        if reason_code.is_failure:
            done.set_exception(PublishRefusedError(str(reason_code)))
        else:
            done.set_result(None)

    def let_go(self) -> None:
        """Close what a connection that was not ended in order leaves open."""
        self.fail_all("the connection to the broker is closed")
        with contextlib.suppress(OSError, ValueError):
            self._client._sock_close()  # noqa: SLF001 - there is no public way
        if self._misc_task is not None:
            self._misc_task.cancel()
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()


class MqttLink:
    """See `Link`."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    def send(self, message: Message) -> asyncio.Future[None]:
        """Hand a message over."""
        return self._client.send(message)

    async def subscribe(self, topic: str) -> None:
        """Subscribe with QoS 1."""
        options = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=_NO_RETAINED)
        try:
            codes = await self._client.subscribe(topic, options=options)
        except aiomqtt.MqttError as error:
            raise BrokerLostError(str(error)) from error
        for code in codes:
            if isinstance(code, ReasonCode) and code.is_failure:
                raise PublishRefusedError(f"subscribing to {topic}: {code}")

    async def incoming(self) -> AsyncIterator[Incoming]:
        """What comes in."""
        try:
            async for message in self._client.messages:
                properties = message.properties
                yield Incoming(
                    str(message.topic),
                    message.payload,
                    message.retain,
                    getattr(properties, "ResponseTopic", None),
                    getattr(properties, "CorrelationData", None),
                )
        except aiomqtt.MqttError as error:
            cause = error.__cause__
            raise BrokerLostError(f"{error}: {cause}" if cause is not None else str(error)) from error


@asynccontextmanager
async def connect(settings: BrokerSettings, identifier: str, will: Message | None) -> AsyncIterator[MqttLink]:
    """Connect, once, with a client of its own; raises BrokerLostError. Leaving it disconnects in order.

    Without a last will nothing is kept at the broker either: it is only a look.
    """
    try:
        client = await asyncio.get_running_loop().run_in_executor(None, _prepare, settings)
    except (OSError, ValueError) as error:
        raise BrokerLostError(f"the files for the broker cannot be used: {error}", _FILES_HINT) from error
    made = _make_client(settings, identifier, will, *client)
    try:
        try:
            await made.__aenter__()
        except (aiomqtt.MqttError, ValueError, RuntimeError) as error:
            raise _explained(settings, error) from error
        made.watch()
        yield MqttLink(made)
        # Only after work that ended in order: a connection that broke has nobody to say good-bye to.
        with contextlib.suppress(aiomqtt.MqttError):
            await made.__aexit__(None, None, None)
    finally:
        made.let_go()


def _prepare(settings: BrokerSettings) -> tuple[ssl.SSLContext | None, str | None]:
    """What is read from files, in a thread: certificates and the password."""
    context = tls_context(settings) if settings.tls else None
    password = None
    if settings.password_file is not None:
        password = settings.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    return context, password


def _make_client(
    settings: BrokerSettings,
    identifier: str,
    will: Message | None,
    context: ssl.SSLContext | None,
    password: str | None,
) -> _Client:
    logger = logging.getLogger("dockd.mqtt")
    logger.setLevel(logging.CRITICAL)
    return _Client(
        settings.host,
        settings.port,
        identifier=identifier,
        username=settings.username,
        password=password,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=will is None,
        keepalive=KEEPALIVE_S,
        timeout=TIMEOUT_S,
        max_queued_incoming_messages=INCOMING_LIMIT,
        properties=_properties(PacketTypes.CONNECT, SessionExpiryInterval=0 if will is None else SESSION_EXPIRY_S),
        will=None if will is None else _last_will(will),
        tls_context=context,
        logger=logger,
    )


def _last_will(will: Message) -> aiomqtt.Will:
    properties = _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=WILL_DELAY_S)
    return aiomqtt.Will(will.topic, will.payload, will.qos, will.retain, properties)


async def probe(settings: BrokerSettings, identifier: str) -> None:
    """Connect and go again, leaving nothing; raises BrokerLostError."""
    async with connect(settings, identifier, None):
        pass


_FILES_HINT = (
    "Footage is not touched by this; only reports stay away. Look at [mqtt] ca_file, cert_credential, "
    "key_credential and password_credential, and at who may read those files."
)
_TLS_TIMEOUT_HINT = (
    "Footage is not touched by this; only reports stay away. A broker that asks for a client certificate and "
    "gets none just stays silent: look at cert_credential and key_credential, and at the broker's log."
)


def _explained(settings: BrokerSettings, error: Exception) -> BrokerLostError:
    where = f"{settings.host}:{settings.port}"
    text = str(error)
    if settings.tls and ("timed out" in text or "EOF" in text):
        return BrokerLostError(f"the broker at {where} broke off the connection: {text}", _TLS_TIMEOUT_HINT)
    return BrokerLostError(f"no connection to the broker at {where}: {text}")


def quiet_handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler for a loop that drops what paho's callbacks say of a socket that is gone already."""
    error, handle = context.get("exception"), repr(context.get("handle"))
    if isinstance(error, OSError | ValueError) and ("aiomqtt" in handle or "_on_socket" in handle):
        return
    loop.default_exception_handler(context)

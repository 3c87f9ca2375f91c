"""A real mosquitto on a free loopback port, and somebody who listens to it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ROOT = "dockd/v1/calgary/district-4/dock-07"
WAIT_S = float(os.environ.get("DOCKD_TEST_WAIT_S", "120"))


def mosquitto() -> str:
    """The program; without it a test is skipped, loudly, and in CI it fails."""
    found = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        assert not os.environ.get("DOCKD_CI"), "mosquitto is not installed"
        pytest.skip("NOT TESTED: MQTT, for this machine has no mosquitto")
    return found


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


class Broker:
    """mosquitto with a configuration of its own; `lines` are added to it."""

    def __init__(self, folder: Path, *lines: str, port: int | None = None) -> None:
        self.program = mosquitto()
        self.folder = folder
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.lines = lines or ("allow_anonymous true",)
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> Self:
        config = self.folder / "mosquitto.conf"
        config.write_text(
            "\n".join(
                (f"listener {self.port} 127.0.0.1", "persistence false", "user root", "log_dest stderr", *self.lines)
            )
            + "\n"
        )
        with open(self.folder / "mosquitto.log", "ab") as log:
            self.process = subprocess.Popen([self.program, "-c", str(config)], stdin=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
                assert time.monotonic() < deadline, "mosquitto does not listen"
                time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        return (self.folder / "mosquitto.log").read_text(errors="replace")


@dataclass
class Heard:
    """One message."""

    topic: str
    payload: bytes
    retain: bool
    correlation: bytes | None = None

    def json(self) -> Any:
        return json.loads(self.payload)


@dataclass
class Listener:
    """Subscribes below the dock's root, again after each interruption; `user` and `files` for brokers that ask."""

    port: int
    user: tuple[str, str] | None = None
    tls: tuple[Path, Path, Path] | None = None
    topics: tuple[str, ...] = (f"{ROOT}/#",)
    heard: list[Heard] = field(default_factory=list)
    on_message: Callable[[Heard], None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ready: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.reconnect_delay_set(1, 1)
        if self.user is not None:
            self.client.username_pw_set(*self.user)
        if self.tls is not None:
            ca, certificate, key = map(str, self.tls)
            self.client.tls_set(ca, certificate, key)
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = self._message
        self.client.connect_async("127.0.0.1", self.port, keepalive=5)
        self.client.loop_start()
        assert self._ready.wait(60), "the broker does not let the test subscribe"
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _connected(self, client: mqtt.Client, *_: Any) -> None:
        for topic in self.topics:
            client.subscribe(topic, 1)

    def _message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        heard = Heard(message.topic, message.payload, message.retain, correlation)
        with self._lock:
            self.heard.append(heard)
        if self.on_message is not None:
            self.on_message(heard)

    def all(self, topic: str = "") -> list[Heard]:
        """What was heard of a topic below the root, or of everything below it."""
        with self._lock:
            wanted = f"{ROOT}/{topic}" if topic else ROOT
            return [heard for heard in self.heard if heard.topic == wanted or heard.topic.startswith(f"{wanted}/")]

    def last(self, topic: str) -> Any:
        """The newest message of a topic as JSON; None if there is none, or it was taken back."""
        with self._lock:
            found = [heard for heard in self.heard if heard.topic == f"{ROOT}/{topic}"]
        return found[-1].json() if found and found[-1].payload else None

    def wait(self, predicate: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (found := predicate()):
            if time.monotonic() > deadline:
                tail = "\n".join(f"{h.topic} {h.payload[:300]!r}" for h in self.heard[-30:])
                pytest.fail(f"not within {timeout_s} s: {what}\n{tail}")
            time.sleep(0.02)
        return found

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, **properties: Any) -> None:
        made = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(made, name, value)
        self.client.publish(topic, payload, 1, retain, made)

    def command(self, name: str, uid: str, **arguments: Any) -> Any:
        """Send a command to a dock that is there, and wait for its response."""
        self.wait(lambda: self.last("availability"), "the dock")
        self.publish(f"{ROOT}/command/{name}", json.dumps({"id": uid, **arguments}).encode())
        return self.wait(lambda: self.response(name, uid), f"a response to {name} {uid}")

    def response(self, name: str, uid: str) -> Any:
        found = [heard.json() for heard in self.all(f"response/{name}")]
        return next((answer for answer in found if answer["id"] == uid), None)


class Collector:
    """Puts events into order by `seq`, and asks for what is missing, as a dashboard would.

    What is said again comes after what is new and was said already; so what came early is kept until its turn.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.records: list[dict[str, Any]] = []
        self.asked = 0
        self._early: dict[int, dict[str, Any]] = {}
        self._newest = 0
        self._asked_s = 0.0
        listener.on_message = self.take

    def take(self, heard: Heard) -> None:
        """Take an event, or see by the head that the last ones are missing."""
        if heard.topic == f"{ROOT}/event":
            event = heard.json()
            if event["seq"] > len(self.records):
                self._early[event["seq"]] = event
            self._newest = max(self._newest, event["seq"])
            while following := self._early.pop(len(self.records) + 1, None):
                self.records.append(following)
        elif heard.topic == f"{ROOT}/custody/head" and heard.payload:
            self._newest = max(self._newest, heard.json()["seq"])
        self.ask()

    def has(self, count: int) -> bool:
        """Whether so many events are there; asks again if an answer was lost, with the broker or on its way."""
        self._newest = max(self._newest, count)
        self.ask()
        return len(self.records) >= count

    def ask(self) -> None:
        if self._newest <= len(self.records) or time.monotonic() - self._asked_s < 2:
            return
        self._asked_s = time.monotonic()
        self.asked += 1
        body = {"id": f"gap-{self.asked}", "from_seq": len(self.records) + 1}
        self.listener.publish(f"{ROOT}/command/replay", json.dumps(body).encode())

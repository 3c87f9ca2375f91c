"""The two lines into a machine: QMP to QEMU, and JSON lines to the agent in the guest."""

from __future__ import annotations

import base64
import itertools
import json
import queue
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 300.0
"""How long an answer may take: emulation is slow, and other machines run beside this one."""


class QmpError(Exception):
    """QEMU refused a command."""


def connect(path: Path, limit_s: float = 60.0) -> socket.socket:
    """A connection to a socket that appears soon."""
    deadline = time.monotonic() + limit_s
    while True:
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(str(path))
        except OSError:
            made.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return made


class Lines:
    """A socket as lines of JSON, read in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._socket = connect(path)
        self.incoming: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                got = self._socket.recv(1 << 20)
            except OSError:
                got = b""
            if not got:
                self.incoming.put(None)
                return
            *lines, rest = (rest + got).split(b"\n")
            for line in filter(None, lines):
                self.incoming.put(json.loads(line))

    def send(self, message: dict[str, Any]) -> None:
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        self._socket.close()
        self._thread.join(5)


class Qmp:
    """QEMU's monitor; events are remembered."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)
        self.events: list[dict[str, Any]] = []
        self._next(lambda message: "QMP" in message)
        self("qmp_capabilities")

    def _next(self, wanted: Any, limit_s: float = LIMIT_S) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        while True:
            message = self._lines.incoming.get(timeout=max(0.01, deadline - time.monotonic()))
            if message is None:
                raise QmpError("QEMU is gone")
            if "event" in message:
                self.events.append(message)
            if wanted(message):
                return message

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Carry out a command; `_` in names of arguments stands for `-`."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        self._lines.send({"execute": command, "arguments": named})
        answer = self._next(lambda message: "return" in message or "error" in message)
        if "error" in answer:
            raise QmpError(f"{command} {named}: {answer['error']['desc']}")
        return answer["return"]

    def wait_deleted(self, device: str) -> None:
        """Until QEMU says that a device is gone."""

        def said(message: dict[str, Any]) -> bool:
            return message.get("event") == "DEVICE_DELETED" and message["data"].get("device") == device

        if not any(said(message) for message in self.events):
            self._next(said)
        self.events = [message for message in self.events if not said(message)]

    def human(self, line: str) -> str:
        return str(self("human-monitor-command", **{"command-line": line}))

    def close(self) -> None:
        self._lines.close()


@dataclass(frozen=True)
class Done:
    """What a program in the guest gave."""

    code: int
    out: str
    err: str


class Agent:
    """The agent in the guest."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)
        self._ids = itertools.count(1)

    def ask(self, do: str, limit_s: float = LIMIT_S, **more: Any) -> dict[str, Any]:
        """One request and its answer; what belongs to former ones is dropped."""
        number = next(self._ids)
        self._lines.send({"id": number, "do": do, **more})
        deadline = time.monotonic() + limit_s
        while True:
            try:
                answer = self._lines.incoming.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"the guest did not answer {do} within {limit_s} s") from None
            if answer is None:
                raise ConnectionError("the machine is gone")
            if answer.get("id") == number:
                if "error" in answer:
                    raise OSError(answer["error"])
                return answer

    def run(self, *argv: str, stdin: bytes = b"", timeout_s: float = LIMIT_S) -> Done:
        """Run a program as root."""
        sent = base64.b64encode(stdin).decode()
        answer = self.ask("run", timeout_s + 30, argv=list(argv), stdin=sent, timeout_s=timeout_s)
        out, err = (base64.b64decode(answer[key]).decode("utf-8", "surrogateescape") for key in ("out", "err"))
        return Done(answer["code"], out, err)

    def read(self, path: str) -> bytes:
        return base64.b64decode(self.ask("read", path=path)["data"])

    def write(self, path: str, data: bytes) -> None:
        self.ask("write", path=path, data=base64.b64encode(data).decode())

    def close(self) -> None:
        self._lines.close()

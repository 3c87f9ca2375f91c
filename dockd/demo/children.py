"""The demo's child processes: the daemon, a broker, and somebody who listens. None outlives the demo."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import IO, Any, Final

from dockd.demo.world import ROOT_TOPIC, World
from dockd.errors import ServiceMissingError

STOP_S: Final = 12.0
START_S: Final = 20.0
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin"


def program(name: str) -> str | None:
    """Where a program lies; also where only root's PATH looks."""
    return shutil.which(name, path=_PATH)


@dataclass(slots=True)
class Children:
    """Starts and ends processes; what was heard over MQTT last is in `heard`."""

    world: World
    port: int | None = None
    heard: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=200))
    daemon: subprocess.Popen[bytes] | None = None
    _others: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_broker(self) -> bool:
        """Start mosquitto on a free loopback port; False where it is not installed or does not start."""
        mosquitto = program("mosquitto")
        if mosquitto is None:
            return False
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        config = self.world.root / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""
        lines = f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\n{user}"
        config.write_text(lines, encoding="utf-8")
        with (self.world.root / "mosquitto.log").open("wb") as log:
            child = self._start([mosquitto, "-c", str(config)], stderr=log)
        self._others.append(child)
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s and child.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                self.port = port
                return True
        return False

    def listen(self) -> None:
        """Listen to what the dock says over MQTT, where there is a broker and a listener for it."""
        listener = program("mosquitto_sub")
        if self.port is None or listener is None:
            return
        command = [listener, "-h", "127.0.0.1", "-p", str(self.port), "-v", "-t", f"{ROOT_TOPIC}/#"]
        child = self._start(command, stdout=subprocess.PIPE)
        self._others.append(child)
        self._read(child.stdout)

    def start_daemon(self) -> None:
        """Start dockd; without a broker it prints what it would say."""
        command = [sys.executable, "-P", "-m", "dockd", "run", "--config", str(self.world.config)]
        if self.port is None:
            command.append("--print-messages")
        self.world.paths.status.unlink(missing_ok=True)
        with self.world.log.open("ab") as log:
            self.daemon = self._start(command, stdout=subprocess.PIPE, stderr=log)
        self._read(self.daemon.stdout)

    def kill_daemon(self) -> None:
        """SIGKILL: what a power cut leaves."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def check_daemon(self) -> None:
        """Raise ServiceMissingError if the daemon has ended by itself."""
        if self.daemon is not None and self.daemon.poll() is not None:
            tail = self.world.log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
            raise ServiceMissingError(
                f"the daemon ended with {self.daemon.returncode}: {' '.join(tail)}", f"See {self.world.log}"
            )

    @staticmethod
    def _start(command: list[str], **streams: Any) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C is the demo's, which ends them in order.
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams}
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **streams)  # noqa: S603

    def _read(self, stream: IO[bytes] | None) -> None:
        assert stream is not None
        threading.Thread(target=self._hear, args=(stream,), daemon=True).start()

    def _hear(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                topic, _, payload = line.decode("utf-8", errors="replace").rstrip("\n").partition(" ")
                if topic.startswith(ROOT_TOPIC):
                    self.heard.append((topic.removeprefix(f"{ROOT_TOPIC}/"), payload))

    def stop_daemon(self) -> None:
        """Stop the daemon in order."""
        if self.daemon is not None:
            _end(self.daemon)

    def stop(self) -> None:
        """End everything that was started here."""
        self.stop_daemon()
        for child in self._others:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

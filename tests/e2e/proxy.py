"""A TCP proxy on loopback between a dock and its store, that counts, slows down, cuts, holds back and corrupts."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

CHUNK_BYTES = 64 * 1024
Mangle = Callable[[bytes, "Stream"], bytes | None]
"""What becomes of some bytes; None breaks the connection off."""


class Stream:
    """One direction of one connection; `done_bytes` are those that went before, `back` says something to its sender."""

    def __init__(self, proxy: Proxy, back: Callable[[bytes], object], *, up: bool) -> None:
        self.proxy = proxy
        self.back = back
        self.up = up
        self.done_bytes = 0
        self.answered = False


class Proxy:
    """Forwards to a port of loopback. `mangle` is asked about all bytes; `bytes_per_s` holds both directions back."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.up_bytes = 0
        self.down_bytes = 0
        self.connections = 0
        self.bytes_per_s: float | None = None
        self.mangle: Mangle = lambda data, stream: data
        self.refusing = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for one, other, up in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._forward, args=(one, other, up), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        stream = Stream(self, source.sendall, up=up)
        try:
            while data := source.recv(CHUNK_BYTES):
                kept = self.mangle(data, stream)
                if kept is None:
                    break
                target.sendall(kept)
                stream.done_bytes += len(data)
                with self._lock:
                    if up:
                        self.up_bytes += len(kept)
                    else:
                        self.down_bytes += len(kept)
                if self.bytes_per_s is not None:
                    time.sleep(len(data) / self.bytes_per_s)
        except OSError:
            pass
        finally:
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            with self._lock:
                self._open -= {source, target}

    def cut_all(self) -> None:
        """Break off every connection that there is."""
        with self._lock:
            ends = list(self._open)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def refuse(self, refusing: bool = True) -> None:
        """Be a store that is gone, or one that is there again."""
        self.refusing = refusing
        if refusing:
            self.cut_all()

    def close(self) -> None:
        """End it, and all connections."""
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()


def faults(seed: int, *, up: bool, down: bool, every_bytes: int = 3_000_000) -> Mangle:
    """Cut, shorten, delay and corrupt, at places that come from the seed; on the average once in `every_bytes`."""
    dice = random.Random(seed)
    lock = threading.Lock()

    def mangle(data: bytes, stream: Stream) -> bytes | None:
        if not (up if stream.up else down):
            return data
        with lock:
            if dice.random() > len(data) / every_bytes:
                return data
            what, where = dice.choice(["cut", "short", "delay", "corrupt"]), dice.randrange(len(data))
        if what == "cut":
            return None
        if what == "delay":
            time.sleep(0.3)
        if what == "short":
            # The rest of it is missing, and what follows moves up.
            return data[:where] if stream.done_bytes else None
        if what == "corrupt" and stream.done_bytes > 4096:
            return data[:where] + bytes([data[where] ^ 0x20]) + data[where + 1 :]
        return data

    return mangle


def answering(status: str, code: str, *, only: bytes = b"", times: int | None = None) -> Mangle:
    """Answer in the store's place: the next `times` requests that begin with `only` get an error of S3's.

    The store is not asked. `times` is None for all of them.
    """
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so says the test</Message></Error>".encode()
    said = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    head = f"{said}Connection: close\r\n\r\n".encode()
    left = [times if times is not None else 1 << 60]

    def mangle(data: bytes, stream: Stream) -> bytes | None:
        if stream.up and not stream.answered and data.startswith(only) and left[0] > 0:
            left[0] -= 1
            stream.answered = True
            bodiless = data.startswith(b"HEAD ")
            stream.back(head if bodiless else head + body)
        return b"" if stream.answered else data

    return mangle


def short_answers(limit_bytes: int) -> Mangle:
    """Cut every answer off after so many bytes, as a proxy does that gives up."""

    def mangle(data: bytes, stream: Stream) -> bytes | None:
        if stream.up:
            return data
        return None if stream.done_bytes >= limit_bytes else data[: limit_bytes - stream.done_bytes]

    return mangle

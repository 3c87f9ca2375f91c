"""The control socket: one line of JSON in, one line of JSON out, for whoever may open it.

Its rights are the socket's file mode, 0660. Under systemd it lies in the service's runtime directory, and
`state_dir/control.sock` is a link to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from dockd.control.commands import Commands
from dockd.errors import CommandError, ServiceMissingError

log = structlog.get_logger()

LINE_LIMIT_BYTES: Final = 16 * 1024
ASK_LIMIT_S: Final = 10.0
ANSWER_LIMIT_S: Final = 60.0
NAME: Final = "control.sock"
MODE: Final = 0o660


@contextmanager
def _short_path(path: Path) -> Iterator[str]:
    """A name for `path` that fits into a socket address of 108 bytes, however deep it lies."""
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def socket_path(state_dir: Path, runtime_directory: str | None) -> Path:
    """Where the daemon listens; `runtime_directory`: what systemd gives the service, if it does."""
    if runtime_directory:
        return Path(runtime_directory.split(":", 1)[0]) / NAME
    return state_dir / NAME


class ControlSocket:
    """Listens until it is closed. One that cannot be opened is told, and costs nothing but itself."""

    def __init__(self, path: Path, link: Path, commands: Commands) -> None:
        self._path = path
        self._link = link
        self._commands = commands
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begin to listen; the state directory's lock tells that what lies there is nobody's any more."""
        try:
            made = self._bind()
            self._server = await asyncio.start_unix_server(self._serve, sock=made, limit=LINE_LIMIT_BYTES)
        except OSError as error:
            log.error(
                "no_control_socket",
                error=f"{self._path}: {error}",
                hint="dockd pause, resume, rescan, retry and identify do not work; everything else does.",
            )

    def _bind(self) -> socket.socket:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            with _short_path(self._path) as name:
                # The mode before the name is there: nobody else gets in in between.
                os.fchmod(made.fileno(), MODE)
                before = os.umask(0o777 - MODE)
                try:
                    made.bind(name)
                finally:
                    os.umask(before)
            if self._link != self._path:
                self._link.unlink(missing_ok=True)
                self._link.symlink_to(self._path)
        except BaseException:
            made.close()
            raise
        return made

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ASK_LIMIT_S):
                line = await reader.readline()
            answer = await self._answer(line)
            writer.write(json.dumps(answer).encode() + b"\n")
            async with asyncio.timeout(ASK_LIMIT_S):
                await writer.drain()
        except (OSError, ValueError, TimeoutError) as error:
            log.warning("control_connection_failed", error=str(error))
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            if not isinstance(asked, dict) or not isinstance(asked.get("command"), str):
                raise CommandError("that is no command")
            arguments = {key: value for key, value in asked.items() if key != "command" and value is not None}
            async with asyncio.timeout(ANSWER_LIMIT_S):
                result = await self._commands.run(asked["command"], arguments, by="control socket")
        except CommandError as error:
            return {"ok": False, "error": error.message, "hint": error.hint}
        except (ValueError, RecursionError):
            return {"ok": False, "error": "that is no JSON object", "hint": "Nothing was changed."}
        except TimeoutError:
            return {"ok": False, "error": "it took too long", "hint": "It may still be done; see: dockd status"}
        return {"ok": True, "result": result}

    async def close(self) -> None:
        """Stop listening, and take the name away."""
        if self._server is not None:
            self._server.close()
            for path in {self._path, self._link}:
                with contextlib.suppress(OSError):
                    path.unlink()


def ask(path: Path, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Ask a running daemon; its result. Raises ServiceMissingError, CommandError, or PermissionError."""
    try:
        with _short_path(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            made.settimeout(ANSWER_LIMIT_S + ASK_LIMIT_S)
            made.connect(name)
            made.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with made.makefile("rb") as file:
                line = file.readline(1024 * 1024)
    except PermissionError:
        raise
    except OSError as error:
        raise ServiceMissingError(
            f"no dockd listens at {path}: {error.strerror or error}",
            "Nothing was changed. Is the service running? See: systemctl status dockd, or dockd status",
        ) from error
    try:
        answer = json.loads(line)
        ok = bool(answer["ok"])
    except (ValueError, LookupError, TypeError) as error:
        raise ServiceMissingError("the daemon broke off the answer", "See: dockd status") from error
    if not ok:
        raise CommandError(str(answer["error"]), str(answer["hint"]))
    return dict(answer["result"])

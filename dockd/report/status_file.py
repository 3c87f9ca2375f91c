"""The running daemon's status as a small file, replaced whole whenever something changed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiofiles
import structlog

from dockd.errors import TransientError

log = structlog.get_logger()

SHORTEST_S: Final = 0.4
LONGEST_S: Final = 5.0


class StatusFile:
    """Writes what `build` gives to `path`."""

    def __init__(self, path: Path, build: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._path = path
        self._build = build
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self._changed = asyncio.Event()
        self._writing: asyncio.Future[None] | None = None

    def poke(self) -> None:
        """Something changed."""
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            self._changed.clear()
            await self.write()
            await asyncio.sleep(SHORTEST_S)
            try:
                async with asyncio.timeout(LONGEST_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def write(self) -> None:
        """Write once; a full disk leaves the older status, whose time shows its age."""
        try:
            status = await self._build()
        except TransientError as error:
            log.warning("status_not_written", error=error.message)
            return
        for listener in self.listeners:
            listener(status)
        # Left to itself when cancelled: closing a file whose writing hangs would hang as well, and with it a stop.
        self._writing = asyncio.ensure_future(self._replace(json.dumps(status)))
        await asyncio.shield(self._writing)

    async def _replace(self, text: str) -> None:
        fresh = self._path.with_suffix(".new")
        try:
            async with aiofiles.open(fresh, "w", encoding="utf-8") as file:
                await file.write(text)
            os.replace(fresh, self._path)
        except OSError as error:
            log.warning("status_not_written", error=str(error))

"""Detect: which camera folders are there, told by watchdog and, besides, by looking every few seconds."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

log = structlog.get_logger()

_LOOKING = frozenset({"opened", "closed_no_write"})
"""Events that reading causes; dockd's own reading must not wake it."""


def camera_folders(root: bytes) -> dict[bytes, tuple[int, int]]:
    """The real directories directly below `root` and their (device, inode); links are no cameras.

    A root that is not there has none. Raises OSError when it cannot be told.
    """
    found: dict[bytes, tuple[int, int]] = {}
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return found
    for name in names:
        path = os.path.join(root, name)
        try:
            entry = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(entry.st_mode):
            found[path] = (entry.st_dev, entry.st_ino)
    return found


class _Handler(FileSystemEventHandler):
    def __init__(self, root: bytes, changed: Callable[[bytes | None], None]) -> None:
        self._root = root
        self._changed = changed

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _LOOKING:
            return
        for raw in (event.src_path, event.dest_path):
            if not raw:
                continue
            path = os.fsencode(raw)
            relative = path[len(self._root) :].strip(b"/")
            self._changed(relative.split(b"/", 1)[0] or None)
            if b"/" not in relative:
                self._changed(None)


class FolderWatch:
    """Watches the camera folder with watchdog; `changed` gets a camera's folder name, or None for the root.

    It is called in watchdog's thread. Where the kernel's watches run out, the periodic look has to do.
    """

    def __init__(self, root: bytes, changed: Callable[[bytes | None], None]) -> None:
        self._root = root
        self._changed = changed
        self._observer: BaseObserver | None = None
        self._watched: tuple[int, int] | None = None

    def ensure(self) -> None:
        """Begin to watch, or begin anew when the folder was replaced or the watch has died."""
        try:
            found = os.stat(self._root)
        except OSError:
            self.stop()
            return
        here = (found.st_dev, found.st_ino)
        if self._observer is not None and self._observer.is_alive() and here == self._watched:
            return
        self.stop()
        observer = Observer()
        try:
            observer.schedule(_Handler(self._root, self._changed), os.fsdecode(self._root), recursive=True)
            observer.start()
        except OSError as error:
            log.warning("folder_not_watched", error=str(error), hint="The periodic look goes on.")
            return
        self._observer = observer
        self._watched = here

    def stop(self) -> None:
        """Stop watching; a watch thread that hangs is left behind."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=1.0)
            self._observer = None

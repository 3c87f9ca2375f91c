"""A folder that acts as a camera: an automounted disk, a drop folder, a demo."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from dockd.cameras.base import Listing, OpenFile, WriteBlock
from dockd.cameras.time_file import TimeFile
from dockd.cameras.tree import Found, Tree
from dockd.digests import Progress
from dockd.durable import overlap
from dockd.errors import CameraGoneError, NotDisjointError
from dockd.identity import CameraIdentity, Seen
from dockd.paths import Forbidden

MARKER = b".dockd-camera"
"""A folder camera is wiped only if a regular file of this name lies in it."""


class FolderCamera:
    """One sub-folder of the camera folder.

    `forbidden` are places that must not lie in it, nor it in them. Nothing is touched before `attach`.
    """

    write_block: WriteBlock = "none"

    def __init__(
        self,
        path: bytes,
        is_recording: Callable[[bytes], bool],
        forbidden: Forbidden,
        time_file: bytes | None = None,
    ) -> None:
        self.path = path
        self.identity = CameraIdentity(path.rsplit(b"/", 1)[-1])
        self.bay = f"folder-{self.identity.part}"
        self._is_recording = is_recording
        self._forbidden = forbidden
        self._time_file = time_file
        self._tree: Tree | None = None
        self.stable_inodes = False
        self.local_times = False
        self.utc_times = False
        self.past_cache = False

    def attach(self) -> None:
        """Open the folder and hold it from now on."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._tree = tree = Tree(
                fd,
                self._is_recording,
                self.check,
                self._forbidden,
                ignored=frozenset({MARKER}),
                fixed_inodes=True,
                time_file=self._time_file,
            )
        except OSError as error:
            raise CameraGoneError(f"the folder cannot be opened: {error}") from error
        for place in self._forbidden.places:
            if overlap(tree.system, place) is not False:
                raise NotDisjointError(f"camera folder {os.fsdecode(self.path)} is, holds, or lies in spool or store")
        self.stable_inodes = tree.stable_inodes
        self.local_times = tree.local_times
        self.utc_times = tree.utc_times
        self.past_cache = tree.past_cache

    @property
    def _files(self) -> Tree:
        if self._tree is None:
            raise CameraGoneError("the folder was let go of")
        return self._tree

    def check(self) -> None:
        """Raise CameraGoneError unless the folder of this name is still the one that was docked."""
        try:
            now = os.stat(self.path, follow_symlinks=False)
        except OSError as error:
            raise CameraGoneError(f"the folder is gone: {error.strerror}") from error
        if (now.st_dev, now.st_ino) != self._files.root_id:
            raise CameraGoneError("another folder took its place")

    def docked_for_s(self) -> None:
        """Nobody tells since when a folder is there."""

    def read_time_file(self) -> TimeFile | None:
        """See `Camera.read_time_file`."""
        return self._files.read_time_file()

    def list(self, progress: Progress) -> Listing:
        """Look at everything in the folder."""
        self.check()
        found = Found()
        self._files.walk(progress, found)
        self.check()
        return found.listing()

    def open(self, path: bytes, *, lease: bool) -> AbstractContextManager[OpenFile]:
        """Open one recording; see `Camera.open`."""
        return self._files.open(path, lease=lease)

    def may_wipe(self) -> str | None:
        """Why this folder is never wiped, or None."""
        try:
            found = os.stat(MARKER, dir_fd=self._files.fd, follow_symlinks=False)
        except OSError:
            return "no-marker"
        return None if stat.S_ISREG(found.st_mode) else "no-marker"

    def delete(self, path: bytes, seen: Seen) -> None:
        """Unlink one file, if it is still the one seen."""
        self.check()
        self._files.delete(path, seen)

    def settle_deletions(self, paths: Sequence[bytes]) -> None:
        """fsync each directory once, then the whole file system."""
        self._files.settle_deletions(paths)

    def is_gone(self, path: bytes) -> bool:
        """Look for a file anew."""
        self.check()
        return self._files.is_gone(path)

    def leave(self) -> None:
        """A folder is not given back to anybody."""

    def close(self) -> None:
        """Let go of the folder."""
        if self._tree is not None:
            self._tree.close()
            self._tree = None

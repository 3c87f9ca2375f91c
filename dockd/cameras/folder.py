"""A folder that acts as a camera: an automounted disk, a drop folder, a demo.

The root is held open from docking on, and everything happens below that descriptor, so that a folder that
is renamed, replaced or mounted over in the meantime is never mistaken for the camera.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dockd.cameras.base import Listing, WriteBlock
from dockd.cameras.lease import lease_intact, take_lease
from dockd.digests import Progress
from dockd.direct_io import Buffer, Reader
from dockd.durable import DEVICE_KINDS, file_system_at, mount_id, open_below, overlap, reads_past_cache, syncfs
from dockd.errors import (
    CameraGoneError,
    NotDisjointError,
    NotSettledError,
    RecordingUnreadableError,
    SourceChangedError,
)
from dockd.identity import CameraIdentity, Seen
from dockd.paths import Forbidden

MARKER = b".dockd-camera"
"""A folder camera is wiped only if a regular file of this name lies in it."""

MAX_DEPTH = 128
_LOCAL_TIME_KINDS = frozenset({"vfat", "msdos"})
_NO_INODE_KINDS = frozenset({"vfat", "msdos", "exfat", "fuse", "fuseblk", "ntfs3"})


def seen_of(found: os.stat_result) -> Seen:
    """What a stat says, as the journal keeps it."""
    return Seen(found.st_size, _bounded(found.st_mtime_ns), found.st_dev, found.st_ino, _bounded(found.st_ctime_ns))


def _bounded(time_ns: int) -> int:
    """Some file systems can hold times that no 64-bit count of ns can; only hostile files have them."""
    return max(-(2**63), min(2**63 - 1, time_ns))


class OpenFolderFile:
    """One open file of a folder camera."""

    def __init__(self, fd: int, *, lease_held: bool) -> None:
        self._fd = fd
        self.seen = seen_of(os.fstat(fd))
        self.lease_held = lease_held

    def reader(self, buffer: Buffer, *, direct: bool) -> Reader:
        """Read it, past the page cache if `direct`."""
        return Reader(self._fd, buffer, direct=direct)

    def look(self) -> Seen:
        """What the file system says of the open file now."""
        return seen_of(os.fstat(self._fd))

    def lease_intact(self) -> bool:
        """Whether a lease is held and nobody asked to write since."""
        return self.lease_held and lease_intact(self._fd)


class FolderCamera:
    """One sub-folder of the camera folder.

    `forbidden` are places that must not lie in it, nor it in them. Nothing is touched before `attach`.
    """

    write_block: WriteBlock = "none"

    def __init__(self, path: bytes, is_recording: Callable[[bytes], bool], forbidden: Forbidden) -> None:
        self.path = path
        self.identity = CameraIdentity(path.rsplit(b"/", 1)[-1])
        self.bay = f"folder-{self.identity.part}"
        self._is_recording = is_recording
        self._forbidden = forbidden
        self._root_fd = -1
        self._mount_id = b""
        self.root_id = (-1, -1)
        self.stable_inodes = False
        self.local_times = False
        self.past_cache = False

    def attach(self) -> None:
        """Open the folder and hold it from now on."""
        try:
            self._root_fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            root = os.fstat(self._root_fd)
            system = file_system_at(self._root_fd)
            self._mount_id = mount_id(self._root_fd)
        except OSError as error:
            raise CameraGoneError(f"the folder cannot be opened: {error}") from error
        self.root_id = (root.st_dev, root.st_ino)
        for place in self._forbidden.places:
            if overlap(system, place) is not False:
                raise NotDisjointError(f"camera folder {os.fsdecode(self.path)} is, holds, or lies in spool or store")
        self.stable_inodes = system.kind not in _NO_INODE_KINDS and not system.kind.startswith("fuse")
        self.local_times = system.kind in _LOCAL_TIME_KINDS
        self.past_cache = reads_past_cache(system, DEVICE_KINDS)

    def check(self) -> None:
        """Raise CameraGoneError unless the folder of this name is still the one that was docked."""
        try:
            now = os.stat(self.path, follow_symlinks=False)
        except OSError as error:
            raise CameraGoneError(f"the folder is gone: {error.strerror}") from error
        if (now.st_dev, now.st_ino) != self.root_id:
            raise CameraGoneError("another folder took its place")

    def list(self, progress: Progress) -> Listing:
        """Look at everything in the folder."""
        self.check()
        walk = _Walk(self, progress)
        walk.directory(self._root_fd, b"", 0)
        self.check()
        return Listing(walk.files, walk.left_alone, not walk.problems, tuple(walk.problems))

    def sort_entry(self, path: bytes, found: os.stat_result) -> str | None:
        """Why a listed entry is no recording, or None if it is one."""
        kinds = {
            stat.S_IFLNK: "symlink",
            stat.S_IFIFO: "fifo",
            stat.S_IFSOCK: "socket",
            stat.S_IFCHR: "device",
            stat.S_IFBLK: "device",
        }
        kind = kinds.get(stat.S_IFMT(found.st_mode))
        if kind is not None:
            return kind
        if found.st_dev != self.root_id[0]:
            return "other-file-system"
        return None if self._is_recording(path) else "not-a-recording"

    def is_mounted_over(self, fd: int) -> bool:
        """Whether a folder was reached through another mount than the camera's own: a bind mount has its device."""
        return mount_id(fd) != self._mount_id

    def refuse_forbidden(self, path: bytes, found: os.stat_result) -> None:
        """Raise NotDisjointError if a directory below the camera is the spool or the store."""
        if (found.st_dev, found.st_ino) in self._forbidden.ids:
            raise NotDisjointError(
                f"folder {os.fsdecode(path)!r} of camera {os.fsdecode(self.path)} is the spool or the store"
            )

    @contextmanager
    def open(self, path: bytes, *, lease: bool) -> Iterator[OpenFolderFile]:
        """Open one recording; see `Camera.open`."""
        entered = False
        try:
            with self._opened(path) as fd:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise SourceChangedError(f"{os.fsdecode(path)!r} is no regular file any more")
                opened = OpenFolderFile(fd, lease_held=take_lease(fd) if lease else False)
                entered = True
                yield opened
        except OSError as error:
            if entered:
                raise
            raise self._meaning(error, path) from error

    @contextmanager
    def _opened(self, path: bytes) -> Iterator[int]:
        device = self.root_id[0]
        try:
            # Reading evidence must not change its access time, where the system lets us.
            manager = open_below(self._root_fd, path, os.O_RDONLY | os.O_NOATIME, device=device)
            fd, _ = manager.__enter__()
        except PermissionError:
            manager = open_below(self._root_fd, path, os.O_RDONLY, device=device)
            fd, _ = manager.__enter__()
        try:
            yield fd
        finally:
            manager.__exit__(None, None, None)

    def _meaning(self, error: OSError, path: bytes) -> Exception:
        """What an error on the device means: the camera is gone, the file is gone, or it cannot be read."""
        try:
            self.check()
        except CameraGoneError as gone:
            return gone
        text = os.fsdecode(path)
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
            return SourceChangedError(f"{text!r} is not there any more: {error.strerror}")
        if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
            return NotSettledError(f"somebody holds a lease on {text!r}")
        return RecordingUnreadableError(f"{text!r} cannot be read: {error.strerror}")

    def may_wipe(self) -> str | None:
        """Why this folder is never wiped, or None."""
        try:
            found = os.stat(MARKER, dir_fd=self._root_fd, follow_symlinks=False)
        except OSError:
            return "no-marker"
        return None if stat.S_ISREG(found.st_mode) else "no-marker"

    def delete(self, path: bytes, seen: Seen) -> None:
        """Unlink one file, if it is still the one seen."""
        self.check()
        try:
            with open_below(self._root_fd, path, os.O_PATH, device=self.root_id[0]) as (fd, parent):
                now = os.fstat(fd)
                if (now.st_dev, now.st_ino, now.st_size) != (seen.device, seen.inode, seen.size_bytes):
                    raise SourceChangedError(f"{os.fsdecode(path)!r} is another file by now")
                os.unlink(path.rsplit(b"/", 1)[-1], dir_fd=parent)
        except OSError as error:
            raise self._meaning(error, path) from error

    def settle_deletions(self, paths: Sequence[bytes]) -> None:
        """fsync each directory once, then the whole file system."""
        for directory in {path.rpartition(b"/")[0] for path in paths}:
            try:
                with self._directory(directory) as fd:
                    os.fsync(fd)
            except SourceChangedError:
                # The directory itself went meanwhile; syncfs below covers the one above it.
                continue
        syncfs(self._root_fd)

    @contextmanager
    def _directory(self, path: bytes) -> Iterator[int]:
        if not path:
            yield self._root_fd
            return
        try:
            with open_below(self._root_fd, path, os.O_RDONLY | os.O_DIRECTORY) as (fd, _):
                yield fd
        except OSError as error:
            raise self._meaning(error, path) from error

    def is_gone(self, path: bytes) -> bool:
        """Look for a file anew."""
        self.check()
        try:
            with open_below(self._root_fd, path, os.O_PATH):
                return False
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise self._meaning(error, path) from error
            # What lies beyond a link, or below a file, is not on the camera under this name.
            self.check()
            return True

    def close(self) -> None:
        """Let go of the folder."""
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1


class _Walk:
    """One walk over a folder camera, by descriptors."""

    def __init__(self, camera: FolderCamera, progress: Progress) -> None:
        self._camera = camera
        self._progress = progress
        self.files: dict[bytes, Seen] = {}
        self.left_alone: dict[str, int] = {}
        self.problems: list[str] = []

    def directory(self, fd: int, prefix: bytes, depth: int) -> None:
        try:
            with os.scandir(fd) as entries:
                names = [os.fsencode(entry.name) for entry in entries]
        except OSError as error:
            self._problem(prefix, error)
            return
        for name in sorted(names):
            self._progress.advance()
            self._entry(fd, name, prefix + name, depth)

    def _entry(self, parent: int, name: bytes, path: bytes, depth: int) -> None:
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            self._problem(path, error)
            return
        if path == MARKER and stat.S_ISREG(found.st_mode):
            return
        if not stat.S_ISDIR(found.st_mode):
            why = self._camera.sort_entry(path, found)
            if why is None:
                self.files[path] = seen_of(found)
            else:
                self._leave(why)
            return
        self._camera.refuse_forbidden(path, found)
        if found.st_dev != self._camera.root_id[0]:
            self._leave("other-file-system")
        elif depth >= MAX_DEPTH:
            self._leave("too-deep")
            self.problems.append(f"{os.fsdecode(path)!r} lies deeper than {MAX_DEPTH} folders")
        else:
            self._descend(parent, name, path, depth)

    def _descend(self, parent: int, name: bytes, path: bytes, depth: int) -> None:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except OSError as error:
            self._problem(path, error)
            return
        try:
            if self._camera.is_mounted_over(fd):
                self._leave("other-file-system")
            else:
                self.directory(fd, path + b"/", depth + 1)
        finally:
            os.close(fd)

    def _leave(self, why: str) -> None:
        self.left_alone[why] = self.left_alone.get(why, 0) + 1

    def _problem(self, path: bytes, error: OSError) -> None:
        self._camera.check()
        self.problems.append(f"{os.fsdecode(path)!r} cannot be listed: {error.strerror}")

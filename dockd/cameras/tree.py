"""The files below one folder that is held open: what every camera with a mounted file system is made of.

Everything happens below the root's descriptor, so that a folder that is renamed, replaced or mounted over in the
meantime is never mistaken for the camera's.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from dockd.cameras.base import Listing
from dockd.cameras.lease import lease_intact, take_lease
from dockd.cameras.time_file import LIMIT_BYTES, TimeFile
from dockd.digests import Progress
from dockd.direct_io import Buffer, Reader
from dockd.durable import DEVICE_KINDS, FileSystem, file_system_at, mount_id, open_below, reads_past_cache, syncfs
from dockd.errors import (
    CameraGoneError,
    NotDisjointError,
    NotSettledError,
    RecordingUnreadableError,
    SourceChangedError,
)
from dockd.identity import Seen
from dockd.paths import Forbidden

MAX_DEPTH = 128
NOT_A_RECORDING = "not-a-recording"
LOST_FOUND = b"lost+found"
_LOCAL_TIME_KINDS = frozenset({"vfat", "msdos"})
_UTC_KINDS = frozenset(
    {
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "f2fs",
        "zfs",
        "tmpfs",
        "overlay",
        "nfs",
        "nfs4",
    }  # what keeps seconds since 1970
)
_NO_INODE_KINDS = frozenset({"vfat", "msdos", "exfat", "fuse", "fuseblk", "ntfs3"})


def _bounded(time_ns: int) -> int:
    """Some file systems can hold times that no 64-bit count of ns can; only hostile files have them."""
    return max(-(2**63), min(2**63 - 1, time_ns))


def seen_of(found: os.stat_result, *, with_inode: bool = True) -> Seen:
    """What a stat says, as the journal keeps it; without the inode where it changes from mount to mount."""
    inode = found.st_ino if with_inode else 0
    return Seen(found.st_size, _bounded(found.st_mtime_ns), found.st_dev, inode, _bounded(found.st_ctime_ns))


class OpenTreeFile:
    """One open file; see `dockd.cameras.base.OpenFile`."""

    def __init__(self, fd: int, *, lease_held: bool, with_inode: bool) -> None:
        self._fd = fd
        self._with_inode = with_inode
        self.seen = self.look()
        self.lease_held = lease_held

    def reader(self, buffer: Buffer, *, direct: bool) -> Reader:
        """Read it, past the page cache if `direct`."""
        return Reader(self._fd, buffer, direct=direct)

    def head(self, limit_bytes: int) -> bytes:
        """Its first bytes."""
        return os.pread(self._fd, limit_bytes, 0)

    def look(self) -> Seen:
        """What the file system says of the open file now."""
        return seen_of(os.fstat(self._fd), with_inode=self._with_inode)

    def lease_intact(self) -> bool:
        """Whether a lease is held and nobody asked to write since."""
        return self.lease_held and lease_intact(self._fd)


@dataclass(slots=True)
class Found:
    """What a walk has found so far."""

    files: dict[bytes, Seen] = field(default_factory=dict)
    others: dict[bytes, Seen] = field(default_factory=dict)
    """Regular files that are no recordings."""
    left_alone: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def leave(self, why: str) -> None:
        """Count an entry that is no recording."""
        self.left_alone[why] = self.left_alone.get(why, 0) + 1

    def listing(self) -> Listing:
        """The whole of it."""
        return Listing(self.files, self.left_alone, not self.problems, tuple(self.problems), self.others)


class Tree:
    """The folder `root_fd`, which it owns from now on.

    `check` raises CameraGoneError when what the folder belongs to is gone; `ignored` are paths that are never told of.
    `time_file` is no recording, whatever the patterns say.
    `fixed_inodes` says that inode numbers are kept in what was seen although the file system may change them.
    """

    def __init__(
        self,
        root_fd: int,
        is_recording: Callable[[bytes], bool],
        check: Callable[[], None],
        forbidden: Forbidden,
        *,
        ignored: frozenset[bytes] = frozenset(),
        fixed_inodes: bool = False,
        time_file: bytes | None = None,
    ) -> None:
        self.fd = root_fd
        root = os.fstat(root_fd)
        self.root_id = (root.st_dev, root.st_ino)
        self.system: FileSystem = file_system_at(root_fd)
        self._mount_id = mount_id(root_fd)
        self._is_recording = is_recording
        self._check = check
        self._forbidden = forbidden
        self._ignored = ignored
        self._time_file = time_file
        kind = self.system.kind
        self.stable_inodes = kind not in _NO_INODE_KINDS and not kind.startswith("fuse")
        self._with_inode = self.stable_inodes or fixed_inodes
        self.local_times = kind in _LOCAL_TIME_KINDS
        self.utc_times = kind in _UTC_KINDS
        self.past_cache = reads_past_cache(self.system, DEVICE_KINDS)

    # --- listing -------------------------------------------------------------------------------------

    def walk(self, progress: Progress, found: Found, prefix: bytes = b"") -> None:
        """Look at everything; paths get `prefix`."""
        self._directory(self.fd, b"", 0, _Walk(progress, found, prefix))

    def _directory(self, fd: int, below: bytes, depth: int, walk: _Walk) -> None:
        try:
            with os.scandir(fd) as entries:
                names = [os.fsencode(entry.name) for entry in entries]
        except OSError as error:
            self._problem(walk, below, error)
            return
        for name in sorted(names):
            walk.progress.advance()
            self._entry(fd, name, below + name, depth, walk)

    def _entry(self, parent: int, name: bytes, path: bytes, depth: int, walk: _Walk) -> None:
        try:
            there = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            self._problem(walk, path, error)
            return
        if path in self._ignored and stat.S_ISREG(there.st_mode):
            return
        if not stat.S_ISDIR(there.st_mode):
            self._sort(path, there, walk)
            return
        if (there.st_dev, there.st_ino) in self._forbidden.ids:
            raise NotDisjointError(f"folder {os.fsdecode(path)!r} of a camera is the spool or the store")
        if there.st_dev != self.root_id[0]:
            walk.found.leave("other-file-system")
        elif depth >= MAX_DEPTH:
            walk.found.leave("too-deep")
            walk.found.problems.append(f"{os.fsdecode(path)!r} lies deeper than {MAX_DEPTH} folders")
        else:
            self._descend(parent, name, path, depth, walk)

    def _sort(self, path: bytes, there: os.stat_result, walk: _Walk) -> None:
        kinds = {
            stat.S_IFLNK: "symlink",
            stat.S_IFIFO: "fifo",
            stat.S_IFSOCK: "socket",
            stat.S_IFCHR: "device",
            stat.S_IFBLK: "device",
        }
        kind = kinds.get(stat.S_IFMT(there.st_mode))
        seen = seen_of(there, with_inode=self._with_inode)
        if kind is not None:
            walk.found.leave(kind)
        elif there.st_dev != self.root_id[0]:
            walk.found.leave("other-file-system")
        elif path == self._time_file:
            walk.found.others[walk.prefix + path] = seen
        elif self._is_recording(path):
            walk.found.files[walk.prefix + path] = seen
        else:
            walk.found.leave(NOT_A_RECORDING)
            walk.found.others[walk.prefix + path] = seen

    def _descend(self, parent: int, name: bytes, path: bytes, depth: int, walk: _Walk) -> None:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except OSError as error:
            if path == LOST_FOUND and isinstance(error, PermissionError) and self.system.kind.startswith("ext"):
                # Made by mkfs for root alone; what a repair once put there no camera has recorded.
                walk.found.leave("lost+found")
            else:
                self._problem(walk, path, error)
            return
        try:
            # A bind mount has the camera's own device.
            if mount_id(fd) != self._mount_id:
                walk.found.leave("other-file-system")
            else:
                self._directory(fd, path + b"/", depth + 1, walk)
        finally:
            os.close(fd)

    def _problem(self, walk: _Walk, path: bytes, error: OSError) -> None:
        self._check()
        walk.found.problems.append(f"{os.fsdecode(walk.prefix + path)!r} cannot be listed: {error.strerror}")

    # --- one file ------------------------------------------------------------------------------------

    def read_time_file(self) -> TimeFile | None:
        """See `Camera.read_time_file`."""
        if self._time_file is None:
            return None
        try:
            with self.open(self._time_file, lease=False) as opened:
                return TimeFile(opened.head(LIMIT_BYTES), opened.look().mtime_ns)
        except (SourceChangedError, NotSettledError, RecordingUnreadableError, OSError):
            # It is not there, or cannot be read: then it says nothing.
            self._check()
            return None

    @contextmanager
    def open(self, path: bytes, *, lease: bool) -> Iterator[OpenTreeFile]:
        """Open one recording; see `Camera.open`."""
        entered = False
        try:
            with self._opened(path) as fd:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise SourceChangedError(f"{os.fsdecode(path)!r} is no regular file any more")
                held = take_lease(fd) if lease else False
                opened = OpenTreeFile(fd, lease_held=held, with_inode=self._with_inode)
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
            manager = open_below(self.fd, path, os.O_RDONLY | os.O_NOATIME, device=device)
            fd, _ = manager.__enter__()
        except PermissionError:
            manager = open_below(self.fd, path, os.O_RDONLY, device=device)
            fd, _ = manager.__enter__()
        try:
            yield fd
        finally:
            manager.__exit__(None, None, None)

    def _meaning(self, error: OSError, path: bytes) -> Exception:
        """What an error on the device means: the camera is gone, the file is gone, or it cannot be read."""
        try:
            self._check()
        except CameraGoneError as gone:
            return gone
        text = os.fsdecode(path)
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
            return SourceChangedError(f"{text!r} is not there any more: {error.strerror}")
        if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
            return NotSettledError(f"somebody holds a lease on {text!r}")
        return RecordingUnreadableError(f"{text!r} cannot be read: {error.strerror}")

    def delete(self, path: bytes, seen: Seen) -> None:
        """Unlink one file, if it is still the one seen."""
        try:
            with open_below(self.fd, path, os.O_PATH, device=self.root_id[0]) as (fd, parent):
                now = seen_of(os.fstat(fd), with_inode=self._with_inode)
                if (now.device, now.inode, now.size_bytes) != (seen.device, seen.inode, seen.size_bytes):
                    raise SourceChangedError(f"{os.fsdecode(path)!r} is another file by now")
                if not self._with_inode and now.mtime_ns != seen.mtime_ns:
                    raise SourceChangedError(f"{os.fsdecode(path)!r} has another time by now")
                os.unlink(path.rsplit(b"/", 1)[-1], dir_fd=parent)
        except OSError as error:
            raise self._meaning(error, path) from error

    def settle_deletions(self, paths: Sequence[bytes]) -> None:
        """fsync each directory once, then the whole file system; raises OSError when a write failed."""
        for directory in sorted({path.rpartition(b"/")[0] for path in paths}):
            # A directory that went meanwhile: syncfs below covers the one above it.
            with suppress(SourceChangedError), self._folder(directory) as fd:
                os.fsync(fd)
        syncfs(self.fd)

    @contextmanager
    def _folder(self, path: bytes) -> Iterator[int]:
        if not path:
            yield self.fd
            return
        try:
            manager = open_below(self.fd, path, os.O_RDONLY | os.O_DIRECTORY)
            fd, _ = manager.__enter__()
        except OSError as error:
            raise self._meaning(error, path) from error
        try:
            yield fd
        finally:
            manager.__exit__(None, None, None)

    def is_gone(self, path: bytes) -> bool:
        """Look for a file anew."""
        try:
            with open_below(self.fd, path, os.O_PATH):
                return False
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise self._meaning(error, path) from error
            # What lies beyond a link, or below a file, is not on the camera under this name.
            self._check()
            return True

    def close(self) -> None:
        """Let go of the folder."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True, slots=True)
class _Walk:
    progress: Progress
    found: Found
    prefix: bytes

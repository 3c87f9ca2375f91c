"""Making files and names durable, and never replacing one.

What a power cut may undo is undone in this order: names first, then data. So data is fsynced before its
name is published, and every directory up to the root of spool or store is fsynced before anybody says
that the name is there, also when it was found there already.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_RENAME_NOREPLACE = 1
_AT_FDCWD = -100

STORE_SENTINEL = ".dockd-store"


@cache
def libc() -> ctypes.CDLL:
    """The C library, for the calls that Python lacks."""
    return ctypes.CDLL(None, use_errno=True)


def fsync_dir(path: bytes | str | Path) -> None:
    """Make the names in one directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_up_to(path: Path, root: Path) -> None:
    """Make the name of `path` durable, and of every directory above it up to and including `root`."""
    if not path.is_relative_to(root):
        raise ValueError(f"{path} is not below {root}")
    current = path
    while current != root:
        current = current.parent
        fsync_dir(current)


def syncfs(fd: int) -> None:
    """Write out the whole file system that `fd` lies on; raises OSError when a write failed."""
    if libc().syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def publish_noreplace(hidden: Path, visible: Path) -> None:
    """Give `hidden` the name `visible` unless that name exists; raises FileExistsError then.

    link + unlink, which every POSIX file system has; renameat2(RENAME_NOREPLACE) where links are refused.
    """
    try:
        os.link(hidden, visible, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        _rename_noreplace(hidden, visible)
    else:
        os.unlink(hidden)


def _rename_noreplace(hidden: Path, visible: Path) -> None:
    """renameat2(2) with RENAME_NOREPLACE."""
    code = libc().renameat2(
        _AT_FDCWD, os.fsencode(hidden), _AT_FDCWD, os.fsencode(visible), ctypes.c_uint(_RENAME_NOREPLACE)
    )
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(visible))


def write_new_file(path: Path, data: bytes, *, token: str, root: Path) -> None:
    """Publish a small file under a new name, whole and durable; raises FileExistsError when it exists.

    A hidden file with the random `token` in its name is used while writing.
    """
    hidden = path.with_name(f".{token}.partial")
    fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        publish_noreplace(hidden, path)
    finally:
        # After a publish the name is gone already; after a failure it is ours to take away.
        if os.path.lexists(hidden):
            os.unlink(hidden)
    fsync_up_to(path, root)


def make_dirs(path: Path, root: Path) -> None:
    """Make `path` and what lacks between it and `root`, each name durable."""
    missing: list[Path] = []
    current = path
    while current != root and not current.is_dir():
        missing.append(current)
        current = current.parent
    for directory in reversed(missing):
        try:
            os.mkdir(directory, 0o750)
        except FileExistsError:
            if not directory.is_dir() or directory.is_symlink():
                raise
        fsync_dir(directory.parent)


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a file lies on: the kernel's name of the file system, its options, its mount point and device."""

    kind: str
    options: frozenset[str]
    mount_point: str
    device: int
    inner: bytes = b""
    """Where the path lies *within* the file system: the same for every bind mount of it.

    Without a mount point it is the path as this process sees it.
    """

    @property
    def is_network(self) -> bool:
        """Whether another host keeps the bytes."""
        return self.kind in {"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "fuse.sshfs"}


def file_system_of(path: Path | bytes | str) -> FileSystem:
    """The file system that `path` lies on; kind `unknown` when the kernel does not tell."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return file_system_at(fd)
    finally:
        os.close(fd)


def file_system_at(fd: int) -> FileSystem:
    """The file system that an open file or folder lies on."""
    device = os.fstat(fd).st_dev
    number = mount_id(fd)
    real = os.readlink(f"/proc/self/fd/{fd}".encode())
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            parts = line.split()
            if parts and parts[0] == number:
                below = os.path.relpath(real, _unescaped(parts[4]))
                rest = parts[parts.index(b"-") + 1 :]
                options = parts[5].split(b",") + rest[2].split(b",")
                return FileSystem(
                    kind=rest[0].decode(),
                    options=frozenset(option.decode(errors="replace") for option in options),
                    mount_point=os.fsdecode(parts[4]),
                    device=device,
                    inner=os.path.normpath(os.path.join(_unescaped(parts[3]), below)),
                )
    # In a chroot the mount that its root lies on is not told; what lies on it is, by statfs.
    return FileSystem(_kind_by_number(fd), frozenset(), "", device, real)


_KIND_NUMBERS = {0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x01021994: "tmpfs", 0x4D44: "vfat"}
"""f_type of statfs(2): local file systems whose options do not matter here; ext2 and ext3 share ext4's driver."""


def _kind_by_number(fd: int) -> str:
    told = (ctypes.c_long * 64)()
    if libc().fstatfs(fd, told) != 0:
        return "unknown"
    return _KIND_NUMBERS.get(told[0] & 0xFFFFFFFF, "unknown")


def overlap(one: FileSystem, other: FileSystem) -> bool | None:
    """Whether one of two places lies in the other, also by way of a bind mount; None if that cannot be told."""
    if one.device != other.device:
        return False
    if bool(one.mount_point) != bool(other.mount_point):
        return None
    return _within(one.inner, other.inner) or _within(other.inner, one.inner)


def _within(inner: bytes, outer: bytes) -> bool:
    return inner == outer or inner.startswith(outer.rstrip(b"/") + b"/")


def _unescaped(field: bytes) -> bytes:
    """A path as mountinfo writes it, with \\040 for a blank and the like."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)


def mount_id(fd: int) -> bytes:
    """Which mount an open file or folder was reached through."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return line.split()[1]
    return b""


READ_BACK_KINDS = frozenset({"ext4", "xfs", "btrfs", "nfs", "nfs4"})
"""File systems on which O_DIRECT is known to read from the disk or the server, not from this host's memory."""

DEVICE_KINDS = READ_BACK_KINDS | {"ext2", "ext3", "vfat", "exfat", "f2fs"}
"""The same, for cameras."""


def reads_past_cache(system: FileSystem, kinds: frozenset[str] = READ_BACK_KINDS) -> bool:
    """Whether a read with O_DIRECT is known to get past this host's memory there."""
    return system.kind in kinds or (system.kind in {"cifs", "smb3"} and "cache=none" in system.options)


@contextmanager
def open_below(root_fd: int, path: bytes, flags: int, *, device: int | None = None) -> Iterator[tuple[int, int]]:
    """Open `path` below the directory `root_fd`, following no link and leaving no file system.

    Gives the descriptors of the file and of its directory. Raises OSError (ELOOP or ENOTDIR for a link,
    EXDEV for another file system than `device`).
    """
    if not all(part and part not in (b".", b"..") for part in path.split(b"/")):
        raise ValueError(f"{path!r} is no path below a folder")
    parent = os.dup(root_fd)
    try:
        *directories, name = path.split(b"/")
        for directory in directories:
            nested = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            os.close(parent)
            parent = nested
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=parent)
        try:
            if device is not None and os.fstat(fd).st_dev != device:
                raise OSError(errno.EXDEV, "another file system is mounted in the way", os.fsdecode(path))
            yield fd, parent
        finally:
            os.close(fd)
    finally:
        os.close(parent)


def is_regular(mode: int) -> bool:
    """Whether a mode is that of a regular file."""
    return stat.S_ISREG(mode)

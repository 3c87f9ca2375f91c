"""Probing a folder: whether its file system keeps the promises that a store there rests on.

Only below `{agency}/probe/`, in a folder of its own that is taken away again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dockd.digests import digest_of
from dockd.direct_io import UNIT_BYTES, Buffer, Reader
from dockd.durable import file_system_of, fsync_dir, fsync_up_to, make_dirs, publish_noreplace, reads_past_cache
from dockd.errors import StoreUnavailableError
from dockd.runtime.workers import Control
from dockd.stores.probe import Finding, Verdict

NETWORK_KINDS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse.sshfs", "afs", "lustre"}
)
_Answer = tuple[Verdict, str, str]
_LOW_BYTES: Final = 10 * 1024**3
_LOW_FILES: Final = 100_000
_NAME_BYTES: Final = 241
"""What a key's longest part needs, its suffix and a hidden name's dot included."""


@dataclass(slots=True)
class FilesystemProbe:
    """One probe of the store at `root`."""

    root: Path
    folder: Path
    token: str

    def run(self) -> Iterator[Finding]:
        """Ask one thing after the other; raises StoreUnavailableError when nothing can be written there."""
        place = self.folder / self.token
        try:
            make_dirs(place, self.root)
        except OSError as error:
            raise StoreUnavailableError(
                f"nothing can be written below {self.folder}: {error}", "The folder must belong to dockd's user."
            ) from error
        try:
            yield self._kind()
            yield self._space()
            yield _asked("fsync", "a file, its folder and those above are made durable", lambda: self._fsync(place))
            yield _asked("no replace", "a name that is taken is published once more", lambda: _no_replace(place))
            yield _asked("O_DIRECT", "a file is read past this host's cache", lambda: self._direct(place))
            yield _asked(
                "names", "the longest name that a key may have, and one that differs in case", lambda: _names(place)
            )
        finally:
            _take_away(place)

    def _kind(self) -> Finding:
        kind = file_system_of(self.root).kind
        network = kind in NETWORK_KINDS
        asked = "what the store lies on"
        answer = f"{kind}, {'of another host' if network else 'of this host'}"
        if not reads_past_cache(file_system_of(self.root)):
            so = "wipe nothing, unless store.accept has cached-readback: a read-back may come from memory"
            return Finding("file system", asked, "not supported", answer, so)
        so = "believe what it reads back past the cache"
        if network:
            so += "; be as safe as the other host's disks: its export must be sync, not async"
        return Finding("file system", asked, "enforced", answer, so)

    def _space(self) -> Finding:
        space = os.statvfs(self.root)
        free_bytes, free_files = space.f_bavail * space.f_frsize, space.f_favail
        answer = f"{free_bytes / 2**30:.1f} GiB"
        if space.f_files:
            answer += f" and {free_files} more files"
        low = free_bytes < _LOW_BYTES or (space.f_files and free_files < _LOW_FILES)
        so = "soon keep footage waiting on docks and cameras" if low else "send until it is full, and then wait"
        return Finding("space", "how much is free", "not enforced" if low else "enforced", answer, so)

    def _fsync(self, place: Path) -> _Answer:
        path = place / "durable"
        path.write_bytes(b"x")
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        fsync_up_to(path, self.root)
        return "enforced", "done", "claim nothing before that was done"

    def _direct(self, place: Path) -> _Answer:
        path = place / "direct"
        data = os.urandom(UNIT_BYTES + 4096 + 7)
        path.write_bytes(data)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
            reader = Reader(fd, Buffer(), direct=True)
            found = digest_of(reader.chunks(), Control())
        finally:
            os.close(fd)
        if found != digest_of([memoryview(data)], Control()):
            return "not enforced", "other bytes than were written", "confirm nothing there"
        if not reader.past_cache:
            return "not supported", "not possible", "wipe nothing, unless store.accept has cached-readback"
        return "enforced", "the same bytes", "confirm by what the disk gives back"


def _asked(name: str, asked: str, call: Callable[[], _Answer]) -> Finding:
    """Do it; what the file system refuses is a finding, and wrong."""
    try:
        verdict, answer, so = call()
    except OSError as error:
        so = "not work there: choose another file system"
        return Finding(name, asked, "not supported", error.strerror or str(error), so, wrong=True)
    # What is not supported there is known not to be, and dockd acts accordingly.
    return Finding(name, asked, verdict, answer, so, wrong=verdict == "not enforced")


def _no_replace(place: Path) -> _Answer:
    visible, hidden = place / "visible", place / ".hidden.partial"
    visible.write_bytes(b"first")
    hidden.write_bytes(b"second")
    try:
        publish_noreplace(hidden, visible)
    except FileExistsError:
        if visible.read_bytes() == b"first":
            return "enforced", "refused", "leave alone what another dock was quicker with"
    return "not enforced", "replaced", "overwrite what another dock was quicker with: choose another file system"


def _names(place: Path) -> _Answer:
    (place / ("n" * _NAME_BYTES)).write_bytes(b"long")
    (place / "Case").write_bytes(b"upper")
    try:
        with open(place / "case", "xb") as file:
            file.write(b"lower")
    except FileExistsError:
        return (
            "not enforced",
            "upper and lower case are one",
            "mix up cameras whose serials differ in case: choose another file system",
        )
    return "enforced", "kept apart", "keep each camera's recordings in a folder of its own"


def _take_away(place: Path) -> None:
    """What this probe made, by its own names."""
    try:
        for name in os.listdir(place):
            os.unlink(place / name)
        os.rmdir(place)
        fsync_dir(place.parent)
        for folder in (place.parent, place.parent.parent):
            os.rmdir(folder)
    except OSError as error:
        # Somebody else's probe, or recordings, lie beside it.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EACCES, errno.EPERM):
            raise

"""Cameras made of folders, and the manifest of everything that was ever planted on them.

A camera's folder appears whole, by a rename, and so does every file: what dockd sees is what was planted.
The test that destroys bytes says so in the manifest; of all others the oracle asks where they are.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from oracle_world import BY_TEST, Camera, Content, Planted, content_of

MIB = 1 << 20
MARKER = b".dockd-camera"
What = int | bytes
Name = str | bytes | Path


def as_bytes(name: Name) -> bytes:
    return os.fsencode(name)


def pieces(seed: str, size: int) -> Iterator[bytes]:
    """Deterministic content of any size, in which no two MiB are equal."""
    source = random.Random(seed)
    base = source.randbytes(min(size, MIB))
    for index in itertools.count():
        left = size - index * MIB
        if left <= 0:
            return
        yield (index.to_bytes(8, "big") + base[8:])[:left] if index else base[:left]


def own(folder: Path, owner: int) -> None:
    """Give a folder and everything in it to a user."""
    for parent, _, files in os.walk(folder):
        os.chown(parent, owner, owner)
        for name in files:
            os.chown(Path(parent, name), owner, owner, follow_symlinks=False)


@dataclass
class Entry:
    """One version of one file."""

    camera: bytes
    path: bytes
    content: Content
    flags: set[str] = field(default_factory=set)

    @property
    def is_recording(self) -> bool:
        return "not_a_recording" not in self.flags

    @property
    def wipable(self) -> bool:
        kept = {"held", "blocked", "elsewhere"} | BY_TEST
        return self.is_recording and self.content.size > 0 and not self.flags & kept


class Cameras:
    """The camera folders of one dock, those taken away, and the manifest."""

    def __init__(self, root: Path, seed: str) -> None:
        self.docked = root / "cameras"
        self.away = root / "away"
        self.staging = root / "staging"
        for folder in (self.docked, self.away, self.staging):
            folder.mkdir(parents=True, exist_ok=True)
        self.seed = seed
        self.entries: list[Entry] = []
        self.markers: dict[bytes, bool] = {}
        self.owner: int | None = None
        """Who new cameras belong to, if not to whoever runs the tests."""
        self._number = itertools.count()

    # --- cameras -------------------------------------------------------------------------------------

    def place(self, serial: Name, *, docked: bool = True) -> Path:
        """Where a camera's folder lies when it is docked, or away."""
        return Path(os.fsdecode(as_bytes(self.docked if docked else self.away) + b"/" + as_bytes(serial)))

    def is_docked(self, serial: Name) -> bool:
        return os.path.isdir(self.place(serial))

    def folder(self, serial: Name) -> Path:
        """Where a camera's folder lies now."""
        return self.place(serial, docked=self.is_docked(serial))

    def file(self, serial: Name, path: Name) -> Path:
        """Where a file of a camera lies now."""
        return Path(os.fsdecode(as_bytes(self.folder(serial)) + b"/" + as_bytes(path)))

    def add(
        self,
        serial: Name,
        files: Mapping[Name, What] | None = None,
        *,
        marker: bool = True,
        docked: bool = True,
    ) -> Path:
        """A new camera with `files`, each given by its size or its content; it appears at once and whole."""
        raw = as_bytes(serial)
        self.markers[raw] = marker
        staged = self.staging / f"camera-{next(self._number)}"
        staged.mkdir()
        if marker:
            (staged / os.fsdecode(MARKER)).touch()
            self._record(raw, MARKER, content_of(staged / os.fsdecode(MARKER)), {"not_a_recording"})
        for path, what in (files or {}).items():
            target = as_bytes(staged) + b"/" + as_bytes(path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            self._record(raw, as_bytes(path), self._write(target, raw, as_bytes(path), what))
        if self.owner is not None:
            own(staged, self.owner)
        goal = self.place(raw, docked=docked)
        os.rename(staged, goal)
        return goal

    def undock(self, serial: Name) -> None:
        """Take a camera away, at once."""
        os.rename(self.place(serial), self.place(serial, docked=False))

    def redock(self, serial: Name) -> None:
        """Bring a camera back, at once."""
        os.rename(self.place(serial, docked=False), self.place(serial))

    def rename_camera(self, serial: Name, other: Name) -> None:
        """Give a docked camera's folder another name: from then on it is another camera."""
        old, new = as_bytes(serial), as_bytes(other)
        self.markers[new] = self.markers[old]
        os.rename(self.place(old), self.place(new))
        for entry in [entry for entry in self.entries if entry.camera == old]:
            if self.newest(old, entry.path) is entry and os.path.lexists(self.file(new, entry.path)):
                self._record(new, entry.path, entry.content, entry.flags)
                entry.flags.add("elsewhere")

    def hand_over(self, serial: Name, other: Cameras) -> None:
        """Carry a camera from this dock, where it was undocked, to another one."""
        raw = as_bytes(serial)
        present = [entry for entry in self.entries if entry.camera == raw and self._is_there(entry)]
        other.markers[raw] = self.markers[raw]
        for entry in present:
            other._record(raw, entry.path, entry.content, entry.flags)
            entry.flags.add("elsewhere")
        os.rename(self.place(raw, docked=False), other.place(raw))

    def now(self) -> list[Camera]:
        """All cameras and where they are, for the oracle."""
        return [
            Camera(serial, self.folder(serial), self.is_docked(serial), marker)
            for serial, marker in self.markers.items()
        ]

    # --- files ---------------------------------------------------------------------------------------

    def plant(self, serial: Name, path: Name, what: What, *flags: str, mtime_ns: int | None = None) -> Path:
        """Put a file on a camera, at once and whole; what had that name is replaced."""
        staged = self.staging / f"file-{next(self._number)}"
        content = self._write(as_bytes(staged), as_bytes(serial), as_bytes(path), what)
        if mtime_ns is not None:
            os.utime(staged, ns=(mtime_ns, mtime_ns))
        target = self.file(serial, path)
        os.makedirs(target.parent, exist_ok=True)
        self._destroyed(serial, path, "overwritten_by_test")
        self._record(as_bytes(serial), as_bytes(path), content, set(flags))
        os.rename(staged, target)
        return target

    def plant_sparse(self, serial: Name, path: Name, size: int) -> Path:
        """Put a huge file on a camera that takes no room there: holes, and something in every 64th MiB."""
        staged = self.staging / f"file-{next(self._number)}"
        mark = random.Random(f"{self.seed}/{size}").randbytes(4096)
        with open(staged, "wb") as file:
            for offset in range(0, size, 64 * MIB):
                file.seek(offset)
                file.write(offset.to_bytes(8, "big") + mark)
            file.truncate(size)
        self._record(as_bytes(serial), as_bytes(path), content_of(staged))
        target = self.file(serial, path)
        os.makedirs(target.parent, exist_ok=True)
        os.rename(staged, target)
        return target

    def adopt(self, serial: Name, path: Name, *flags: str) -> None:
        """Take into the manifest what lies there already."""
        content = content_of(self.file(serial, path))
        self._record(as_bytes(serial), as_bytes(path), content, set(flags))

    def overwrite_in_place(self, serial: Name, path: Name, what: What, *, keep_mtime: bool = False) -> None:
        """Write other content into the very file that is there."""
        target = self.file(serial, path)
        before = os.stat(target)
        self._destroyed(serial, path, "overwritten_by_test")
        data = b"".join(pieces(f"{self.seed}/{next(self._number)}", what)) if isinstance(what, int) else what
        # Waits here until whoever reads under a lease gives it back.
        with open(target, "r+b") as file:
            file.write(data)
            file.truncate()
            file.flush()
            if keep_mtime:
                os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
            self.adopt(serial, path)

    def truncate(self, serial: Name, path: Name, size: int) -> None:
        """Cut a file short."""
        self._destroyed(serial, path, "overwritten_by_test")
        with open(self.file(serial, path), "r+b") as file:
            file.truncate(size)
            self.adopt(serial, path)

    def remove(self, serial: Name, path: Name) -> None:
        """Destroy a file on its camera."""
        self._destroyed(serial, path, "removed_by_test")
        os.unlink(self.file(serial, path))

    def throw_away(self, serial: Name) -> None:
        """Take a camera away, and destroy it with everything on it."""
        if self.is_docked(serial):
            self.undock(serial)
        for entry in self.entries:
            if entry.camera == as_bytes(serial) and self._is_there(entry):
                entry.flags.add("removed_by_test")
        shutil.rmtree(self.folder(serial))

    @contextmanager
    def writer(self, serial: Name, path: Name) -> Iterator[BinaryIO]:
        """A file that is being written on the camera itself; it counts as planted from its end on."""
        with open(self.file(serial, path), "wb", buffering=0) as file:
            yield file
            # As long as it is open it cannot have been wiped.
            self.adopt(serial, path)

    def flag(self, serial: Name, path: Name, flag: str) -> None:
        """Say something of the newest version of a file."""
        self.newest(serial, path).flags.add(flag)

    def newest(self, serial: Name, path: Name) -> Entry:
        where = (as_bytes(serial), as_bytes(path))
        return next(entry for entry in reversed(self.entries) if (entry.camera, entry.path) == where)

    def planted(self) -> list[Planted]:
        """The manifest, for the oracle."""
        return [Planted(e.camera, e.path, e.content, frozenset(e.flags)) for e in self.entries]

    def recordings(self) -> list[Entry]:
        """Every version that should come to be stored."""
        unwanted = {"blocked", "elsewhere"} | BY_TEST
        return [entry for entry in self.entries if entry.is_recording and not entry.flags & unwanted]

    def to_wipe(self) -> tuple[int, int]:
        """How many files are yet to be wiped on docked cameras, and how many must have been wiped so far."""
        left, versions = set(), 0
        for entry in self.entries:
            if not entry.wipable or not self.markers[entry.camera]:
                continue
            versions += 1
            if os.path.lexists(self.file(entry.camera, entry.path)):
                left.add((entry.camera, entry.path))
        return len([1 for camera, _ in left if self.is_docked(camera)]), versions - len(left)

    def _is_there(self, entry: Entry) -> bool:
        newest = self.newest(entry.camera, entry.path) is entry
        return newest and os.path.lexists(self.file(entry.camera, entry.path))

    def _destroyed(self, serial: Name, path: Name, flag: str) -> None:
        if os.path.lexists(self.file(serial, path)):
            self.newest(serial, path).flags.add(flag)

    def _record(self, serial: bytes, path: bytes, content: Content, flags: set[str] | None = None) -> None:
        self.entries.append(Entry(serial, path, content, set(flags or ())))

    def _write(self, target: bytes, serial: bytes, path: bytes, what: What) -> Content:
        seed = f"{self.seed}/{serial.hex()}/{path.hex()}/{next(self._number)}"
        with open(target, "wb") as file:
            if isinstance(what, bytes):
                file.write(what)
            else:
                file.writelines(pieces(seed, what))
        return content_of(target)

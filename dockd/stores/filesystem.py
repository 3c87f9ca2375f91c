"""An evidence store that is a folder: a disk, or a share of another host.

Layout: the key is the path. While writing, a hidden name `.{upload id}.partial` in the same folder is used;
a visible name is whole and durable. The store's id stands in `.dockd-store` at its root; an empty mount
point has none and is thus no store.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import blake3

from dockd.digests import Digests, Progress, ReadBack, Sink, digest_of
from dockd.direct_io import UNIT_BYTES, Buffer, Reader, Writer
from dockd.durable import (
    STORE_SENTINEL,
    file_system_of,
    fsync_dir,
    fsync_up_to,
    make_dirs,
    publish_noreplace,
    reads_past_cache,
    write_new_file,
)
from dockd.errors import (
    SpoolCorruptError,
    StoreConflictError,
    StoreFullError,
    StoreUnavailableError,
    StoreUnknownError,
)
from dockd.runtime.randomness import Randomness, SystemRandomness
from dockd.stores.base import Saved, StoreStatus, Upload
from dockd.stores.spool_file import reading_spool

_STORE_ID = re.compile(r"[0-9a-f]{32}\Z")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_SMALL_LIMIT_BYTES = 64 * 1024 * 1024
_LISTING_S = 60.0
_FLUSH_BYTES = 64 * UNIT_BYTES


@contextmanager
def _store_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFullError(f"the store is full: {what}: {error.strerror}") from error
        raise StoreUnavailableError(f"the store cannot be used: {what}: {error}") from error


def initialise(root: Path, randomness: Randomness) -> tuple[str, bool]:
    """Make a folder known as a store; its id, and whether it is new. Idempotent.

    Raises StoreUnavailableError.
    """
    with _store_errors("store init"):
        make_dirs(root, Path(root.anchor))
        fsync_dir(root.parent)
        try:
            return read_store_id(root), False
        except StoreUnknownError:
            if (root / STORE_SENTINEL).exists():
                # Somebody else was just faster; or it is spoilt, and that is told.
                return read_store_id(root), False
        store_id = randomness.token()
        try:
            write_new_file(root / STORE_SENTINEL, f"{store_id}\n".encode(), token=randomness.token(), root=root)
        except FileExistsError:
            return read_store_id(root), False
        return store_id, True


def read_store_id(root: Path) -> str:
    """The random id of the store at `root`; raises StoreUnknownError or StoreUnavailableError."""
    try:
        text = (root / STORE_SENTINEL).read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        if not root.is_dir():
            raise StoreUnavailableError(f"there is no folder {root}") from error
        raise StoreUnknownError(f"{root} is no store: it has no {STORE_SENTINEL}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StoreUnavailableError(f"{root / STORE_SENTINEL} cannot be read: {error}") from error
    if not _STORE_ID.match(text):
        raise StoreUnknownError(f"{root / STORE_SENTINEL} does not hold the id of a store")
    return text


class FilesystemStore:
    """See `EvidenceStore`."""

    def __init__(self, root: Path, randomness: Randomness | None = None) -> None:
        self.root = root
        self._pinned: str | None = None
        self._names: dict[str, tuple[float, dict[str, str]]] = {}
        self._names_lock = threading.Lock()
        self._randomness = randomness if randomness is not None else SystemRandomness()

    @property
    def place(self) -> str:
        """The folder, for people."""
        return str(self.root)

    def initialise(self, randomness: Randomness) -> tuple[str, bool]:
        """Make the folder known as a store."""
        return initialise(self.root, randomness)

    def identify(self) -> str:
        """The store's random id."""
        return read_store_id(self.root)

    def pin(self, store_id: str) -> None:
        """From now on accept the store of this id alone."""
        self._pinned = store_id

    def check(self) -> None:
        """Raise unless the store is there and is the one whose id was pinned."""
        found = self.identify()
        if self._pinned is None:
            raise StoreUnknownError(f"{self.root} has not been made known to this dock yet")
        if found != self._pinned:
            raise StoreUnknownError(f"{self.root} is another store ({found}) than this dock's ({self._pinned})")

    def status(self, spool: Path) -> StoreStatus:
        """What the store is, and its weaknesses for a dock whose spool lies at `spool`."""
        with _store_errors("status"):
            system = file_system_of(self.root)
            weaknesses = []
            if os.stat(self.root).st_dev == os.stat(spool).st_dev:
                weaknesses.append("same-disk")
            if not reads_past_cache(system):
                weaknesses.append("cached-readback")
            space = os.statvfs(self.root)
            return StoreStatus(system.kind, str(self.root), space.f_bavail * space.f_frsize, weaknesses)

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not all(part and part not in (".", "..") and "\0" not in part for part in parts):
            raise ValueError(f"{key!r} is no key")
        return self.root.joinpath(*parts)

    def _partial(self, path: Path, upload_id: str) -> Path:
        if not _STORE_ID.match(upload_id):
            raise ValueError(f"{upload_id!r} is no upload id")
        return path.with_name(f".{upload_id}.partial")

    def find_content(self, folder: str, blake3: str) -> str | None:
        """The key of an object in `folder` whose name begins with the digest, or None.

        A folder is listed once a minute at most, and what is saved from here is added: thousands of files
        cost one listing. Another dock's object of these minutes is met under its key, if the suffix is the same.
        """
        self.check()
        with _store_errors(folder), self._names_lock:
            known = self._names.get(folder)
            if known is None or time.monotonic() - known[0] > _LISTING_S:
                try:
                    names = os.listdir(self._path(folder))
                except FileNotFoundError:
                    names = []
                found = {name.partition(".")[0]: name for name in names if not name.startswith(".")}
                known = self._names[folder] = (time.monotonic(), found)
            name = known[1].get(blake3)
            return None if name is None else f"{folder}/{name}"

    def _remember(self, key: str) -> None:
        folder, _, name = key.rpartition("/")
        with self._names_lock:
            if folder in self._names:
                self._names[folder][1][name.partition(".")[0]] = name

    # --- recordings ----------------------------------------------------------------------------------

    def part_size_bytes(self, size_bytes: int) -> int | None:  # noqa: ARG002 - the protocol's
        """A folder takes whole files."""
        return None

    def save(
        self, key: str, source: Path, digests: Digests, upload: Upload, buffer: Buffer, progress: Progress
    ) -> Saved:
        """Upload a spooled file under `key`; what is under `key` already is left as it is."""
        self.check()
        path = self._path(key)
        partial = self._partial(path, upload.id)
        with _store_errors(key):
            make_dirs(path.parent, self.root)
            if path.exists():
                self._settle(path)
                partial.unlink(missing_ok=True)
                return Saved(already_there=True)
            self._fill(partial, source, digests, buffer, progress)
            # The mount may have gone while the bytes were written; beneath it nothing must be published.
            self.check()
            try:
                publish_noreplace(partial, path)
            except FileExistsError:
                partial.unlink(missing_ok=True)
                self._settle(path)
                return Saved(already_there=True)
            fsync_up_to(path, self.root)
            self._remember(key)
            return Saved(already_there=False)

    def _settle(self, path: Path) -> None:
        """Make durable what was found: whoever put it there may not have come to that."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        fsync_up_to(path, self.root)

    def _fill(self, partial: Path, source: Path, digests: Digests, buffer: Buffer, progress: Progress) -> None:
        """Bring the hidden file to the whole content; raises SpoolCorruptError for a spool that changed."""
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            with reading_spool(source) as source_fd:
                done = _equal_prefix(fd, source_fd, buffer, progress) if os.fstat(fd).st_size else 0
                os.ftruncate(fd, done)
                hasher = blake3.blake3()
                if done:
                    for chunk in Reader(source_fd, buffer, direct=True).chunks(0, done):
                        hasher.update(chunk)
                writer = Writer(fd, done)
                unsynced = 0
                for chunk in _spool_chunks(source_fd, buffer, done):
                    hasher.update(chunk)
                    writer.write(chunk)
                    unsynced += len(chunk)
                    if unsynced >= _FLUSH_BYTES:
                        writer.flush()
                        unsynced = 0
                    progress.advance(len(chunk))
            if writer.offset_bytes != digests.size_bytes or hasher.hexdigest() != digests.blake3:
                raise SpoolCorruptError(f"spool file {source.name} is not what was written to it")
            os.fsync(fd)
        finally:
            os.close(fd)

    def abandon(self, key: str, upload_id: str) -> None:
        """Take away the hidden file of one upload."""
        self.check()
        with _store_errors(key):
            self._partial(self._path(key), upload_id).unlink(missing_ok=True)

    def read_back(self, key: str, buffer: Buffer, progress: Progress, into: Sink | None = None) -> ReadBack | None:
        """Read what lies under `key`, whole, from the disk; None if there is nothing."""
        self.check()
        with _store_errors(key):
            try:
                fd = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return None
            try:
                version = _version_of(os.fstat(fd))
                reader = Reader(fd, buffer, direct=True)
                digests = digest_of(reader.chunks(), progress, into)
                found = os.fstat(fd)
                if _version_of(found) != version or found.st_size != digests.size_bytes:
                    raise StoreUnavailableError(f"{key} changed while it was read back")
                past_cache = reader.past_cache and reads_past_cache(file_system_of(self._path(key)))
                return ReadBack(digests, version, past_cache)
            finally:
                os.close(fd)

    def version(self, key: str) -> str | None:
        """Inode, size and ctime of what lies under `key` now."""
        self.check()
        with _store_errors(key):
            try:
                return _version_of(os.stat(self._path(key), follow_symlinks=False))
            except FileNotFoundError:
                return None

    def is_same_file(self, key: str, device: int, inode: int) -> bool:
        """Whether the object is that very file of this host."""
        with _store_errors(key):
            found = os.stat(self._path(key), follow_symlinks=False)
            return (found.st_dev, found.st_ino) == (device, inode)

    # --- small objects -------------------------------------------------------------------------------

    def put_small(self, key: str, data: bytes, upload_id: str | None = None) -> bool:
        """Publish a small object whole and durable; False if the same content was there already."""
        self.check()
        path = self._path(key)
        with _store_errors(key):
            make_dirs(path.parent, self.root)
            if upload_id is not None:
                self._partial(path, upload_id).unlink(missing_ok=True)
            try:
                write_new_file(path, data, token=upload_id or self._randomness.token(), root=self.root)
            except FileExistsError:
                if self.get_small(key) != data:
                    raise StoreConflictError(f"the store holds something else under {key}") from None
                self._settle(path)
                return False
            return True

    def get_small(self, key: str) -> bytes | None:
        """A small object whole, or None."""
        self.check()
        with _store_errors(key):
            try:
                # Not to wait for ever for the other end of a pipe that somebody put there.
                fd = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except FileNotFoundError:
                return None
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise StoreConflictError(f"{key} is no file", "Find out who put it there, and take it away.")
                with open(fd, "rb", closefd=False) as file:
                    data = file.read(_SMALL_LIMIT_BYTES + 1)
            finally:
                os.close(fd)
        if len(data) > _SMALL_LIMIT_BYTES:
            raise StoreConflictError(f"{key} is larger than anything dockd puts there", "Find out who put it there.")
        return data

    def list_small(self, prefix: str, after: str = "") -> Iterator[str]:
        """The keys of all that is visible directly below a folder of the store, but for folders.

        Links are named too: a hold that somebody made a link of must not be overlooked.
        """
        keys = (f"{prefix}/{name}" for name in self._listing(prefix, folders=False))
        return (key for key in keys if key > after)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """The visible folders directly below a folder of the store."""
        return (f"{prefix}/{name}" for name in self._listing(prefix, folders=True))

    def _listing(self, prefix: str, *, folders: bool) -> list[str]:
        self.check()
        with _store_errors(prefix):
            try:
                with os.scandir(self._path(prefix)) as entries:
                    names = sorted(each.name for each in entries if each.is_dir(follow_symlinks=False) is folders)
            except FileNotFoundError:
                return []
        return [name for name in names if not name.startswith(".")]


def _spool_chunks(source_fd: int, buffer: Buffer, start_bytes: int) -> Iterator[memoryview]:
    chunks = Reader(source_fd, buffer, direct=True).chunks(start_bytes)
    while True:
        try:
            chunk = next(chunks)
        except StopIteration:
            return
        except OSError as error:
            raise SpoolCorruptError(f"the spool cannot be read: {error.strerror}") from error
        yield chunk


def _equal_prefix(fd: int, source_fd: int, buffer: Buffer, progress: Progress) -> int:
    """How many whole units of a broken-off upload are on the store's disk as they are in the spool."""
    other = Buffer()
    equal = 0
    ours = Reader(source_fd, buffer, direct=True).chunks()
    theirs = Reader(fd, other, direct=True).chunks()
    for mine, stored in zip(ours, theirs, strict=False):
        progress.advance()
        if len(stored) < UNIT_BYTES or bytes(mine) != bytes(stored):
            break
        equal += UNIT_BYTES
    return equal


def _version_of(found: os.stat_result) -> str:
    return f"inode={found.st_ino} size={found.st_size} ctime={found.st_ctime_ns}"

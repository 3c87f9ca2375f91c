"""An evidence store that is a bucket of an S3-compatible service.

Nothing is overwritten: the key is looked at before anything is sent and again before parts become an object, and
`If-None-Match: *` goes along where the store knows it. What is in the bucket is known by reading it back.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dockd.digests import Digests, Hasher, PartDigests, Progress, ReadBack, Sink
from dockd.direct_io import UNIT_BYTES, Buffer
from dockd.durable import STORE_SENTINEL
from dockd.errors import SpoolCorruptError, StoreConflictError, StoreUnavailableError, StoreUnknownError
from dockd.runtime.randomness import Randomness
from dockd.stores.base import Saved, StoreStatus, Upload
from dockd.stores.s3_bucket import Bucket, S3Settings
from dockd.stores.s3_errors import ABSENT_CODES, EXISTS_CODES, S3RefusedError
from dockd.stores.s3_multipart import REMOTE, Multipart
from dockd.stores.s3_retries import Retries
from dockd.stores.s3_upload import Part, hash_parts, part_size_for, parts_of
from dockd.stores.s3_wire import Region, Wire
from dockd.stores.spool_file import reading_spool

_STORE_ID = re.compile(r"[0-9a-f]{32}\Z")
_UPLOAD_ID = re.compile(r"([0-9a-f]{32}|s3:[!-~]{1,1024})\Z")
_SMALL_LIMIT_BYTES: Final = 64 * 1024 * 1024
_SENTINEL_LIMIT_BYTES: Final = 1024
_RANGE_BYTES: Final = 64 * UNIT_BYTES
_KNOWN_S: Final = 20.0
"""How long the bucket is taken for the one it was, without asking it again."""

_CHANGED: Final = frozenset({"PreconditionFailed", "412", "NoSuchVersion"})


class S3Store:
    """See `EvidenceStore`."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._bucket = Bucket(settings)
        self._bucket.on_refusal = self._doubt
        self._pinned: str | None = None
        self._known_until_s = 0.0

    @property
    def root(self) -> Path | None:
        """None: a bucket is no folder of this host."""
        return None

    @property
    def place(self) -> str:
        """Where the bucket is, for people."""
        return self._bucket.place

    # --- who it is -----------------------------------------------------------------------------------

    def _doubt(self) -> None:
        self._known_until_s = 0.0

    def identify(self) -> str:
        """The store's random id."""
        data = self._bucket.get(STORE_SENTINEL, _SENTINEL_LIMIT_BYTES)
        if data is None:
            raise StoreUnknownError(f"{self.place} is no store: it has no {STORE_SENTINEL}")
        text = data.decode("ascii", "replace").strip()
        if not _STORE_ID.match(text):
            raise StoreUnknownError(f"{STORE_SENTINEL} in {self.place} does not hold the id of a store")
        return text

    def initialise(self, randomness: Randomness) -> tuple[str, bool]:
        """Make the bucket known as a store."""
        if self._bucket.get(STORE_SENTINEL, _SENTINEL_LIMIT_BYTES) is not None:
            return self.identify(), False
        store_id = randomness.token()
        self._bucket.put_new(STORE_SENTINEL, f"{store_id}\n".encode())
        # Of two that were made at once the one that is there counts.
        found = self.identify()
        return found, found == store_id

    def pin(self, store_id: str) -> None:
        """From now on accept the store of this id alone."""
        self._pinned = store_id
        if self._bucket.knowledge.store_id not in (None, store_id):
            self._bucket.forget_probe()
        self._doubt()

    def check(self) -> None:
        """Raise unless the store is there and is the one whose id was pinned; asked of it now and then."""
        if self._pinned is not None and time.monotonic() < self._known_until_s:
            return
        found = self.identify()
        if self._pinned is None:
            raise StoreUnknownError(f"{self.place} has not been made known to this dock yet")
        if found != self._pinned:
            raise StoreUnknownError(f"{self.place} is another store ({found}) than this dock's ({self._pinned})")
        self._known_until_s = time.monotonic() + _KNOWN_S

    def status(self, spool: Path) -> StoreStatus:  # noqa: ARG002 - the protocol's
        """What the store is. A bucket does not say how much room it has."""
        self._doubt()
        self.check()
        return StoreStatus("s3", self.place, None, ())

    # --- looking -------------------------------------------------------------------------------------

    def _head(self, key: str) -> dict[str, Any] | None:
        """What lies under `key`, or None."""
        self._bucket.at(key)
        self.check()
        found = self._bucket.head(key)
        if found is None:
            # A HEAD's answer has no body: that no such bucket is there any more looks the same.
            self._doubt()
            self.check()
        return found

    def find_content(self, folder: str, blake3: str) -> str | None:
        """The key of an object in `folder` whose name begins with the digest, or None."""
        self._bucket.at(folder)
        self.check()
        keys = sorted(self._bucket.names(f"{folder}/{blake3}"))
        return next((key for key in keys if key.rpartition("/")[2].partition(".")[0] == blake3), None)

    def version(self, key: str) -> str | None:
        """The version id of what lies under `key` now, its ETag and size."""
        found = self._head(key)
        return None if found is None else _version_of(found)

    def is_same_file(self, key: str, device: int, inode: int) -> bool:  # noqa: ARG002 - the protocol's
        """Never: a bucket is no file of this host."""
        return False

    # --- recordings ----------------------------------------------------------------------------------

    def part_size_bytes(self, size_bytes: int) -> int | None:
        """The parts whose SHA-256 is to be computed while a file is copied; None if none is asked for."""
        wanted = part_size_for(size_bytes, self._settings.part_size_bytes)
        return wanted if self._settings.sign_payload and size_bytes > wanted else None

    def save(
        self, key: str, source: Path, digests: Digests, upload: Upload, buffer: Buffer, progress: Progress
    ) -> Saved:
        """Upload a spooled file under `key`; what is under `key` already is left as it is, but for a lock it lacks."""
        saved = self._save(key, source, digests, upload, buffer, progress)
        if self._settings.object_lock_days:
            self._lock(key)
        return saved

    def _lock(self, key: str) -> None:
        """Lock what was saved, if it is to be locked and is not: Ceph 16 forgets that of an upload in parts."""
        found = self._head(key)
        if found is not None and "ObjectLockMode" not in found:
            self._bucket.lock(key, found.get("VersionId"))

    def _save(
        self, key: str, source: Path, digests: Digests, upload: Upload, buffer: Buffer, progress: Progress
    ) -> Saved:
        _check_upload_id(upload.id)
        if self._head(key) is not None:
            self.abandon(key, upload.id)
            return Saved(already_there=True)
        with reading_spool(source) as fd:
            size_bytes = os.fstat(fd).st_size
            if size_bytes != digests.size_bytes:
                raise SpoolCorruptError(f"spool file {source.name} has {size_bytes} bytes of {digests.size_bytes}")
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            part_size_bytes = part_size_for(size_bytes, self._settings.part_size_bytes)
            try:
                if size_bytes <= part_size_bytes:
                    return self._save_at_once(key, fd, digests, upload, progress)
                part_digests = self._part_digests(fd, source.name, digests, upload, part_size_bytes, buffer, progress)
                parts = parts_of(fd, size_bytes, part_size_bytes, part_digests)
                return Multipart(self._bucket, key, digests, upload, parts).save(buffer, progress)
            finally:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def _part_digests(
        self,
        fd: int,
        name: str,
        digests: Digests,
        upload: Upload,
        part_size_bytes: int,
        buffer: Buffer,
        progress: Progress,
    ) -> PartDigests | None:
        """Those of the copy where they are of parts like these; None where parts are sent unsigned."""
        if not self._settings.sign_payload:
            return None
        if upload.parts is not None and upload.parts.part_size_bytes == part_size_bytes:
            return upload.parts
        return hash_parts(fd, name, digests, part_size_bytes, buffer, progress)

    def _save_at_once(self, key: str, fd: int, digests: Digests, upload: Upload, progress: Progress) -> Saved:
        """In one request; its body's digest is the recording's own."""
        self.abandon(key, upload.id)
        headers = {f"x-amz-meta-{name}": value for name, value in self._bucket.metadata(key, digests).items()}
        headers |= self._bucket.properties()
        digest = bytes.fromhex(digests.sha256) if self._settings.sign_payload else None
        whole = Part(1, Region(fd, 0, digests.size_bytes), digest)

        def put(conditional: bool) -> None:
            more = {"If-None-Match": "*"} if conditional else {}
            with self._bucket.refusals_noted():
                self._bucket.sender.send_all(key, [whole], lambda _: {}, {**headers, **more}, progress)

        try:
            self._bucket.unless_there("put", put)
        except S3RefusedError as error:
            if error.code not in EXISTS_CODES:
                raise
            return Saved(already_there=True)
        return Saved(already_there=False)

    def abandon(self, key: str, upload_id: str) -> None:
        """Abort one upload that the journal knows."""
        self._bucket.at(key)
        _check_upload_id(upload_id)
        self.check()
        if upload_id.startswith(REMOTE):
            self._bucket.abort(key, upload_id.removeprefix(REMOTE))

    # --- reading back --------------------------------------------------------------------------------

    def read_back(self, key: str, buffer: Buffer, progress: Progress, into: Sink | None = None) -> ReadBack | None:
        """Read what lies under `key`, whole, in ranges of one version of it; None if there is nothing."""
        found = self._head(key)
        if found is None:
            return None
        size_bytes = int(found["ContentLength"])
        query = {} if found.get("VersionId") is None else {"versionId": str(found["VersionId"])}
        given = {"If-Match": str(found["ETag"]), "Cache-Control": "no-cache"}
        hasher = Hasher()

        def take(piece: memoryview) -> None:
            hasher.update(piece)
            if into is not None:
                into(piece)
            progress.advance(len(piece))

        def read(wire: Wire) -> None:
            start, last = hasher.size_bytes, min(hasher.size_bytes + _RANGE_BYTES, size_bytes) - 1
            headers = {**given, "Range": f"bytes={start}-{last}"}
            wire.get(key, query, headers, (start, last, size_bytes), buffer.view, take)

        wire = Wire(self._bucket.endpoint)
        try:
            with self._bucket.refusals_noted():
                retries = Retries(progress.check)
                while hasher.size_bytes < size_bytes:
                    retries.over(hasher.size_bytes)
                    with retries:
                        read(wire)
        except S3RefusedError as error:
            if error.code in ABSENT_CODES | _CHANGED:
                raise StoreUnavailableError(f"{key} changed while it was read back") from error
            raise
        finally:
            wire.close()
        return ReadBack(hasher.digests(), _version_of(found), past_cache=True)

    # --- small objects -------------------------------------------------------------------------------

    def put_small(self, key: str, data: bytes, upload_id: str | None = None) -> bool:  # noqa: ARG002 - nothing is left
        """Publish a small object; False if the same content was there already."""
        there = self.get_small(key)
        if there is None and self._bucket.put_new(key, data):
            return True
        if there is None:
            there = self.get_small(key)
        if there != data:
            raise StoreConflictError(f"the store holds something else under {key}")
        return False

    def get_small(self, key: str) -> bytes | None:
        """A small object whole, or None."""
        self._bucket.at(key)
        self.check()
        return self._bucket.get(key, _SMALL_LIMIT_BYTES)

    def list_small(self, prefix: str, after: str = "") -> Iterator[str]:
        """The keys of all objects directly below a folder of the store, but for hidden ones."""
        self._bucket.at(prefix)
        self.check()
        for key in self._bucket.names(f"{prefix}/", after=after):
            name = key.removeprefix(f"{prefix}/")
            if name and not name.startswith("."):
                yield key

    def list_folders(self, prefix: str) -> Iterator[str]:
        """What keys directly below a folder of the store begin with, as far as their next slash."""
        self._bucket.at(prefix)
        self.check()
        for folder in self._bucket.folders(f"{prefix}/"):
            if not folder.rpartition("/")[2].startswith("."):
                yield folder


def _check_upload_id(upload_id: str) -> None:
    if not _UPLOAD_ID.match(upload_id):
        raise ValueError(f"{upload_id!r} is no upload id")


def _version_of(found: dict[str, Any]) -> str:
    """What tells one content of a key from another: the version where the bucket keeps versions, always the ETag."""
    version = found.get("VersionId")
    named = "" if version is None else f"version={version} "
    etag = str(found["ETag"]).strip('"')
    return f"{named}etag={etag} size={found['ContentLength']}"

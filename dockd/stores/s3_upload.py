"""One multipart upload: which parts are missing, several sent at once, all compared before they become an object.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html (5 MiB to 5 GiB a part, 10,000 parts).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dockd.digests import Digests, Hasher, PartDigests, PartHasher, Progress
from dockd.direct_io import UNIT_BYTES, Buffer, Reader, clear_direct
from dockd.errors import DockdError, SpoolCorruptError, StoreUnavailableError
from dockd.stores.s3_errors import S3LostError, S3RefusedError
from dockd.stores.s3_retries import Retries
from dockd.stores.s3_wire import Answer, Endpoint, Region, Wire

PARTS_AT_ONCE: Final = 4
"""Parts in flight, over all uploads of a store; as many are sent again after a crash."""

MOST_PARTS: Final = 10_000
_CHECK_S: Final = 0.25
_TELL_S: Final = 0.1
_WRONG_DIGEST: Final = frozenset({"XAmzContentSHA256Mismatch", "BadDigest"})


def part_size_for(size_bytes: int, wanted_bytes: int) -> int:
    """The size of a file's parts: as configured, or as much more as the most parts that there may be ask for."""
    least = -(-size_bytes // MOST_PARTS)
    return max(wanted_bytes, -(-least // UNIT_BYTES) * UNIT_BYTES)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a file; numbers begin at 1. `sha256` is None if it is sent unsigned."""

    number: int
    region: Region
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class Sent:
    """What the store holds of a part; `etag` without its quotes."""

    size_bytes: int
    etag: str


def parts_of(fd: int, size_bytes: int, part_size_bytes: int, digests: PartDigests | None) -> list[Part]:
    """All parts of a file of at least one byte."""
    starts = range(0, size_bytes, part_size_bytes)
    assert digests is None or len(digests) == len(starts)
    return [
        Part(
            number,
            Region(fd, start, min(part_size_bytes, size_bytes - start)),
            None if digests is None else digests[number - 1],
        )
        for number, start in enumerate(starts, start=1)
    ]


def hash_parts(
    fd: int, name: str, digests: Digests, part_size_bytes: int, buffer: Buffer, progress: Progress
) -> PartDigests:
    """Compute a spool file's part digests, for want of those of its copy; raises SpoolCorruptError if it changed."""
    whole, parts = Hasher(), PartHasher(part_size_bytes)
    try:
        for chunk in Reader(fd, buffer, direct=True).chunks():
            whole.update(chunk)
            parts.update(chunk)
            progress.advance()
    except OSError as error:
        raise SpoolCorruptError(f"the spool cannot be read: {error.strerror}") from error
    finally:
        # sendfile takes no odd lengths from a file that is read past the cache.
        clear_direct(fd)
    if whole.digests() != digests:
        raise SpoolCorruptError(f"spool file {name} is not what was written to it")
    return parts.finish()


def region_digest(region: Region, buffer: Buffer, algorithm: str) -> str:
    """The digest of a stretch of a spool file, in hex."""
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    at, end = region.start_bytes, region.start_bytes + region.size_bytes
    while at < end:
        try:
            got = os.preadv(region.fd, [buffer.view[: min(len(buffer), end - at)]], at)
        except OSError as error:
            raise SpoolCorruptError(f"the spool cannot be read: {error.strerror}") from error
        if got == 0:
            break
        hasher.update(buffer.view[:got])
        at += got
    return hasher.hexdigest()


class Sender:
    """Sends bodies with several connections at once, all of one store; each is tried again where that may help."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._slots = threading.BoundedSemaphore(PARTS_AT_ONCE)

    def send_all(
        self,
        key: str,
        parts: list[Part],
        query: Callable[[Part], Mapping[str, str]],
        headers: Mapping[str, str],
        progress: Progress,
    ) -> dict[int, Sent]:
        """Send the parts; what the store said it holds of each. Raises the first error, or what `progress` raises.

        Whatever happens, no thread and no connection is left when it returns.
        """
        todo: queue.SimpleQueue[Part] = queue.SimpleQueue()
        for part in parts:
            todo.put(part)
        crew = _Crew(self._endpoint, self._slots, key, query, headers, todo)
        return crew.run(min(PARTS_AT_ONCE, len(parts)), len(parts), progress)


class _Crew:
    """The threads of one upload, and what they tell the one that watches them."""

    def __init__(
        self,
        endpoint: Endpoint,
        slots: threading.BoundedSemaphore,
        key: str,
        query: Callable[[Part], Mapping[str, str]],
        headers: Mapping[str, str],
        todo: queue.SimpleQueue[Part],
    ) -> None:
        self._endpoint, self._slots, self._key = endpoint, slots, key
        self._query, self._headers, self._todo = query, headers, todo
        self._over = threading.Event()
        self._told: queue.SimpleQueue[int | tuple[Part, Sent] | BaseException] = queue.SimpleQueue()
        self._wires: list[Wire] = []

    def run(self, threads: int, count: int, progress: Progress) -> dict[int, Sent]:
        crew = []
        for number in range(threads):
            wire = Wire(self._endpoint)
            self._wires.append(wire)
            crew.append(threading.Thread(target=self._work, args=(wire,), name=f"part-{number}", daemon=True))
        for thread in crew:
            thread.start()
        done: dict[int, Sent] = {}
        try:
            while len(done) < count:
                try:
                    told = self._told.get(timeout=_CHECK_S)
                except queue.Empty:
                    progress.check()
                    continue
                if isinstance(told, int):
                    progress.advance(told)
                elif isinstance(told, BaseException):
                    raise told
                else:
                    done[told[0].number] = told[1]
        finally:
            self._over.set()
            for wire in self._wires:
                wire.cut()
            for thread in crew:
                thread.join()
        return done

    def _work(self, wire: Wire) -> None:
        try:
            while not self._over.is_set():
                try:
                    part = self._todo.get_nowait()
                except queue.Empty:
                    return
                self._told.put((part, self._send(wire, part)))
        except BaseException as error:  # noqa: BLE001 - the thread that watches raises it
            self._told.put(error)
        finally:
            wire.close()

    def _send(self, wire: Wire, part: Part) -> Sent:
        retries = Retries(self._check)
        while True:
            with retries:
                return self._attempt(wire, part)

    def _check(self) -> None:
        if self._over.is_set():
            raise StoreUnavailableError("the upload was broken off")

    def _attempt(self, wire: Wire, part: Part) -> Sent:
        counted = _Counted(self._told.put)
        digest = None if part.sha256 is None else part.sha256.hex()
        try:
            with self._slot():
                answer = wire.put(self._key, self._query(part), self._headers, part.region, digest, counted.add)
        except (S3LostError, S3RefusedError) as error:
            counted.take_back()
            self._check()
            if isinstance(error, S3RefusedError) and error.code in _WRONG_DIGEST:
                raise _whose_fault(part, error) from error
            raise
        counted.flush()
        return Sent(part.region.size_bytes, etag_of(answer))

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        while not self._slots.acquire(timeout=_CHECK_S):
            self._check()
        try:
            yield
        finally:
            self._slots.release()


def _whose_fault(part: Part, error: S3RefusedError) -> DockdError:
    """What it means that the store was sent other bytes than were signed: a bad spool, or a bad line."""
    assert part.sha256 is not None
    if region_digest(part.region, Buffer(), "sha256") != part.sha256.hex():
        start = part.region.start_bytes
        return SpoolCorruptError(f"byte {start} and those behind it in the spool file are not what was written")
    return S3LostError(f"bytes were changed on their way to the store: {error.message}")


class _Counted:
    """Bytes of one attempt, told a few times a second; those of one that failed are taken back."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._told = 0
        self._count = 0
        self._last_s = 0.0

    def add(self, count: int) -> None:
        self._count += count
        if time.monotonic() - self._last_s >= _TELL_S:
            self.flush()

    def flush(self) -> None:
        if self._count:
            self._tell(self._count)
        self._told += self._count
        self._count = 0
        self._last_s = time.monotonic()

    def take_back(self) -> None:
        self._count = 0
        if self._told:
            self._tell(-self._told)


def etag_of(answer: Answer) -> str:
    """What the store calls the bytes that it took; raises S3LostError if it does not say."""
    etag = answer.headers.get("etag", "").strip('"')
    if not etag:
        raise S3LostError("the store does not say what it took: its answer has no ETag")
    return etag

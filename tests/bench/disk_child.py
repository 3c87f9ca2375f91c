"""What the disk and the processor can do at best: O_DIRECT writes and reads, and both digests.

Run by the bench in a process of its own: disk_child.py DIRECTORY STREAMS TOTAL_BYTES. Prints one line of JSON.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import blake3

UNIT_BYTES = 1 << 20
POOL_UNITS = 16
HASHED_BYTES = 256 << 20


def each(streams: int, work: Callable[[int], None]) -> float:
    """Seconds that `streams` threads take for their work together."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(streams)]
    start_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.monotonic() - start_s


def stream_rates(directory: Path, streams: int, total_bytes: int) -> tuple[float, float]:
    """Bytes per second written (fdatasync included) and read back, past the page cache."""
    pool = mmap.mmap(-1, UNIT_BYTES * POOL_UNITS)
    pool.write(os.urandom(len(pool)))
    units = max(1, total_bytes // streams // UNIT_BYTES)
    paths = [directory / f"stream-{streams}-{number}" for number in range(streams)]

    def write(number: int) -> None:
        view = memoryview(pool)
        fd = os.open(paths[number], os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o600)
        for unit in range(units):
            at = (unit + number) % POOL_UNITS * UNIT_BYTES
            assert os.pwrite(fd, view[at : at + UNIT_BYTES], unit * UNIT_BYTES) == UNIT_BYTES
        os.fdatasync(fd)
        os.close(fd)

    def read(number: int) -> None:
        view = memoryview(mmap.mmap(-1, UNIT_BYTES))
        fd = os.open(paths[number], os.O_RDONLY | os.O_DIRECT)
        for unit in range(units):
            assert os.preadv(fd, [view], unit * UNIT_BYTES) == UNIT_BYTES
        os.close(fd)

    moved = units * UNIT_BYTES * streams
    rates = moved / each(streams, write), moved / each(streams, read)
    for path in paths:
        path.unlink()
    return rates


def hash_rate(new: Callable[[], object]) -> float:
    """Bytes per second of one digest on one core, from a unit that the processor's cache holds."""
    view = memoryview(os.urandom(UNIT_BYTES))
    digest = new()
    start_s = time.monotonic()
    for _ in range(HASHED_BYTES // UNIT_BYTES):
        digest.update(view)  # type: ignore[attr-defined]
    return HASHED_BYTES / (time.monotonic() - start_s)


def main() -> None:
    """Measure and print."""
    directory, streams, total_bytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rates = {count: stream_rates(directory, count, total_bytes) for count in sorted({1, streams})}
    found = {
        "write_bytes_per_s": max(write for write, _ in rates.values()),
        "read_bytes_per_s": max(read for _, read in rates.values()),
        "by_streams": {str(count): {"write": write, "read": read} for count, (write, read) in rates.items()},
        "blake3_bytes_per_s": hash_rate(blake3.blake3),
        "sha256_bytes_per_s": hash_rate(hashlib.sha256),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

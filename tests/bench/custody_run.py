"""How fast a chain is verified: `dockd custody verify` on segments and on exported records, on one core.

python tests/bench/custody_run.py [RECORDS [ROUNDS]]
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import rfc8785

from dockd.custody.chain import find_break
from dockd.custody.keys import SigningKey
from dockd.custody.segments import LONGEST_RECORDS, DigestList, segment_name

DOCKD = Path(sys.executable).with_name("dockd")
_EVENTS = ("recording_found", "recording_copied", "recording_uploaded", "recording_confirmed", "recording_wiped")


def lines(count: int, key: SigningKey) -> Iterator[str]:
    """A chain of records like those of a dock."""
    prev = "0" * 64
    for seq in range(1, count + 1):
        record: dict[str, object] = {
            "seq": seq,
            "prev": prev,
            "time": "2026-11-30T12:00:00.000Z",
            "clock": {"source": "kernel", "synchronised": True, "uncertainty_ms": 7},
            "dock": "calgary/district-4/dock-07",
            "event": _EVENTS[seq % 5],
            "recording": f"{seq // 5:032x}",
            "camera": "X60A1234567",
            "path": f"DCIM/100MEDIA/EVT_{seq // 5:08d}.MP4",
            "generation": 1,
            "docking": "20261130T120000000Z-00000001-dock-07",
            "size": 734_003_200 + seq,
            "blake3": prev,
            "sha256": prev,
        }
        if seq == 2:
            record |= {"event": "key_registered", "public_key": key.public.line, "fingerprint": key.public.fingerprint}
        line = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        prev = hashlib.sha256(line.encode()).hexdigest()
        yield line


def build(folder: Path, count: int) -> int:
    """The chain as segments and as one file; its size in bytes."""
    key = SigningKey.generate()
    made = lines(count, key)
    chain = folder / "chain"
    chain.mkdir()
    exported = folder / "chain.jsonl"
    before = "0" * 64
    # In parts: a child's peak of memory would be taken to be at least this process's own.
    for start in range(0, count, LONGEST_RECORDS):
        part = list(islice(made, LONGEST_RECORDS))
        digests = DigestList.of(part, start, before)
        place = chain / segment_name(digests.first, digests.last)
        text = "".join(f"{line}\n" for line in part)
        place.with_suffix(".jsonl").write_text(text, encoding="utf-8")
        with open(exported, "a", encoding="utf-8") as file:
            file.write(text)
        place.with_suffix(".sha256").write_bytes(digests.text())
        place.with_suffix(".sha256.sig").write_text(key.sign(digests.text()), encoding="ascii")
        before = digests.head
    return exported.stat().st_size


def measure(path: Path) -> tuple[float, float, int]:
    """Seconds by the clock, seconds of CPU, and peak memory in bytes of one verification."""
    began = time.monotonic()
    process = subprocess.Popen([DOCKD, "custody", "verify", path], stdout=subprocess.DEVNULL)
    _, code, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    assert process.returncode == 0
    return time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def slow(count: int) -> float:
    """Records a second by rfc8785 alone, which is what decides where the fast way cannot."""
    made = list(lines(count, SigningKey.generate()))
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for line in made:
        assert rfc8785.dumps(json.loads(line)).decode() == line
    return count / (resource.getrusage(resource.RUSAGE_SELF).ru_utime - began)


def fast(count: int) -> float:
    """Records a second by `find_break`."""
    made = list(lines(count, SigningKey.generate()))
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert find_break(made) is None
    return count / (resource.getrusage(resource.RUSAGE_SELF).ru_utime - began)


def main() -> None:
    """Measure, and print a table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as name:
        size_bytes = build(Path(name), count)
        print(f"{count:,} records, {size_bytes / 1e6:.0f} MB, {size_bytes / count:.0f} bytes each")
        for kind in ("segments", "records"):
            path = Path(name) / ("chain.jsonl" if kind == "records" else "chain")
            found = [measure(path) for _ in range(rounds)]
            wall, cpu = (statistics.median(one[at] for one in found) for at in (0, 1))
            peak = max(one[2] for one in found)
            rate = count / cpu * 60
            print(f"{kind}: {wall:.1f} s, {cpu:.1f} CPU-s, {rate:,.0f} records a CPU-minute, {peak / 1e6:.0f} MB")
    print(f"find_break: {fast(50_000):,.0f} records a CPU-second; rfc8785 alone: {slow(20_000):,.0f}")


if __name__ == "__main__":
    main()

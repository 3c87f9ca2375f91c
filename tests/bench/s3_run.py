"""`make bench-s3`: dockd's upload against boto3 and rclone, into a Ceph of its own on loopback, in one run.

Everybody sends the same file in parts of the same size, four at once. One round goes through all contenders, the next
one in reverse order; a round of warm-up does not count. Nothing passes or fails here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import blake3
from measure import Cost, busy_share, measure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sources import drop_from_cache
from surroundings import describe

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

import ceph  # noqa: E402 - the tests' own Ceph
from s3_bucket import Bucket  # noqa: E402

from dockd.runtime.randomness import SystemRandomness  # noqa: E402

GB = 1e9
MIB = 1 << 20
PART_BYTES = 16 * MIB
AT_ONCE = 4
HEAD = (
    "contender",
    "wall s",
    "MB/s",
    "÷ boto3",
    "CPU-s/GB",
    "÷ boto3",
    "with Python's start",
    "machine CPU-s/GB",
    "peak RSS MB",
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What is sent, and where to."""

    file: Path
    size_bytes: int
    blake3: str
    sha256: str
    bucket: Bucket

    def key(self) -> str:
        return f"bench/recordings/cam/{SystemRandomness().token()}.mp4"


@dataclass(frozen=True, slots=True)
class Contender:
    """One row; its ratios are to the row named `base`."""

    key: str
    title: str
    base: str
    run: Callable[[Sent, str], Cost]


_NO_CHECKSUMS = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}


def _child(way: str, *, signed: bool, **config: str) -> Callable[[Sent, str], Cost]:
    def run(sent: Sent, key: str) -> Cost:
        asked = {
            "way": way,
            "signed": signed,
            "file": str(sent.file),
            "key": key,
            "bucket": sent.bucket.name,
            "endpoint": sent.bucket.ceph.endpoint,
            "access": ceph.ACCESS_KEY,
            "secret": ceph.SECRET_KEY,
            "part_size_bytes": PART_BYTES,
            "at_once": AT_ONCE,
            "config": config,
            "blake3": sent.blake3,
            "sha256": sent.sha256,
        }
        cost, said = measure([sys.executable, str(HERE / "s3_child.py"), json.dumps(asked)])
        return replace(cost, extra=json.loads(said.splitlines()[-1]))

    return run


def _rclone(sent: Sent, key: str) -> Cost:
    # With an AWS_CA_BUNDLE its library refuses its own transport.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RCLONE_", "AWS_"))} | {
        "RCLONE_S3_PROVIDER": "Ceph",
        "RCLONE_S3_ENDPOINT": sent.bucket.ceph.endpoint,
        "RCLONE_S3_ACCESS_KEY_ID": ceph.ACCESS_KEY,
        "RCLONE_S3_SECRET_ACCESS_KEY": ceph.SECRET_KEY,
        "RCLONE_S3_CHUNK_SIZE": f"{PART_BYTES // MIB}Mi",
        "RCLONE_S3_UPLOAD_CONCURRENCY": str(AT_ONCE),
        "RCLONE_S3_UPLOAD_CUTOFF": f"{PART_BYTES // MIB}Mi",
        "RCLONE_S3_NO_CHECK_BUCKET": "true",
    }
    return measure(["rclone", "--config", "", "copyto", str(sent.file), f":s3:{sent.bucket.name}/{key}"], environment)[
        0
    ]


CONTENDERS = [
    Contender("boto3", "boto3 upload_file, signed", "boto3", _child("boto3", signed=True)),
    Contender(
        "boto3-bare", "the same, without checksum headers", "boto3", _child("boto3", signed=True, **_NO_CHECKSUMS)
    ),
    Contender(
        "boto3-unsigned",
        "boto3 upload_file, unsigned, without them",
        "boto3-unsigned",
        _child("boto3", signed=False, **_NO_CHECKSUMS),
    ),
    Contender("rclone", "rclone copyto", "boto3", _rclone),
    Contender("dockd", "dockd, signed (part digests included)", "boto3", _child("dockd", signed=True)),
    Contender("dockd-unsigned", "dockd, unsigned", "boto3-unsigned", _child("dockd", signed=False)),
]


def make_file(folder: Path, size_bytes: int) -> tuple[Path, str, str]:
    """A file of noise, and its digests."""
    path = folder / "recording.mp4"
    first, second = blake3.blake3(), hashlib.sha256()
    with open(path, "wb") as file:
        for start in range(0, size_bytes, MIB):
            piece = os.urandom(min(MIB, size_bytes - start))
            file.write(piece)
            first.update(piece)
            second.update(piece)
    return path, first.hexdigest(), second.hexdigest()


def measure_all(sent: Sent, options: argparse.Namespace, console: Console) -> dict[str, list[Cost]]:
    """All rounds; each object is looked at and removed by the bucket's owner before the next is sent."""
    chosen = [c for c in CONTENDERS if c.key != "rclone" or shutil.which("rclone")]
    runs: dict[str, list[Cost]] = {contender.key: [] for contender in chosen}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, refresh_per_second=1, disable=not console.is_terminal) as progress:
        task = progress.add_task("S3", total=(options.rounds + options.warm_up) * len(chosen))
        for number in range(options.rounds + options.warm_up):
            counts = number >= options.warm_up
            name = f"round {number - options.warm_up + 1} of {options.rounds}" if counts else "warm-up"
            for contender in chosen if number % 2 == 0 else reversed(chosen):
                progress.update(task, description=f"{name}: {contender.title}")
                # Like a spool, which is written past the cache.
                drop_from_cache(sent.file)
                key = sent.key()
                cost = contender.run(sent, key)
                there = sent.bucket.owner.head_object(Bucket=sent.bucket.name, Key=key)["ContentLength"]
                if there != sent.size_bytes:
                    sys.exit(f"bench: {contender.title} left {there} bytes of {sent.size_bytes}")
                sent.bucket.remove(key)
                console.print(
                    f"{name}: {contender.title}: {cost.wall_s:.2f} s, {cost.cpu_s:.2f} CPU-s", highlight=False
                )
                if counts:
                    runs[contender.key].append(cost)
                progress.advance(task)
    return runs


def of_pairs(runs: list[Cost], base: list[Cost], value: Callable[[Cost], float]) -> float:
    """The median of the rounds' ratios."""
    return median(value(one) / value(other) for one, other in zip(runs, base, strict=True))


def upload_cpu_s(cost: Cost) -> float:
    """The CPU time of the upload alone, where the program told it; that of the whole program else."""
    return float(cost.extra.get("upload_cpu_s", cost.cpu_s))


def upload_s(cost: Cost) -> float:
    """The time of the upload alone, where the program told it; that of the whole program else."""
    return float(cost.extra.get("upload_s", cost.wall_s))


def table_of(runs: dict[str, list[Cost]], size_bytes: int) -> list[list[str]]:
    """The table, cell by cell. Times, rates and CPU are of the upload, but for what starts with Python."""
    lines = []
    for contender in CONTENDERS:
        found = runs.get(contender.key)
        if not found:
            lines.append([contender.title, "not installed: not measured", *[""] * (len(HEAD) - 2)])
            continue
        base, times = runs[contender.base], [upload_s(cost) for cost in found]
        lines.append(
            [
                contender.title,
                f"{median(times):.2f} ({min(times):.2f}-{max(times):.2f})",
                f"{size_bytes / 1e6 / median(times):.0f}",
                f"{1 / of_pairs(found, base, upload_s):.2f}",
                f"{median(map(upload_cpu_s, found)) / size_bytes * GB:.2f}",
                f"{of_pairs(found, base, upload_cpu_s):.2f}",
                f"{median(cost.cpu_s for cost in found) / size_bytes * GB:.2f}",
                f"{median(cost.machine_cpu_s for cost in found) / size_bytes * GB:.2f}",
                f"{max(cost.peak_rss_bytes for cost in found) / 1e6:.0f}",
            ]
        )
    return lines


def notes_of(runs: dict[str, list[Cost]], size_bytes: int) -> list[str]:
    """What the table does not say by itself."""
    signed, both = runs["dockd"], runs["dockd"] + runs["dockd-unsigned"]
    digests = median(cost.extra["part_digests_cpu_s"] for cost in signed) / size_bytes * GB
    lag = max(cost.extra["lag_p99_ms"] for cost in both)
    return [
        (
            f"dockd, signed: {digests:.2f} CPU-s/GB of it are the parts' SHA-256, which the daemon computes while it "
            "copies; the time in the table is without them, the CPU is with them."
        ),
        f"Lag of the event loop beside dockd's uploads: 99 % below {lag:.1f} ms in the worst run.",
    ]


def show(result: dict[str, Any], *, markdown: bool) -> None:
    """Print everything."""
    if markdown:
        print("\n".join([f"| {' | '.join(HEAD)} |", f"|---{'|---:' * (len(HEAD) - 1)}|"]))
        print("\n".join(f"| {' | '.join(line)} |" for line in result["table"]))
        print("\n" + "\n".join(f"- {note}" for note in [*result["notes"], *result["foot"]]))
        return
    console = Console(width=max(Console().width, 130))
    table = Table(title=result["title"])
    for number, name in enumerate(HEAD):
        table.add_column(name, justify="left" if number == 0 else "right")
    for line in result["table"]:
        table.add_row(*line)
    console.print(table)
    for note in [*result["notes"], *result["foot"]]:
        console.print(note, highlight=False)


def bench(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Measure, and say what was measured and where."""
    console = Console(stderr=True)
    console.print("bringing up a Ceph on loopback", highlight=False)
    at = describe(work, busy_share())
    service = ceph.Ceph(work / "ceph", size_bytes=16 << 30)
    try:
        bucket = Bucket(service)
        bucket.owner.put_object(Bucket=bucket.name, Key=".dockd-store", Body=b"0" * 32 + b"\n")
        file, first, second = make_file(work, options.size)
        sent = Sent(file, options.size, first, second, bucket)
        runs = measure_all(sent, options, console)
    finally:
        service.close()
    foot = [
        (
            f"{at['cores']} cores ({at['processor']}), Linux {at['kernel']}, Python {at['python']}, "
            f"{at['rclone'] or 'no rclone'}; the store's own processes share the cores."
        ),
        (
            f"Medians of {options.rounds} rounds in alternating order after {options.warm_up} of warm-up, in brackets "
            "the lowest and the highest; ratios are medians of the rounds' ratios, to boto3 signed or unsigned alike."
        ),
    ]
    if not at["quiet"]:
        foot.append(f"NOISY: others used {at['busy_share_before']:.0%} of the machine before the start.")
    title = f"{options.size / GB:.2f} GB into Ceph RGW over http, parts of {PART_BYTES // MIB} MiB, {AT_ONCE} at once"
    return {"title": title, "table": table_of(runs, options.size), "notes": notes_of(runs, options.size), "foot": foot}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench-s3 ARGS=…", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--size", type=int, default=1 << 30, help="bytes of the file; default: 1 GiB")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count; default: 5")
    parser.add_argument("--warm-up", type=int, default=1, help="rounds before that; default: 1")
    parser.add_argument("--dir", type=Path, default=REPOSITORY.parent, help="where to work; default: beside it")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args(argv)
    if lacking := ceph.lacking():
        sys.exit(f"bench: lacking: {', '.join(lacking)}")
    work = Path(tempfile.mkdtemp(prefix="bench-s3-", dir=options.dir))
    try:
        show(bench(options, work), markdown=options.markdown)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

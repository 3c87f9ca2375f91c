"""The oracle on signed custody segments in the store; OpenSSH and hashlib are all it knows of them.

Every segment that has a signature is whole, follows the one before it, and is signed; and nothing was wiped whose
confirmation is not in one of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from oracle_world import World

GENESIS = "0" * 64


def segments(world: World) -> Iterator[str]:
    """What is wrong with the segments in the store."""
    confirmed: set[str] = set()
    root = world.store / world.agency / "custody"
    for folder in sorted(path for path in root.glob("*/*/*") if path.is_dir()):
        yield from chain_in(world, folder, confirmed)
    for record in world.records:
        if record.get("event") == "wipe_started" and record.get("recording") not in confirmed:
            yield f"custody record {record.get('seq')}: a wipe began whose confirmation is not signed and in the store"


def chain_in(world: World, folder: Path, confirmed: set[str]) -> Iterator[str]:
    head, ours = (0, GENESIS), hashed(world.custody, folder.name)
    for sig in sorted(folder.glob("*.sha256.sig")):
        name = sig.relative_to(world.store).as_posix()
        base = sig.name.removesuffix(".sha256.sig")
        listed, lines = folder / f"{base}.sha256", folder / f"{base}.jsonl"
        if not listed.exists() or not lines.exists():
            yield f"{name} is there, but not what it signs"
            continue
        wrong = signature_is_wrong(listed, sig)
        if wrong:
            yield f"{name}: {wrong}"
        rows = [line.split("  ") for line in listed.read_text().splitlines()]
        texts = lines.read_text().split("\n")[:-1]
        found = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        numbers = [int(seq) for _, seq in rows]
        if (numbers[0], rows[0][0]) != head:
            yield f"{name} does not follow the segment before it: {numbers[0]}, after {head[0]}"
        if numbers != list(range(numbers[0], numbers[0] + len(rows))) or [row[0] for row in rows[1:]] != found:
            yield f"{name}: the list and the records differ"
        if base != f"{numbers[1]:012d}-{numbers[-1]:012d}":
            yield f"{name} has another name than its records"
        if numbers[1] == 1 and found[0][:16] != folder.name:
            yield f"{name} begins another chain than its folder says"
        for seq, digest in zip(numbers[1:], found, strict=False):
            if ours and ours.get(seq, digest) != digest:
                yield f"{name}: record {seq} is another one in the dock's journal"
        records = [json.loads(text) for text in texts]
        confirmed |= {record["recording"] for record in records if record["event"] == "recording_confirmed"}
        head = (numbers[-1], found[-1])


def hashed(custody: list[str], chain: str) -> dict[int, str]:
    """The digests of the exported chain's records, if it is this one."""
    digests = [hashlib.sha256(line.encode()).hexdigest() for line in custody]
    return dict(enumerate(digests, start=1)) if digests and digests[0][:16] == chain else {}


def signature_is_wrong(listed: Path, sig: Path) -> str | None:
    """What ssh-keygen has against a signature; None if nothing, or if there is no ssh-keygen."""
    program = shutil.which("ssh-keygen")
    if program is None:
        return None
    with open(listed, "rb") as file:
        done = subprocess.run(
            [program, "-Y", "check-novalidate", "-n", "dockd-custody", "-s", sig],
            stdin=file,
            capture_output=True,
            text=True,
            check=False,
        )
    return None if done.returncode == 0 else f"{done.stdout}{done.stderr}".strip()

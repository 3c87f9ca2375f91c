"""What is measured: each contender brings the same files from the same cameras into an empty target."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import daemon
from measure import Cost, measure
from sources import Site

HERE = Path(__file__).parent
_CLONING = frozenset({"btrfs", "xfs", "zfs", "bcachefs", "ocfs2"})


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the table. `program` must be there, else the row says that it is not."""

    key: str
    title: str
    does: str
    run: Callable[[Site], Cost]
    program: str = "sh"

    @property
    def missing(self) -> bool:
        return shutil.which(self.program) is None


class WrongResult(Exception):  # noqa: N818 - it names what happened
    """A contender ended well, but what it says it did is not what was to be done."""


def _cp() -> str:
    """`cp`, made to copy also where it would rather share blocks."""
    return "cp --reflink=never" if file_system(HERE) in _CLONING else "cp"


def file_system(path: Path) -> str:
    """The kind of file system that a path lies on, as the kernel calls it."""
    best, kind = "", "unknown"
    real = os.path.realpath(path)
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, point, found, *_ = line.split()
        if len(point) >= len(best) and (real + "/").startswith(point.rstrip("/") + "/"):
            best, kind = point, found
    return kind


def run_cp(site: Site) -> Cost:
    target = shlex.quote(str(site.target))
    script = f"{_cp()} -r {shlex.quote(str(site.sources))} {target}/copy && sync -f {target}"
    return measure(["sh", "-c", script])[0]


def run_parallel_cp(site: Site) -> Cost:
    target = shlex.quote(str(site.target))
    lines = [f"{_cp()} -r {shlex.quote(str(site.sources / name))} {target}/{name} &" for name in site.camera_names]
    return measure(["sh", "-c", "\n".join([*lines, "wait", f"sync -f {target}"])])[0]


def run_rclone(site: Site) -> Cost:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    places = [str(site.sources), str(site.target / "copy")]
    # An empty name of a configuration file: none at all.
    copy, _ = measure(["rclone", "--config", "", "copy", *places], environment)
    check, said = measure(["rclone", "--config", "", "check", *places], environment)
    if f"{len(site.sha256)} matching files" not in said:
        raise WrongResult(f"rclone check: {said}")
    return replace(copy + check, extra={"copy_wall_s": copy.wall_s, "check_wall_s": check.wall_s})


def run_offload(site: Site) -> Cost:
    command = [sys.executable, str(HERE / "offload_child.py"), str(site.target / "state"), str(site.sources)]
    cost, said = measure(command)
    found = json.loads(said.splitlines()[-1])
    if found["sha256"] != site.sha256 or found["spooled"] != len(site.sha256):
        raise WrongResult("dockd's offload path gave other digests than the files have")
    return replace(cost, extra={"work_wall_s": found["work_s"], "work_cpu_s": found["work_cpu_s"]})


def run_disk(site: Site) -> Cost:
    command = [sys.executable, str(HERE / "disk_child.py"), str(site.target), str(site.cameras), str(site.total_bytes)]
    cost, said = measure(command)
    return replace(cost, extra=json.loads(said.splitlines()[-1]))


CONTENDERS = [
    Contender("disk", "disk and digests alone", "the physical bound, see below", run_disk),
    Contender("cp", "cp -r; sync", "copies; checks nothing", run_cp),
    Contender("cp-parallel", "cp -r per camera at once; sync", "copies; checks nothing", run_parallel_cp),
    Contender(
        "rclone",
        "rclone copy + check",
        "copies, then compares MD5 of both sides, read from the page cache; no fsync",
        run_rclone,
        "rclone",
    ),
    Contender(
        "offload",
        "dockd: offload",
        "copies, BLAKE3 + SHA-256, fsync, reads back from the disk, journal and custody",
        run_offload,
    ),
    Contender(
        "daemon",
        "dockd: whole, wipe off",
        "docked until confirmed: the same, then into a store on the same disk and read back from there",
        lambda site: daemon.run(site, wipe=False),
    ),
    Contender(
        "daemon-wipe",
        "dockd: whole, wipe on",
        "docked until emptied: the same, then the cameras' files read a second time, and deleted",
        lambda site: daemon.run(site, wipe=True),
    ),
    Contender(
        "daemon-unsigned",
        "dockd: whole, wipe on, unsigned",
        "the same without a notary, which no installed dockd is: what signing and storing custody costs",
        lambda site: daemon.run(site, wipe=True, program=[str(HERE / "unsigned_daemon.py")]),
    ),
]
"""In the order in which the first round goes through them."""

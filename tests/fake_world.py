"""Small worlds made by hand, for the oracle to judge: its own tests spoil them one way at a time."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import blake3
import oracle
from oracle_world import Camera, Content, Planted, World, part_of_key

CAMERA = b"CAM 1"
PATH = b"DCIM/one.MP4"
DATA = b"footage" * 1000


def digests(data: bytes) -> Content:
    return Content(len(data), blake3.blake3(data).hexdigest(), hashlib.sha256(data).hexdigest())


@dataclass
class Fake:
    """A world made by hand: one camera that was docked, stored and wiped, and whatever a test adds."""

    root: Path
    records: list[dict[str, Any]] = field(default_factory=list)
    flags: dict[bytes, set[str]] = field(default_factory=dict)
    planted: list[Planted] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=lambda: {"finished": True, "complete": True})
    counts: dict[str, int] = field(default_factory=dict)
    bays: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] | None = None

    @property
    def folder(self) -> Path:
        return self.root / "cameras" / CAMERA.decode()

    def key(self, data: bytes, ending: str = ".mp4") -> str:
        return f"calgary/recordings/{part_of_key(CAMERA)}/{digests(data).blake3}{ending}"

    def plant(self, data: bytes, path: bytes = PATH, *flags: str, on_camera: bool = False) -> None:
        self.planted.append(Planted(CAMERA, path, digests(data), frozenset(flags)))
        target = self.folder / path.decode()
        target.parent.mkdir(parents=True, exist_ok=True)
        if on_camera:
            target.write_bytes(data)

    def keep(self, data: bytes, key: str | None = None) -> None:
        target = self.root / "store" / (key or self.key(data))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def tell(self, event: str, data: bytes = DATA, uid: str = "r1", path: bytes = PATH, **more: Any) -> None:
        content = digests(data)
        record: dict[str, Any] = {
            "event": event,
            "recording": uid,
            "camera": CAMERA.decode(),
            "path": path.decode(),
        }
        if event in {"recording_copied", "recording_confirmed"}:
            record |= {"size": content.size, "blake3": content.blake3, "sha256": content.sha256}
        if event == "recording_confirmed":
            record["key"] = self.key(data)
        self.records.append(record | more)

    def story(self, data: bytes = DATA, uid: str = "r1", path: bytes = PATH, *, wiped: bool = True) -> None:
        for event in ("recording_found", "recording_copied", "recording_confirmed"):
            self.tell(event, data, uid, path)
        for event in ("wipe_started", "recording_wiped") if wiped else ():
            self.tell(event, data, uid, path)

    def custody(self) -> list[str]:
        lines: list[str] = []
        for seq, record in enumerate(self.records, start=1):
            prev = hashlib.sha256(lines[-1].encode()).hexdigest() if lines else "0" * 64
            clock = {"synchronised": False, "source": "none", "uncertainty_ms": None}
            envelope = {
                "seq": seq,
                "prev": prev,
                "time": "2026-01-01T00:00:00.000Z",
                "clock": clock,
                "dock": "d",
            }
            lines.append(dumps(envelope | record))
        return lines

    @property
    def segment(self) -> Path:
        """The list of digests of the one segment, beside which lie its records and its signature."""
        (found,) = (self.root / "store").rglob("*.sha256")
        return found

    def sign(self) -> None:
        """Put everything that was recorded into the store as one signed segment, as a dock would."""
        lines = self.custody()
        digests = [hashlib.sha256(line.encode()).hexdigest() for line in lines]
        folder = self.root / "store/calgary/custody/district-4/dock-07" / digests[0][:16]
        folder.mkdir(parents=True)
        base = folder / f"{1:012d}-{len(lines):012d}"
        base.with_suffix(".jsonl").write_text("".join(f"{line}\n" for line in lines))
        listed = base.with_suffix(".sha256")
        rows = [("0" * 64, 0), *zip(digests, range(1, len(lines) + 1), strict=True)]
        listed.write_text("".join(f"{digest}  {seq}\n" for digest, seq in rows))
        if shutil.which("ssh-keygen") is None:
            listed.with_suffix(".sha256.sig").write_text("no ssh-keygen is there to make one, or to check it")
            return
        key = self.root / "key"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        signed = ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "dockd-custody", listed]
        subprocess.run(signed, check=True, capture_output=True)

    def world(self) -> World:
        if self.records and not any((self.root / "store").rglob("*.sha256")):
            self.sign()
        names = ("recordings", *oracle.BUCKETS, "wiped")
        counts = dict.fromkeys(names, 0) | self.counts
        return World(
            agency="calgary",
            store=self.root / "store",
            cameras=[Camera(CAMERA, self.folder, marker=self.options.pop("marker", True))],
            planted=self.planted,
            status={"counts": counts, "bays": self.bays},
            custody=self.custody() if self.lines is None else self.lines,
            **self.options,
        )

    def violations(self) -> list[str]:
        return oracle.judge(self.world())


def dumps(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sound_world(root: Path) -> Fake:
    """One recording that was stored and wiped."""
    fake = Fake(root)
    fake.plant(DATA)
    fake.keep(DATA)
    fake.story()
    fake.counts = {"recordings": 1, "in_store": 1, "wiped": 1}
    return fake


def docked_world(root: Path) -> Fake:
    """One recording on its camera, of which nothing is known but that it is there."""
    fake = Fake(root, options={})
    fake.plant(DATA, on_camera=True)
    fake.counts = {"recordings": 1, "on_docked_camera": 1}
    fake.tell("recording_found")
    return fake


def assert_named(fake: Fake, *words: str) -> None:
    found = fake.violations()
    assert any(all(word in sentence for word in words) for sentence in found), found

"""A journal whose chain is cut into segments and signed, as the dock does it, and put where the store has it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from journal_desk import CAMERA, DOCK, PATH, STARTED, Desk

from dockd.custody.chain import rfc3339
from dockd.custody.keys import SigningKey
from dockd.custody.segments import DigestList, segment_name
from dockd.custody.sshsig import ROTATION
from dockd.custody.trust import rotation_statement
from dockd.events import KeyRegistered, KeyRotated
from dockd.identity import CameraIdentity, custody_prefix
from dockd.journal.segments import add_segment, chains, lines_between, newest_segment, segments_of
from dockd.journal.startup import start
from dockd.journal.transaction import Transaction
from dockd.lifecycle import RecordingState

OTHER_OFFICERS = CameraIdentity(b"SECRET-CAM-9")
OTHER_PATH = b"DCIM/of-another-officer.mp4"


def verified(*argv: str | Path) -> tuple[int, dict[str, object]]:
    """Exit code and JSON of `dockd custody verify` in a process of its own, without any configuration."""
    dockd = Path(sys.executable).with_name("dockd")
    told = subprocess.run(
        [dockd, "custody", "verify", "--json", *argv], capture_output=True, text=True, check=False, timeout=120
    )
    return told.returncode, json.loads(told.stdout) if told.stdout else {"error": told.stderr}


@dataclass
class CustodyDesk:
    """A desk with a key."""

    desk: Desk
    root: Path
    key: SigningKey = field(default_factory=SigningKey.generate)

    @property
    def key_file(self) -> Path:
        return self.root / "keys" / "signing-key"

    def begin(self) -> None:
        """The daemon starts for the first time, and says with which key it signs."""
        self.key.save(self.key_file)
        self.desk.do(lambda tx: start(tx, STARTED, None, []))
        self.register(self.key)

    def register(self, key: SigningKey) -> None:
        public = key.public
        event = KeyRegistered(public_key=public.line, fingerprint=public.fingerprint)
        self.desk.do(lambda tx: tx.append(event))

    def rotate(self) -> None:
        """Replace the key; both sign that, once all before is signed with the old one."""
        self.cut()
        new = SigningKey.generate()
        chain = self.desk.journal.head.chain
        statement = rotation_statement(DOCK, chain, self.key.public, new.public)
        event = KeyRotated(
            old_public_key=self.key.public.line,
            new_public_key=new.public.line,
            statement=statement,
            old_signature=self.key.sign(statement.encode(), ROTATION),
            new_signature=new.sign(statement.encode(), ROTATION),
        )
        self.desk.do(lambda tx: tx.append(event))
        self.key = new
        self.key_file.unlink()
        self.key.save(self.key_file)

    def cut(self, size: int = 6) -> None:
        """Sign all that is not signed yet, in segments of so many records."""

        def sign(tx: Transaction) -> None:
            before = newest_segment(tx, tx.chain)
            seq, head = (0, "0" * 64) if before is None else (before.last, before.head_sha256)
            while seq < tx.head.seq:
                lines = lines_between(tx, tx.chain, seq + 1, min(seq + size, tx.head.seq))
                digests = DigestList.of(lines, seq, head)
                add_segment(
                    tx, tx.chain, digests, self.key.public, self.key.sign(digests.text()), rfc3339(tx.clock.now())
                )
                seq, head = digests.last, digests.head

        self.desk.do(sign)

    def store_chains(self, store: Path) -> list[Path]:
        """Put all signed segments where the store has them; the chains' folders."""

        def segments(tx: Transaction) -> list[tuple[str, int, int, list[str], str, str]]:
            return [
                (name, one.first, one.last, lines, one.before_sha256, one.signature)
                for number, name in chains(tx)
                for one in segments_of(tx, number)
                for lines in [lines_between(tx, number, one.first, one.last)]
            ]

        folders: dict[Path, None] = {}
        for name, first, last, lines, before, signature in self.desk.do(segments):
            folder = store / custody_prefix(DOCK) / name
            folder.mkdir(parents=True, exist_ok=True)
            folders[folder] = None
            place = folder / segment_name(first, last)
            place.with_suffix(".jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            place.with_suffix(".sha256").write_bytes(DigestList.of(lines, first - 1, before).text())
            place.with_suffix(".sha256.sig").write_text(signature, encoding="ascii")
        return list(folders)

    def signers(self, *keys: SigningKey, principal: str = DOCK) -> Path:
        """A list of allowed signers, apart from everything else."""
        file = self.root / "allowed_signers"
        lines = [f'{principal} namespaces="dockd-custody" {key.public.line}\n' for key in keys or (self.key,)]
        file.write_text("# the force's register\n" + "".join(lines), encoding="ascii")
        return file

    def busy_day(self, state: RecordingState = RecordingState.WIPED, path: bytes = PATH) -> str:
        """One recording of ours among another officer's; its id."""
        theirs = self.desk.dock(OTHER_OFFICERS, bay="2")
        ours = self.desk.dock(CAMERA)
        self.desk.bring_to(RecordingState.SPOOLED, OTHER_PATH, theirs)
        row = self.desk.bring_to(state, path, ours)
        self.desk.end(ours)
        self.desk.bring_to(RecordingState.CONFIRMED, OTHER_PATH + b"2", theirs)
        return row.uid


@contextmanager
def custody_desk(root: Path) -> Iterator[CustodyDesk]:
    """A desk in `root` that has begun its chain."""
    root.mkdir(exist_ok=True)
    desk = CustodyDesk(Desk(root / "journal.db"), root)
    try:
        desk.begin()
        yield desk
    finally:
        desk.desk.journal.close()

"""Passports by the command itself, from a desk's journal."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from command_line import exit_code
from config_samples import MINIMAL
from custody_desk import CustodyDesk

from dockd.custody.keys import SigningKey


def config_file(state: Path, store: Path) -> Path:
    """A configuration beside the state directory."""
    text = MINIMAL.replace('"/srv/evidence"', f'"{store}"')
    file = state / "config.toml"
    file.write_text(text.replace("[store]", f'state_dir = "{state}"\n\n[store]'), encoding="utf-8")
    return file


def make_passport(desk: CustodyDesk, uids: list[str], out: Path, *more: str) -> None:
    """A passport of these recordings; the desk's journal is closed afterwards."""
    desk.desk.close()
    config = config_file(desk.root, desk.root.parent / "store")
    assert exit_code("passport", *uids, "--out", str(out), "--config", str(config), *more) == 0


def made(desk: CustodyDesk, config: str, out: Path, *argv: str) -> int:
    """The command's exit code; the desk is closed for it, for the command reads the journal as it lies there."""
    desk.desk.close()
    try:
        return exit_code("passport", *argv, "--out", str(out), "--config", config)
    finally:
        desk.desk.open()


def records(out: Path) -> list[dict[str, object]]:
    """What a passport shows, in order."""
    return [json.loads(line) for line in (out / "records.jsonl").read_text("utf-8").splitlines()]


def sign_again(out: Path, key: SigningKey) -> None:
    """The list of files made anew, and signed: what a dock that means ill could do with a passport."""
    files = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith("FILES.")]
    digests = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (out / "FILES.sha256").write_text("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)), "ascii")
    (out / "FILES.sha256.sig").write_text(key.sign((out / "FILES.sha256").read_bytes()), encoding="ascii")

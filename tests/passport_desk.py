"""Passports by the command itself, from a desk's journal."""

from __future__ import annotations

from pathlib import Path

from command_line import exit_code
from config_samples import MINIMAL
from custody_desk import CustodyDesk


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

"""The configuration of a dock under test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import approvals


@dataclass(frozen=True)
class Settings:
    """What a test may set in config.toml; the rest is the same for all."""

    wipe_mode: str = "on"
    grace: str = "0s"
    accept: tuple[str, ...] = ("same-disk",)
    settle: str = "200ms"
    rescan: str = "1s"
    recordings: tuple[str, ...] = ("**",)
    min_free: str = "16MiB"
    stall_timeout: str = "60s"
    agency: str = "calgary"
    name: str = "dock-07"
    mqtt: tuple[tuple[str, str], ...] = ()
    audit: tuple[tuple[str, str | int], ...] = ()
    approvers: tuple[str, ...] = (approvals.LINE,)
    time_file: str = ""

    def store_table(self, store: Path) -> dict[str, Any]:
        """What stands in `[store]`."""
        return {"kind": "filesystem", "path": str(store), "accept": list(self.accept)}

    def toml(self, state: Path, store: Path, cameras: Path) -> str:
        """The text of config.toml."""
        tables: dict[str, dict[str, Any]] = {
            "dock": {
                "agency": self.agency,
                "site": "district-4",
                "name": self.name,
                "state_dir": str(state),
                "stall_timeout": self.stall_timeout,
            },
            "spool": {"min_free": self.min_free},
            "store": self.store_table(store),
            "custody": {"approvers": list(self.approvers)},
            "wipe": {"mode": self.wipe_mode, "grace": self.grace},
            "folder_cameras": {
                "path": str(cameras),
                "settle": self.settle,
                "rescan": self.rescan,
                "recordings": list(self.recordings),
            },
        }
        if self.time_file:
            tables["folder_cameras"]["time_file"] = self.time_file
        if self.mqtt:
            tables["mqtt"] = dict(self.mqtt)
        if self.audit:
            tables["audit"] = dict(self.audit)
        lines = []
        for table, keys in tables.items():
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
        return "\n".join(lines)

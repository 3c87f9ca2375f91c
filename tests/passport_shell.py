"""A shell in a passport with stock tools on its path and nothing else: no Python, no dockd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from journal_desk import DOCK

TOOLS = ("sha256sum", "ssh-keygen", "bash", "grep", "sed", "cut", "head", "tail")


def put_tools(folder: Path) -> Path:
    """A folder with the stock tools, and b3sum where it is installed."""
    for name in (*TOOLS, "b3sum"):
        found = shutil.which(name)
        if found is None:
            assert name == "b3sum", f"{name} is not here"
            continue
        (folder / name).symlink_to(os.path.realpath(found))
    return folder


def blocks(passport: Path) -> list[str]:
    """The commands of VERIFY.md, in order."""
    text = (passport / "VERIFY.md").read_text(encoding="utf-8")
    found = re.findall(r"(?:^    .*\n?)+", text, flags=re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]


def shell(passport: Path, script: str, tools: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in the passport, with nothing on the path but the tools: no Python, no dockd."""
    return subprocess.run(
        [tools / "bash", "-c", script],
        cwd=passport,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )


def run_all(passport: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    """All of VERIFY.md but b3sum, in one shell."""
    script = "\n".join(blocks(passport)).replace("b3sum -c B3SUMS", "true")
    return shell(passport, script, tools)


def complaints(told: subprocess.CompletedProcess[str], lists: int) -> bool:
    """Whether anything else was said than VERIFY.md describes."""
    good = f'Good "dockd-custody" signature for {DOCK} with ED25519 key SHA256:'
    lines = told.stdout.splitlines()
    expected = [line for line in lines if line.startswith(good)]
    rest = [line for line in lines if not line.startswith(good)]
    as_told = rest[:1] == ["all files are as they were"] and all(line.endswith(": OK") for line in rest[1:])
    return bool(told.stderr) or not as_told or len(expected) != lists + 1 or len(rest) != 2

"""Which software this is: its version, and a digest over its own files."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path


def version() -> str:
    """The installed version."""
    return metadata.version("dockd")


def package_digest(root: Path = Path(__file__).parent) -> str:
    """SHA-256 over the names and contents of the package's files, in order of name, but not of what was compiled."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if "__pycache__" not in path.parts and path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()

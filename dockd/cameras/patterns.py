"""Which files are recordings: glob patterns over raw path bytes.

`**` matches any number of folders, `*` and `?` stay within a name. Names are bytes, so the standard
library's text globbing cannot be used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


def _translate(pattern: bytes) -> bytes:
    parts = pattern.split(b"/")
    out = b""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == b"**":
            out += b".+" if last else b"(?:[^/]+/)*"
            continue
        for byte in part:
            character = bytes([byte])
            out += b"[^/]*" if character == b"*" else b"[^/]" if character == b"?" else re.escape(character)
        out += b"" if last else b"/"
    return out


def matcher(patterns: Iterable[str]) -> Callable[[bytes], bool]:
    """A function that tells whether a path relative to the camera matches any of `patterns`."""
    compiled = re.compile(b"|".join(b"(?:" + _translate(pattern.encode()) + b")" for pattern in patterns), re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None

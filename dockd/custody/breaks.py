"""What is told of the first place at which a chain, a signature or a passport is not what it should be."""

from __future__ import annotations

from typing import Any

from dockd.identity import plain_text


class CustodyBreakError(Exception):
    """A chain, a segment or a passport is broken: where, what was expected, what was found, and what that means."""

    def __init__(
        self, what: str, *, expected: str, found: str, means: str, seq: int | None = None, file: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.means = means
        self.seq = seq
        self.file = file

    def in_file(self, file: str) -> CustodyBreakError:
        """The same, with the file that it was found in, unless it names one already."""
        self.file = self.file or file
        return self

    def payload(self) -> dict[str, Any]:
        """The break for JSON."""
        return {
            "record": self.seq,
            "file": None if self.file is None else plain_text(self.file),
            "what": plain_text(self.what),
            "expected": plain_text(self.expected),
            "found": plain_text(self.found),
            "means": self.means,
        }

"""On which line of a TOML file each key stands.

tomllib does not tell. This scanner walks over text that tomllib has already accepted, so it need not know
what is wrong with a file, only where its statements, strings and brackets end.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass

Location = tuple[str | int, ...]
"""A key's path: names of tables and keys, and indices into arrays, from 0."""

# Deeper keys cannot be valid ones; the line of what they lie in is told instead.
_DEPTH_LIMIT = 8
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'',
    re.DOTALL,
)
_PLAIN_VALUE = re.compile(r"[^,\]}#\r\n]+")


@dataclass(frozen=True, slots=True)
class Place:
    """A file, and a line of it (from 1) where one is known."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


def key_lines(text: str) -> dict[Location, int]:
    """The line (from 1) of every table, key and array element of valid TOML `text`."""
    return _Scanner(text.replace("\r\n", "\n")).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._lines: dict[Location, int] = {}
        self._array_sizes: dict[Location, int] = {}

    def run(self) -> dict[Location, int]:
        table: Location = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            start = self._at
            if self._text.startswith("[[", start):
                table = self._header(2)
            elif self._text.startswith("[", start):
                table = self._header(1)
            else:
                self._assignment(table)
            self._skip(_BLANK)
            assert self._at > start, "the scanner must move on"
        return self._lines

    def _header(self, brackets: int) -> Location:
        line = self._line()
        self._at += brackets
        table: Location = ()
        names = self._key()
        for index, name in enumerate(names):
            table = (*table, name)
            if brackets == 2 and index == len(names) - 1:
                self._array_sizes[table] = self._array_sizes.get(table, 0) + 1
            self._note(table, line)
            if table in self._array_sizes:
                table = (*table, self._array_sizes[table] - 1)
                self._note(table, line)
        self._at += brackets
        return table

    def _assignment(self, table: Location) -> None:
        line = self._line()
        where = table
        for name in self._key():
            where = (*where, name)[: _DEPTH_LIMIT + 1]
            self._note(where, line)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(where)

    def _key(self) -> list[str]:
        names: list[str] = []
        while True:
            self._skip(_SPACE)
            if self._text[self._at] in "\"'":
                quoted = self._take(_STRING)
                names.append(str(tomllib.loads(f"k = {quoted}")["k"]))
            else:
                names.append(self._take(_BARE_KEY))
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return names
            self._at += 1

    def _value(self, where: Location) -> None:
        opening = self._text[self._at]
        if opening == "[":
            self._array(where)
        elif opening == "{":
            self._inline_table(where)
        elif opening in "\"'":
            self._take(_STRING)
        else:
            self._take(_PLAIN_VALUE)

    def _array(self, where: Location) -> None:
        self._at += 1
        index = 0
        self._skip(_BLANK)
        while self._text[self._at] != "]":
            self._note((*where, index), self._line())
            self._value((*where, index))
            index += 1
            self._skip_comma()
        self._at += 1

    def _inline_table(self, where: Location) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._text[self._at] != "}":
            self._assignment(where)
            self._skip_comma()
        self._at += 1

    def _skip_comma(self) -> None:
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
            self._skip(_BLANK)

    def _note(self, where: Location, line: int) -> None:
        if len(where) <= _DEPTH_LIMIT:
            self._lines.setdefault(where, line)

    def _line(self) -> int:
        return bisect_right(self._line_starts, self._at)

    def _skip(self, form: re.Pattern[str]) -> None:
        found = form.match(self._text, self._at)
        assert found is not None, "these forms match nothing as well"
        self._at = found.end()

    def _take(self, form: re.Pattern[str]) -> str:
        found = form.match(self._text, self._at)
        assert found is not None, "tomllib accepted what stands here"
        self._at = found.end()
        return found.group()

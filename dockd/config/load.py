"""From files to a `Config`: read, merge, validate, and say everything that is wrong at once."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dockd.config.across import across_tables
from dockd.config.models import Config
from dockd.config.places import Location, Place, key_lines
from dockd.config.problems import Problem, from_pydantic, nearest
from dockd.errors import ConfigError

FILE_LIMIT_BYTES = 256 * 1024
FILES_LIMIT = 100
_CREATE_HINT = "Make one from config.example.toml."
_MERGE_DEPTH_LIMIT = 4
_TOML_POSITION = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


class _FileError(Exception):
    """A file that cannot be used at all; its text is a whole line of the refusal."""


@dataclass
class _Merged:
    """The tables of all files read so far, and where each key of them stands."""

    tables: dict[str, Any] = field(default_factory=dict)
    places: dict[Location, Place] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def add(self, document: dict[str, Any], lines: dict[Location, int], file: str) -> None:
        """Lay `document` over what is there: tables key by key, arrays of tables one after the other."""
        self.files.append(file)
        shifts: dict[Location, int] = {}
        _merge(self.tables, document, (), shifts)
        for where, line in lines.items():
            self.places[_shifted(where, shifts)] = Place(file, line)


def load_config(path: Path) -> Config:
    """The configuration in `path`, with `conf.d/*.toml` beside it laid over it in name order.

    Raises ConfigError with all problems, one line each:
    `file:line: full.key: found …; expected …; did you mean …?`.
    """
    merged = _Merged()
    problems: list[str] = []
    hint: str | None = None
    for number, file in enumerate([path, *_additions(path, problems)]):
        try:
            document, lines = _read(file)
            merged.add(document, lines, _name(file))
        except _FileError as problem:
            problems.append(str(problem))
            if number == 0 and not os.path.lexists(path):
                hint = _CREATE_HINT
    if problems:
        raise ConfigError("\n".join(problems), hint)
    return _validated(merged)


def config_from(raw: Mapping[str, Any], source: str = "configuration") -> Config:
    """The configuration in tables that were read already; `source` stands for the file's name.

    Raises ConfigError as `load_config` does, without lines.
    """
    return _validated(_Merged(dict(raw), {}, [source]))


def _validated(merged: _Merged) -> Config:
    # A table that is left out whole is refused key by key: one round of corrections, not two.
    tables = {"dock": {}, "store": {}, **merged.tables}
    problems: list[Problem] = []
    config: Config | None = None
    try:
        config = Config.model_validate(tables)
    except ValidationError as error:
        problems.extend(from_pydantic(error.errors(include_url=False)))
    known = {problem.where for problem in problems}
    problems.extend(problem for problem in across_tables(tables) if problem.where not in known)
    if problems or config is None:
        main = Place(merged.files[0])
        placed = [(nearest(problem.where, merged.places, main), problem) for problem in problems]
        placed.sort(key=lambda entry: (merged.files.index(entry[0].file), entry[0].line or 0))
        raise ConfigError("\n".join(f"{place}: {problem}" for place, problem in placed))
    return config


def _additions(path: Path, problems: list[str]) -> list[Path]:
    folder = path.parent / "conf.d"
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".toml") and not name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{_name(folder)}: found {_reason(error)}; expected a folder of TOML files")
        return []
    if len(names) > FILES_LIMIT:
        problems.append(f"{_name(folder)}: found {len(names)} files; expected at most {FILES_LIMIT}")
        return []
    return [folder / name for name in names]


def _read(file: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    text = _text(file)
    try:
        document = tomllib.loads(text)
        return document, key_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise _FileError(_syntax(_name(file), str(error), text)) from None
    except RecursionError:
        raise _FileError(f"{_name(file)}: found brackets nested too deeply; expected plain tables") from None
    except ValueError:
        raise _FileError(f"{_name(file)}: found a number of too many digits; expected usual numbers") from None


def _text(file: Path) -> str:
    try:
        with open(file, "rb", opener=_open_at_once) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise _FileError(f"{_name(file)}: found no regular file; expected a TOML file")
            content = stream.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise _FileError(f"{_name(file)}: found {_reason(error)}; expected a TOML file") from None
    if len(content) > FILE_LIMIT_BYTES:
        raise _FileError(f"{_name(file)}: found a file above {FILE_LIMIT_BYTES // 1024} KiB; expected a smaller one")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"the byte 0x{content[error.start]:02x}"
        raise _FileError(f"{_name(file)}:{line}: found {byte}, which is not UTF-8; expected UTF-8 text") from None


def _open_at_once(file: str, flags: int) -> int:
    """As open(2), without waiting for the other end of a FIFO."""
    return os.open(file, flags | os.O_NONBLOCK)


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no file"
    if isinstance(error, PermissionError):
        return "a file that may not be read (permission denied)"
    return f"something that cannot be read ({error.strerror or type(error).__name__})"


def _syntax(file: str, message: str, text: str) -> str:
    position = _TOML_POSITION.search(message)
    line, column = len(text.splitlines()) or 1, ""
    if position is not None:
        message = message[: position.start()]
        if position[1] is not None:
            line, column = int(position[1]), f", column {position[2]}"
    printable = "".join(c if c.isprintable() else "?" for c in message)
    found = f"text that is not TOML ({printable}{column})"
    return f"{file}:{line}: found {found}; expected TOML, with text values in quotes"


def _merge(base: dict[str, Any], extra: dict[str, Any], where: Location, shifts: dict[Location, int]) -> None:
    for key, value in extra.items():
        there = base.get(key)
        if isinstance(there, dict) and isinstance(value, dict) and len(where) < _MERGE_DEPTH_LIMIT:
            _merge(there, value, (*where, key), shifts)
        elif isinstance(there, list) and _is_tables(there) and _is_tables(value):
            shifts[(*where, key)] = len(there)
            there.extend(value)
        else:
            base[key] = value


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)


def _shifted(where: Location, shifts: dict[Location, int]) -> Location:
    for index, part in enumerate(where):
        shift = shifts.get(where[:index])
        if shift is not None and isinstance(part, int):
            return (*where[:index], part + shift, *where[index + 1 :])
    return where


def _name(path: Path) -> str:
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else "?" for c in text)

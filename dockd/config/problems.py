"""From what pydantic refuses to what an operator reads: place, full key, found, expected, did you mean."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from dockd.config.models import Config
from dockd.config.places import Location, Place

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_LIMIT = 60
_SECRET = "a value that is not shown here"  # noqa: S105 - the word for one, not one


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration, at the key `where`; an empty `suggestion` is none."""

    where: Location
    found: str
    expected: str
    suggestion: str = ""

    def __str__(self) -> str:
        question = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{full_key(self.where)}: found {self.found}; expected {self.expected}{question}"


def nearest(where: Location, places: Mapping[Location, Place], main: Place) -> Place:
    """The place of `where`, else of what it would stand in, else the main file."""
    for depth in range(len(where), 0, -1):
        if where[:depth] in places:
            return places[where[:depth]]
    return main


def full_key(where: Location) -> str:
    """A key as one would write it: `bay[1].usb_port`; indices count from 0."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if _BARE_KEY.fullmatch(part) else _quoted(part)
            text += f".{shown}" if text else shown
    return text


def shown(value: object) -> str:
    """A value as it would stand in the file, cut short, on one line, without control characters."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "an empty array" if not value else "an array"
    if isinstance(value, datetime | date | time):
        return f"the time {value.isoformat()}"
    if isinstance(value, int) and abs(value) >= 10**_SHOWN_LIMIT:
        return "a number of more than 60 digits"
    return str(value)


def from_pydantic(errors: Iterable[ErrorDetails]) -> Iterator[Problem]:
    """What pydantic found wrong in a raw `Config`, as problems."""
    for error in errors:
        where = _location(error)
        kind = error["type"]
        if kind == "too_short" and error["input"]:
            continue  # only counts the elements that were refused one by one
        if kind == "extra_forbidden":
            yield _unknown_key(where, error["input"])
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            yield _unknown_kind(where, error["input"])
        else:
            yield _wrong_value(where, error)


def _location(error: ErrorDetails) -> Location:
    """Where the error is, without the tag that pydantic puts between `store` and its keys."""
    where = error["loc"]
    if len(where) > 1 and where[0] == "store":
        return (where[0], *where[2:])
    return where


def _wrong_value(where: Location, error: ErrorDetails) -> Problem:
    context: dict[str, Any] = error.get("ctx", {})
    field = _field(where)
    expected = context.get("expected", "") if error["type"] == "refused" else ""
    if not expected:
        expected = field.description if field is not None and field.description else "something else"
    if error["type"] == "missing":
        return Problem(where, "nothing", expected)
    value = error["input"]
    secret = context.get("secret", False) or str(where[-1]).endswith("_credential")
    suggestion = context.get("suggestion", "") or _close_choice(value, field)
    return Problem(where, _SECRET if secret else shown(value), expected, suggestion)


def _unknown_kind(where: Location, value: object) -> Problem:
    if not isinstance(value, dict):
        return Problem(where, shown(value), "a table: [store]")
    kind = value.get("kind")
    return Problem((*where, "kind"), shown(kind), '"filesystem" or "s3"', _closest(kind, ["filesystem", "s3"]))


def _unknown_key(where: Location, value: object) -> Problem:
    """The value is not shown: it may be a secret that went astray."""
    *outer, key = where
    keys = _keys(_tables(tuple(outer), value))
    found = "an unknown table" if isinstance(value, dict) or not outer else "an unknown key"
    close = get_close_matches(str(key), keys, n=1)
    if close:
        return Problem(where, found, f"one of {', '.join(keys)}", full_key((*outer, close[0])))
    elsewhere = [
        full_key((*table, str(key)))
        for table in (("dock",), ("spool",), ("store",), ("mqtt",), ("wipe",), ("folder_cameras",))
        if str(key) in _keys(_tables(table, None))
    ]
    return Problem(where, found, f"one of {', '.join(keys)}", elsewhere[0] if elsewhere else "")


def _field(where: Location) -> FieldInfo | None:
    """The model field that `where` lies in."""
    found: FieldInfo | None = None
    models: list[type[BaseModel]] = [Config]
    for part in where:
        if isinstance(part, int):
            continue
        fields = [field for model in models for key, field in _aliased(model) if key == part]
        if not fields:
            return found
        found = fields[0]
        models = list(_models_in(found.annotation))
    return found


def _tables(where: Location, value: object) -> list[type[BaseModel]]:
    del value
    if not where:
        return [Config]
    field = _field(where)
    return list(_models_in(field.annotation)) if field is not None else []


def _keys(models: list[type[BaseModel]]) -> list[str]:
    return sorted({key for model in models for key, _ in _aliased(model)})


def _aliased(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, UnionType, tuple):
        for inner in get_args(annotation):
            if not isinstance(inner, Tag):
                yield from _models_in(inner)


def _close_choice(value: object, field: FieldInfo | None) -> str:
    return _closest(value, list(_choices(field.annotation))) if field is not None else ""


def _choices(annotation: object) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from (str(choice) for choice in get_args(annotation))
    else:
        for inner in get_args(annotation):
            yield from _choices(inner)


def _closest(value: object, choices: list[str]) -> str:
    if isinstance(value, bool) and {"on", "off"} <= set(choices):
        return '"on"' if value else '"off"'
    if not isinstance(value, str):
        return ""
    close = get_close_matches(value.lower(), choices, n=1)
    return f'"{close[0]}"' if close else ""


def _quoted(text: str) -> str:
    cut = text if len(text) <= _SHOWN_LIMIT else f"{text[: _SHOWN_LIMIT - 1]}…"
    escaped = json.dumps(cut, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped)

"""One sample of every event, made from its annotations."""

from __future__ import annotations

import types
import typing
from typing import Any

from dockd.events import Event, Head

HEAD = Head(chain="0123456789abcdef", seq=7, sha256="d" * 64)
_SAMPLES: dict[Any, Any] = {str: "calgary", int: 7, bool: True, Head: HEAD}


def sample_value(annotation: Any) -> Any:
    """A value of a field's type, known rather than None."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return sample_value(typing.get_args(annotation)[0])
    if origin is typing.Literal:
        return typing.get_args(annotation)[0]
    return _SAMPLES[annotation]


def sample_values(kind: type[Event], *, optional: bool) -> dict[str, Any]:
    """Values for a class of events; with `optional`, also for what may be left out."""
    return {
        name: sample_value(info.annotation)
        for name, info in kind.model_fields.items()
        if optional or info.is_required()
    }


def sample(kind: type[Event], *, optional: bool = True) -> Event:
    return kind.model_validate(sample_values(kind, optional=optional))

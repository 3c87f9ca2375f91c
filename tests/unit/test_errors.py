"""The tree of errors: drawn in its module as it is, each with a hint and the contract's exit code."""

from __future__ import annotations

import re

import pytest

import dockd.errors
from dockd.errors import DockdError, IntegrityError, PermanentError, TransientError

EXITS = {
    "ConfigError": 78,
    "UsageError": 64,
    "CommandError": 64,
    "NotApprovedError": 1,
    "ServiceMissingError": 69,
    "AccessError": 77,
    "StoreUnavailableError": 69,
    "StoreUnknownError": 69,
    "NotDisjointError": 78,
    "JournalDamagedError": 74,
    "JournalTooNewError": 74,
}


def descendants(kind: type[DockdError]) -> list[type[DockdError]]:
    found = [kind]
    for child in kind.__subclasses__():
        if child.__module__ == "dockd.errors":
            found += descendants(child)
    return found


ERRORS = descendants(DockdError)
each_error = pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)


def drawn() -> list[tuple[str, str | None, str]]:
    """What the docstring draws: name, parent's name, and what stands beside it."""
    found: list[tuple[str, str | None, str]] = []
    above: dict[int, str] = {}
    for line in (dockd.errors.__doc__ or "").splitlines():
        match = re.match(r"([│├└─ ]*)([A-Z]\w+Error)\s+(\S.*)", line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        above[depth] = match[2]
        found.append((match[2], above[depth - 1] if depth else None, match[3]))
    return found


def test_the_tree_is_drawn_as_it_is() -> None:
    assert {name: parent for name, parent, _ in drawn()} == {
        kind.__name__: None if kind is DockdError else kind.__mro__[1].__name__ for kind in ERRORS
    }
    assert len(drawn()) == len(ERRORS)


def test_an_exit_code_in_the_drawing_is_the_errors() -> None:
    told = {name: int(code) for name, _, text in drawn() for code in re.findall(r"exit (\d+)", text)}
    assert told
    assert told == {name: getattr(dockd.errors, name).exit_code for name in told}


@each_error
def test_every_error_has_a_hint(kind: type[DockdError]) -> None:
    error = kind("what happened")
    assert str(error) == error.message == "what happened"
    assert len(error.hint.split()) >= 3
    assert kind("what happened", "look here").hint == "look here"
    assert kind.__doc__


@each_error
def test_every_error_is_of_one_kind(kind: type[DockdError]) -> None:
    kinds = [base for base in (TransientError, PermanentError, IntegrityError) if issubclass(kind, base)]
    assert len(kinds) == (0 if kind is DockdError else 1)


@each_error
def test_exit_codes_are_the_contracts(kind: type[DockdError]) -> None:
    assert kind.exit_code == EXITS.get(kind.__name__, 74)
    assert kind.exit_code in (1, 64, 69, 74, 77, 78)


def test_what_goes_away_by_itself_says_that_nothing_is_lost() -> None:
    for kind in descendants(TransientError):
        assert "lost" not in kind.default_hint or "nothing is lost" in kind.default_hint.lower(), kind

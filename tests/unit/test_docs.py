"""The documents name everything that they promise to name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dockd.errors
from dockd.alerts import ALERTS
from dockd.cli import build_parser
from dockd.events import all_events
from dockd.report.payloads import PUBLIC_FIELDS

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """The table below a heading: its first column's code, and the other cells."""
    part = re.split(r"^## ", OPERATIONS.split(f"## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    found = {}
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        code = re.sub(r"<a id=\"[a-z_]+\"></a>|`", "", cells[0])
        if line.startswith("|") and code not in ("code", "---"):
            found[code] = cells[1:]
    return found


def test_every_alert_has_an_entry_that_says_what_to_do() -> None:
    table = rows("Alerts")
    assert set(table) == set(ALERTS)
    for code, cells in table.items():
        assert all(len(cell.split()) >= 1 for cell in cells), code
        assert f'<a id="{code}"></a>' in OPERATIONS


def test_every_exit_code_has_an_entry() -> None:
    codes = {str(value) for name, value in vars(dockd.errors).items() if name.startswith("EXIT_")}
    assert codes <= set(rows("Exit codes"))


def test_every_command_has_an_entry() -> None:
    (group,) = [action for action in build_parser()._actions if hasattr(action, "choices") and action.choices]
    assert group.choices
    for name in group.choices:
        assert f"`dockd {name}" in OPERATIONS, name


@pytest.mark.parametrize("kind", all_events(), ids=lambda kind: kind.event)
def test_every_event_has_a_list_of_what_may_be_said_of_it(kind: type[dockd.events.Event]) -> None:
    fields = set(kind.model_fields)
    said = set(PUBLIC_FIELDS[kind.event])
    assert said <= fields
    # Who, why, and the names of files: what people wrote stays in the custody log.
    people = {"by", "uid", "sudo_user", "approver", "approver_key"}
    private = people | {"why", "path", "path_hex", "detail", "subject", "what"} | ({"reason"} & fields)
    assert not (said - ({"reason"} if kind.event == "wipe_refused" else set())) & private


def test_what_is_named_in_the_documents_is_there() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        text = document.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"
        for path in re.findall(r"`((?:dockd|tests|scripts|docs|systemd)/[\w./-]+)`", text):
            assert (ROOT / path).exists(), f"{document.name} names {path}"

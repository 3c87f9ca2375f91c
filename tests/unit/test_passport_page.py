"""The page of a passport: hostile names, nothing from elsewhere, and what it says."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from custody_desk import CustodyDesk
from passport_desk import made

from dockd.custody.passport_story import sentence
from dockd.events import all_events

HOSTILE = "</td><script>alert(1)</script>\u202egpj.exe\n&amp;\"'".encode()


class Page(HTMLParser):
    """What is on a page: tags, attributes that lead elsewhere, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [f"{name}={value}" for name, value in attrs if name in ("href", "src", "srcset", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_obeys_no_name_and_loads_nothing(desk: CustodyDesk, desk_config: str, tmp_path: Path) -> None:
    uid = desk.busy_day(path=HOSTILE)
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 0
    text = (out / "index.html").read_text("utf-8")
    page = Page(text)
    assert not {"script", "img", "link", "iframe", "object", "form", "svg"} & set(page.tags)
    assert page.links == []
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "\u202e" not in text
    assert "</td><script>alert(1)</script>\\u202egpj.exe\\n&amp;\"'" in page.text
    assert '<html lang="en">' in text
    assert page.tags.count("h1") == 1
    assert page.tags.count("main") == 1


def test_the_page_says_what_is_proven_and_what_is_not(desk: CustodyDesk, desk_config: str, tmp_path: Path) -> None:
    desk.desk.clock.sync = (False, None)
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 0
    text = Page((out / "index.html").read_text("utf-8")).text
    for words in (
        *("from docking onward", "Not proven", "before docking", "clock not synchronised", "Who signed"),
        *(desk.key.public.fingerprint, hashlib.sha256(b"footage").hexdigest(), uid, "dockd 0.1.0", "a" * 64),
        *("not sanitisation", "calgary/district-4/dock-07"),
    ):
        assert words in text, words
    order = [
        text.index(words) for words in ("found in bay", "read that copy back", "seen to be gone", "stay in the dock")
    ]
    assert order == sorted(order)


def test_every_event_of_a_passport_has_a_sentence() -> None:
    never = {"configuration_changed", "clock_stepped", "hold_added", "hold_removed", "audit", "custody_acknowledged"}
    for kind in all_events():
        told = sentence({"event": kind.event})
        assert told.startswith("Recorded:") is (kind.event in never), kind.event
        assert re.fullmatch(r"[A-Z].*[.:]", told), told

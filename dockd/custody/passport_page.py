"""The page of a passport: plain words for a court, without scripts and without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Final

from dockd.custody.passport import Manifest
from dockd.custody.passport_story import (
    NOT_RECORDED,
    Record,
    Story,
    clock_text,
    moment_text,
    sentence,
    stories,
    when,
)
from dockd.identity import plain_text

_STYLE: Final = """
@page { size: A4; margin: 18mm 16mm }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.5rem; max-width: 50rem; color: #1a1a1a; background: #fff;
  font: 16px/1.5 "DejaVu Sans", "Liberation Sans", Arial, Helvetica, sans-serif }
header { border-bottom: 3px solid #1d3f72; margin-bottom: 1.5rem; padding-bottom: .8rem }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .4rem; color: #1d3f72 }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; color: #1d3f72 }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; overflow-wrap: anywhere }
p, ul { margin: .5rem 0 } ul { padding-left: 1.2rem } li { margin: .35rem 0 }
table { width: 100%; border-collapse: collapse; margin: .6rem 0; font-size: .88rem }
caption { text-align: left; color: #444; padding-bottom: .3rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .5rem; border-bottom: 1px solid #c9ced6 }
thead th { background: #eef2f7; border-bottom: 2px solid #8a97a8 }
tbody th { font-weight: 600; white-space: nowrap }
td.n, th.n { text-align: right; white-space: nowrap } td.t { white-space: nowrap }
td.w { overflow-wrap: anywhere }
.facts th { width: 11rem } .facts td { overflow-wrap: anywhere }
code { font: .85em/1.45 "DejaVu Sans Mono", "Liberation Mono", monospace; overflow-wrap: anywhere }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem }
.two > div { border: 1px solid #c9ced6; border-top: 4px solid #2c6e49; padding: .3rem .9rem .6rem }
.two > div + div { border-top-color: #9a3412 } .two h3 { margin-top: .6rem }
.doubt { color: #9a3412; font-weight: 600 } .short { font-size: 1.1rem }
.small { color: #444; font-size: .85rem } .stage th, .stage td { background: #f4f7fb }
@media (max-width: 40rem) { .two { grid-template-columns: 1fr } }
@media print { body { padding: 0; max-width: none; font-size: 10pt } tr, .facts, .two > div { break-inside: avoid }
  h2, h3, caption { break-after: avoid } thead { display: table-header-group } a { color: inherit } }
"""

_PROVEN: Final = (
    (
        "Which bytes these recordings consist of: the dock wrote down two digests of what it read from the camera and, "
        "where the time line says so, of what it read back from the evidence store, and they were equal. A single "
        "changed bit gives other digests; anybody can compute them again."
    ),
    (
        "That what the dock wrote down about these recordings was not altered, removed or reordered after it was "
        "signed: each record holds the digest of the one before it, and the dock signed these digests."
    ),
    (
        "That nothing was taken out between the first and the last of these records: the digests of all records in "
        "between are here and signed, those about other recordings without their content."
    ),
)
_NOT_PROVEN: Final = (
    (
        "Anything from before docking: what the camera recorded, who wore it, whether its card was altered or files "
        "were deleted on it."
    ),
    (
        "When the recording was made. The file's own time comes from the camera's clock, which the dock does not vouch "
        "for."
    ),
    (
        "That the signing key was used by this dock alone. Whoever controls the dock's system can sign in its name. "
        "Whose key it is, the police force's list of keys says, and nothing in this folder."
    ),
    "That the dock's software does what it should. Which version of it ran is listed below.",
    "The exact time of each entry: it is what the dock's clock showed. The order of entries does not depend on it.",
    "What can be seen or heard in a recording, and what it means.",
    "That deleted files cannot be recovered from the camera.",
)


@dataclass(frozen=True, slots=True)
class Signing:
    """A stretch of a chain, and the key that signed it."""

    chain: str
    first: int
    last: int
    fingerprint: str


def page(
    manifest: Manifest,
    shown: Mapping[str, Mapping[int, Record]],
    signings: Sequence[Signing],
) -> bytes:
    """The page as UTF-8; the same for the same passport."""
    told = stories(manifest.recordings, shown)
    title = f"Passport of {_count(len(told), 'recording')}"
    body = [
        (
            f"<header><h1>{_text(title)}</h1><p>Chain of custody from docking onward. Dock "
            f"<strong>{_text(manifest.dock)}"
            f"</strong>, made {_text(moment_text(manifest.made))} UTC by dockd {_text(manifest.software)}.</p></header>"
            "<main>"
        ),
        _in_short(told),
        _what_it_is(manifest),
        _overview(told),
        (
            "<h2>What this shows, and what it does not</h2><div class=two>"
            f"<div><h3>Proven, from docking onward</h3>{_list(_PROVEN)}</div>"
            f"<div><h3>Not proven</h3>{_list(_NOT_PROVEN)}</div></div>"
        ),
        "<h2>The recordings, one by one</h2>",
        *(_recording(number, story) for number, story in enumerate(told, start=1)),
        _clock(shown),
        _signed(signings, manifest),
        _software(shown),
        _checking(),
    ]
    head = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>\n"
    )
    return (head + "\n".join(body) + "\n</main></body></html>\n").encode()


def _text(raw: str) -> str:
    """Text from anywhere as text of the page, which it can neither end nor turn around."""
    return escape(plain_text(raw))


def _name(raw: str) -> str:
    return f"<bdi>{_text(raw)}</bdi>"


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"


def _what_it_is(manifest: Manifest) -> str:
    where = (
        "Their files lie in the folder <code>recordings</code>, named by their digests."
        if manifest.with_recordings
        else "Their files are handed over apart from this folder, which has their digests."
    )
    return (
        "<h2>What this is</h2><p>A <em>dock</em> is the station in a police building into which officers put their "
        "body-worn cameras. It copies the recordings, has them stored in the evidence store, reads them back from "
        "there to see that they are the same, and only then may delete them on the camera. Of all that it keeps a "
        "signed log, in which nothing can be changed later without being noticed.</p><p>This folder shows that log "
        f"for {_count(len(manifest.recordings), 'recording')}. {where} Entries about other recordings are not shown. "
        "Anybody can check all of it with common tools, without this software and without trusting this page: "
        "<code>VERIFY.md</code> says how. The log itself is <code>records.jsonl</code>; this page only says in words "
        "what stands there.</p>"
    )


def _in_short(told: Sequence[Story]) -> str:
    cameras = len({(story.last("camera"), story.last("camera_hex")) for story in told})
    stored = sum(story.in_store.startswith("since") for story in told)
    deleted = sum(story.on_camera.startswith("deleted") for story in told)
    return (
        f"<p class=short>{_count(len(told), 'recording')} from {_count(cameras, 'camera')}: {stored} in the evidence "
        f"store by this log, {deleted} of them deleted on the camera afterwards.</p>"
    )


def _overview(told: Sequence[Story]) -> str:
    rows = "".join(
        f"<tr><th scope=row class=n>{number}</th><td class=w>{_name(story.last('path'))}<br>"
        f"<span class=small>camera {_name(story.last('camera'))}, {_text(story.size)}</span></td>"
        f"<td>{_text(story.in_store)}</td><td>{_text(story.on_camera)}</td></tr>"
        for number, story in enumerate(told, start=1)
    )
    return (
        "<h2>The recordings</h2><table><caption>As far as this log tells. Times are UTC, by the dock's clock.</caption>"
        "<thead><tr><th scope=col class=n>No.</th><th scope=col>File on the camera</th>"
        "<th scope=col>In the evidence store</th><th scope=col>On the camera</th>"
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


_STAGES: Final = frozenset({"camera_docked", "camera_removed"})


def _recording(number: int, story: Story) -> str:
    facts = [
        ("File on the camera", _name(story.last("path"))),
        ("Camera", _name(story.last("camera"))),
        ("Id", f"<code>{_text(story.recording)}</code>"),
        ("Size", _text(story.size)),
        ("SHA-256", f"<code>{_text(story.last('sha256'))}</code>"),
        ("BLAKE3", f"<code>{_text(story.last('blake3'))}</code>"),
        ("In the evidence store", _text(story.in_store)),
        ("… under the key", f"<code>{_text(story.last('key'))}</code>"),
        ("On the camera", _text(story.on_camera)),
    ]
    if story.last("path_hex") != NOT_RECORDED:
        facts.insert(1, ("Its name's bytes", f"<code>{_text(story.last('path_hex'))}</code>"))
    table = "".join(f"<tr><th scope=row>{name}</th><td>{value}</td></tr>" for name, value in facts)
    entries = "".join(_entry(record) for _, record in story.entries)
    return (
        f"<section><h3>{number}. {_name(story.last('path'))}</h3>"
        f"<table class=facts><tbody>{table}</tbody></table>"
        "<table><caption>Time line. Times are UTC, by the dock's clock.</caption><thead><tr><th scope=col>When</th>"
        "<th scope=col>What was recorded</th><th scope=col class=n>Entry</th></tr></thead>"
        f"<tbody>{entries}</tbody></table></section>"
    )


def _entry(record: Record) -> str:
    clock = record.get("clock")
    sure = isinstance(clock, Mapping) and clock.get("synchronised") is True
    doubt = "" if sure else "<br><span class=doubt>clock not synchronised</span>"
    stage = " class=stage" if record.get("event") in _STAGES else ""
    time, told, number = _text(when(record)), _text(sentence(record)), _text(str(record.get("seq")))
    return f"<tr{stage}><td class=t>{time}{doubt}</td><td>{told}</td><td class=n>{number}</td></tr>"


def _clock(shown: Mapping[str, Mapping[int, Record]]) -> str:
    """What all shown records say of the clock, put together."""
    states: dict[str, list[int]] = {}
    for records in shown.values():
        for seq in sorted(records):
            states.setdefault(clock_text(records[seq]), []).append(seq)
    rows = "".join(
        f"<tr><th scope=row>{_text(state)}</th><td class=n>{len(seqs)}</td><td>{min(seqs)} and {max(seqs)}</td></tr>"
        for state, seqs in states.items()
    )
    return (
        "<h2>The dock's clock</h2><p>Each entry says whether the dock's system called its clock synchronised, and by "
        "how much it might be off at most. Where it was not synchronised, times may be wrong by any amount; the "
        "order of the entries, by their numbers, stands all the same.</p><table><thead><tr><th scope=col>The clock "
        "was</th><th scope=col class=n>entries</th><th "
        f"scope=col>between</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _stretches(signings: Sequence[Signing]) -> list[Signing]:
    """Lists that follow one another under one key, as one."""
    found: list[Signing] = []
    for one in signings:
        last = found[-1] if found else None
        if last and (last.chain, last.fingerprint, last.last + 1) == (one.chain, one.fingerprint, one.first):
            found[-1] = replace(last, last=one.last)
        else:
            found.append(one)
    return found


def _signed(signings: Sequence[Signing], manifest: Manifest) -> str:
    rows = "".join(
        f"<tr><td><code>{_text(one.fingerprint)}</code></td><td class=n>{one.first} to {one.last}</td>"
        f"<td><code>{_text(one.chain)}</code></td></tr>"
        for one in _stretches(signings)
    )
    return (
        f"<h2>Who signed</h2><p>The dock signed as <strong>{_text(manifest.dock)}</strong> with the keys below "
        "(Ed25519, SSH signature format, namespace <code>dockd-custody</code>). That such a key is this dock's is "
        "for the police force to say: its list of keys must be asked for there, and is no part of this "
        "folder.</p><table><thead><tr><th scope=col>Fingerprint of the key</th><th scope=col class=n>Entries</th><th "
        f"scope=col>Log</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _software(shown: Mapping[str, Mapping[int, Record]]) -> str:
    starts = [
        record for records in shown.values() for record in records.values() if record.get("event") == "dock_started"
    ]
    rows = "".join(
        f"<tr><td class=n>{_text(str(record.get('seq')))}</td><td>{_text(str(record.get('version')))}</td>"
        f"<td><code>{_text(str(record.get('package_sha256')))}</code></td></tr>"
        for record in starts
    )
    return (
        "<h2>The software</h2><p>What ran on the dock while these entries were written, with the digest of its program "
        "files.</p><table><thead><tr><th scope=col class=n>From entry</th><th scope=col>dockd</th>"
        f"<th scope=col>SHA-256 of its files</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _checking() -> str:
    return (
        "<h2>How to check it</h2><p><code>VERIFY.md</code> in this folder has every step, with the programs "
        "<code>sha256sum</code>, <code>b3sum</code> and <code>ssh-keygen</code>, which do not come from the makers "
        "of the dock. With the dock's software it is one command: <code>dockd custody verify --allowed-signers FILE "
        "FOLDER</code>.</p><p class=small>If a check fails, keep the folder as it is, and ask for a new one: a copy "
        "may have been damaged, or something in it changed.</p>"
    )

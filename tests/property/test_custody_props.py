"""Whatever is done to a signed chain, to exported records or to a passport is found; the first bad record is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from custody_desk import custody_desk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from passport_desk import make_passport

from dockd.custody.keys import SigningKey
from dockd.custody.look import Report, discover, verify_all
from dockd.custody.sshsig import Signers
from dockd.custody.trust import Trust
from dockd.custody.verify import KnownHead
from dockd.lifecycle import RecordingState

KINDS = ("segments", "passport", "records")


@dataclass
class Evidence:
    """One chain in three forms, and what is known of it from elsewhere."""

    folder: Path
    trust: Trust
    head: tuple[str, KnownHead]
    seqs: dict[str, list[int]]
    """By file of records: the numbers of its records, in order."""

    def report(self, kind: str, place: Path, *, with_head: bool = True, vouched: bool = True) -> Report:
        found = discover(place / kind if kind != "records" else place / "records" / "chain.jsonl")
        (report,) = verify_all(found, self.trust if vouched else Trust(), self.head if with_head else None)
        return report


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    root = tmp_path_factory.mktemp("evidence")
    made = root / "made"
    made.mkdir()
    with custody_desk(root / "state") as desk:
        first = desk.key
        uids = [desk.busy_day(), desk.busy_day(RecordingState.CONFIRMED, b"two.mp4")]
        desk.rotate()
        uids.append(desk.busy_day(RecordingState.WIPED, b"three.mp4"))
        desk.cut()
        (folder,) = desk.store_chains(root / "store")
        trust = Trust(Signers(desk.signers(first, desk.key).read_text(encoding="ascii").splitlines()), "the register")
        head = desk.desk.do(lambda tx: tx.head)
        lines = desk.desk.lines()
        make_passport(desk, uids, made / "passport")
    shutil.copytree(folder, made / "segments")
    (made / "records").mkdir()
    (made / "records" / "chain.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    seqs = {
        str(file.relative_to(made)): [json.loads(line)["seq"] for line in file.read_text("utf-8").splitlines()]
        for file in made.rglob("*.jsonl")
    }
    known = KnownHead(head.seq, head.sha256, "the broker")
    return Evidence(made, trust, (head.chain, known), seqs)


@pytest.fixture
def place(evidence: Evidence, tmp_path: Path, kind: str) -> Callable[[], Path]:
    """A fresh copy of the evidence of that kind for each example."""

    def fresh() -> Path:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(evidence.folder / kind, copy / kind)
        return copy

    return fresh


Fresh = Callable[[], Path]
many = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
few = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def files(evidence: Evidence, kind: str, ending: str = "") -> list[str]:
    found = (evidence.folder / kind).rglob(f"*{ending}")
    return sorted(str(file.relative_to(evidence.folder)) for file in found if file.is_file())


def changed(file: Path, at: int, to: int) -> int:
    """Change one byte; the index of the line that it is in."""
    data = bytearray(file.read_bytes())
    at %= len(data)
    data[at] = to if data[at] != to else to ^ 1
    file.write_bytes(data)
    return bytes(data[:at]).count(b"\n")


@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_touched_is_whole(evidence: Evidence, kind: str) -> None:
    for vouched in (True, False):
        report = evidence.report(kind, evidence.folder, vouched=vouched)
        assert report.broken is None
        assert all(key["vouched"] is vouched for key in report.keys)
        assert len(report.keys) == (0 if kind == "records" else 2)


@pytest.mark.parametrize("kind", KINDS)
@many
@given(data=st.data(), at=st.integers(0, 2**24), to=st.integers(0, 255), vouched=st.booleans())
def test_any_changed_byte_is_found(
    evidence: Evidence, place: Fresh, kind: str, data: st.DataObject, at: int, to: int, vouched: bool
) -> None:
    name = data.draw(st.sampled_from(files(evidence, kind)))
    fresh = place()
    line = changed(fresh / name, at, to)
    broken = evidence.report(kind, fresh, vouched=vouched).broken
    assert broken is not None, (name, at, to)
    assert broken.what
    assert broken.expected
    assert broken.found
    assert broken.means
    if name in evidence.seqs and kind != "records":
        assert broken.seq == evidence.seqs[name][line]
    elif kind == "records":
        # Without a list of digests the record behind it betrays a change, and behind the last one the head does.
        assert broken.seq in (evidence.seqs[name][line], evidence.seqs[name][line] + 1)


def removed(lines: list[bytes], at: int) -> int:
    del lines[at]
    return at


def repeated(lines: list[bytes], at: int) -> int:
    lines.insert(at, lines[at])
    return at + 1


def moved(lines: list[bytes], at: int) -> int:
    other = (at + 1) % len(lines)
    lines[at], lines[other] = lines[other], lines[at]
    return min(at, other)


def inserted(lines: list[bytes], at: int) -> int:
    """A record that somebody made up, in the form that the dock would give it."""
    record = json.loads(lines[at]) | {"event": "recording_confirmed", "recording": "made-up"}
    lines.insert(at, json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return at


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spoil", [removed, repeated, moved, inserted], ids=lambda spoil: spoil.__name__)
@few
@given(data=st.data(), at=st.integers(0, 2**16), with_head=st.booleans())
def test_a_removed_repeated_moved_or_inserted_record_is_found_and_named(
    evidence: Evidence,
    place: Fresh,
    kind: str,
    spoil: Callable[[list[bytes], int], int],
    data: st.DataObject,
    at: int,
    with_head: bool,
) -> None:
    name = data.draw(st.sampled_from(files(evidence, kind, ".jsonl")))
    fresh = place()
    lines = (fresh / name).read_bytes().splitlines(keepends=True)
    if spoil is moved and len(lines) == 1:
        return
    seqs = evidence.seqs[name]
    named = spoil(lines, at % len(lines))
    (fresh / name).write_bytes(b"".join(lines))
    # What has lists of digests needs no head for that.
    broken = evidence.report(kind, fresh, with_head=with_head or kind == "records").broken
    assert broken is not None
    expected = seqs[named] if named < len(seqs) else seqs[-1] + 1
    # A record in place of another in a bare chain is betrayed by the one behind it.
    assert broken.seq in ((expected, expected + 1) if kind == "records" and spoil is inserted else (expected,))


@pytest.mark.parametrize("kind", ["segments", "records"])
@few
@given(at=st.integers(0, 2**16))
def test_a_cut_tail_is_found_given_a_head(evidence: Evidence, place: Fresh, kind: str, at: int) -> None:
    fresh = place()
    if kind == "records":
        lines = (fresh / "records" / "chain.jsonl").read_bytes().splitlines(keepends=True)
        kept = 1 + at % (len(lines) - 1)
        (fresh / "records" / "chain.jsonl").write_bytes(b"".join(lines[:kept]))
    else:
        lists = files(evidence, kind, ".sha256")
        cut = lists[1 + at % (len(lists) - 1) :]
        for name in cut:
            for ending in (".jsonl", ".sha256", ".sha256.sig"):
                (fresh / name).with_suffix(ending).unlink()
        kept = int(Path(cut[0]).name[:12]) - 1
    assert evidence.report(kind, fresh, with_head=False).broken is None, "nothing tells of it but the head"
    broken = evidence.report(kind, fresh).broken
    assert broken is not None
    assert broken.seq == kept + 1
    assert "the broker" in broken.what


@pytest.mark.parametrize("kind", ["segments", "passport"])
@few
@given(data=st.data())
def test_any_file_that_is_taken_away_or_put_in_is_found(
    evidence: Evidence, place: Fresh, kind: str, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(files(evidence, kind)))
    fresh = place()
    (fresh / name).unlink()
    assert evidence.report(kind, fresh).broken is not None
    fresh = place()
    other = (fresh / name).with_name("000000000003-000000000009.sha256")
    other.write_bytes((fresh / name).read_bytes())
    assert evidence.report(kind, fresh).broken is not None


@pytest.mark.parametrize("kind", ["segments", "passport"])
@few
@given(data=st.data(), vouched=st.booleans())
def test_swapped_signatures_and_foreign_keys_are_found(
    evidence: Evidence, place: Fresh, kind: str, data: st.DataObject, vouched: bool
) -> None:
    one, other = data.draw(
        st.lists(st.sampled_from(files(evidence, kind, ".sig")), min_size=2, max_size=2, unique=True)
    )
    fresh = place()
    first, second = (fresh / one).read_bytes(), (fresh / other).read_bytes()
    (fresh / one).write_bytes(second)
    (fresh / other).write_bytes(first)
    assert evidence.report(kind, fresh, vouched=vouched).broken is not None
    fresh = place()
    stranger = SigningKey.generate()
    (fresh / one).write_text(stranger.sign((fresh / one.removesuffix(".sig")).read_bytes()), encoding="ascii")
    broken = evidence.report(kind, fresh, vouched=vouched).broken
    assert broken is not None
    # In a passport the list of files is signed last, and its own signature is what is wrong then.
    assert stranger.public.fingerprint in broken.found
    assert broken.file is not None
    assert Path(broken.file).name == Path(one).name


def test_a_chain_that_was_rewritten_and_signed_by_a_stranger_is_found_by_who_may_sign(
    evidence: Evidence, tmp_path: Path
) -> None:
    """All of it anew, with a key that it registers itself: only somebody outside can tell, or a head."""
    with custody_desk(tmp_path) as forged:
        forged.busy_day()
        forged.cut()
        (folder,) = forged.store_chains(tmp_path / "store")
    found = discover(folder)
    assert verify_all(found, Trust(), None)[0].broken is None
    broken = verify_all(found, evidence.trust, None)[0].broken
    assert broken is not None
    assert "nobody vouches" in broken.what
    assert verify_all(found, Trust(), evidence.head)[0].broken is not None

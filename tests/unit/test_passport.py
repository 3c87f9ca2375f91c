"""`dockd passport`: what is in the folder, what is not, and when there is none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import blake3
import pytest
from command_line import exit_code
from custody_desk import OTHER_OFFICERS, CustodyDesk, custody_desk
from journal_desk import CAMERA, PATH, STARTED, raw
from passport_desk import config_file

from dockd.custody.keys import SigningKey
from dockd.custody.passport import Manifest
from dockd.custody.passport_story import sentence
from dockd.events import all_events
from dockd.journal.startup import start
from dockd.lifecycle import RecordingState

FILES = {"index.html", "VERIFY.md", "records.jsonl", "SHA256SUMS", "B3SUMS", "FILES.sha256", "FILES.sha256.sig"}
HOSTILE = "</td><script>alert(1)</script>\u202egpj.exe\n&amp;\"'".encode()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[CustodyDesk]:
    with custody_desk(tmp_path / "state") as made:
        yield made


@pytest.fixture
def config(desk: CustodyDesk, tmp_path: Path) -> str:
    return str(config_file(desk.root, tmp_path / "store"))


def made(desk: CustodyDesk, config: str, out: Path, *argv: str) -> int:
    """The command's exit code; the desk is closed for it, for the command reads the journal as it lies there."""
    desk.desk.close()
    try:
        return exit_code("passport", *argv, "--out", str(out), "--config", config)
    finally:
        desk.desk.open()


def records(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "records.jsonl").read_text("utf-8").splitlines()]


def everything(out: Path) -> bytes:
    return b"".join(str(path).encode() + (path.read_bytes() if path.is_file() else b"") for path in out.rglob("*"))


def sign_again(out: Path, key: SigningKey) -> None:
    """The list of files made anew, and signed: what a dock that means ill could do with a passport."""
    files = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith("FILES.")]
    digests = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (out / "FILES.sha256").write_text("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)), "ascii")
    (out / "FILES.sha256.sig").write_text(key.sign((out / "FILES.sha256").read_bytes()), encoding="ascii")


def test_it_has_the_recordings_own_records_and_what_they_stand_on(
    desk: CustodyDesk, config: str, tmp_path: Path
) -> None:
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
    events = [str(record["event"]) for record in records(out)]
    assert events == [
        *("dock_started", "key_registered", "camera_docked"),
        *("recording_found", "recording_copied", "recording_uploaded", "recording_confirmed"),
        *("wipe_started", "recording_wiped", "camera_removed"),
    ]
    chain = desk.desk.lines()
    assert all(line in chain for line in (out / "records.jsonl").read_text("utf-8").splitlines())
    assert {path.name for path in out.iterdir() if path.is_file()} == FILES | {"passport.json"}
    assert not list(out.rglob("allowed_signers"))
    lists = sorted(path.name for path in out.rglob("*.sha256") if path.parent != out)
    assert lists[0].startswith("000000000001-")
    assert int(lists[-1][13:25]) >= int(str(records(out)[-1]["seq"]))
    assert not list(tmp_path.glob(".passport*")), "nothing is left of the work"


def test_nothing_of_other_officers_is_in_it(desk: CustodyDesk, config: str, tmp_path: Path) -> None:
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
    held = everything(out)
    assert CAMERA.serial in held
    for secret in (OTHER_OFFICERS.serial, b"another-officer", b"bay 2"):
        assert secret not in held
    others = [row.uid for row in desk.desk.do(lambda tx: tx.recordings("uid <> ?", uid))]
    assert others
    for other in others:
        assert other.encode() not in held


def test_lists_lie_between_the_first_and_the_last_record_and_no_further(
    desk: CustodyDesk, config: str, tmp_path: Path
) -> None:
    for number in range(4):
        desk.busy_day(path=f"before-{number}.mp4".encode())
    uid = desk.busy_day(path=b"it.mp4")
    for number in range(4):
        desk.busy_day(path=f"after-{number}.mp4".encode())
    desk.cut(5)
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
    own = [int(str(r["seq"])) for r in records(out) if r["event"] not in ("dock_started", "key_registered")]
    firsts = sorted(int(path.name[:12]) for path in out.glob("segments/*/*.sha256"))
    assert firsts == [1, *range((own[0] - 1) // 5 * 5 + 1, own[-1] + 1, 5)]


@pytest.mark.parametrize("how", ["camera", "days", "key"])
def test_recordings_are_found_by_camera_time_and_key(desk: CustodyDesk, config: str, tmp_path: Path, how: str) -> None:
    uid = desk.busy_day()
    key = desk.desk.newest(PATH).store_key
    assert key is not None
    desk.cut()
    argv = {
        "camera": ["--camera", CAMERA.serial.decode()],
        "days": ["--camera", CAMERA.serial.decode(), "--from", "2026-03-01", "--to", "2026-03-01"],
        "key": ["--key", key],
    }[how]
    out = tmp_path / "passport"
    assert made(desk, config, out, *argv) == 0
    # On this desk all content is alike, and so its key.
    expected = [row.uid for row in desk.desk.do(lambda tx: tx.recordings("store_key = ?", key))]
    assert Manifest.parse((out / "passport.json").read_bytes()).recordings == tuple(expected if how == "key" else [uid])


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["no-such-id"],
        ["--key", "calgary/recordings/nothing"],
        ["--camera", "nobody's"],
        ["--camera", "CAM 1", "--from", "2026-03-02"],
        ["--camera", "CAM 1", "--to", "2026-02-28T23:59:59Z"],
        ["--camera", "CAM 1", "--from", "yesterday"],
        ["--from", "2026-03-01"],
    ],
    ids=" ".join,
)
def test_what_names_no_recording_is_refused_with_64(
    desk: CustodyDesk, config: str, tmp_path: Path, argv: list[str]
) -> None:
    desk.busy_day()
    desk.cut()
    assert made(desk, config, tmp_path / "passport", *argv) == 64
    assert not (tmp_path / "passport").exists()


def test_while_records_are_not_signed_there_is_none(
    desk: CustodyDesk, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.cut()
    uid = desk.busy_day()
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 1
    told = capsys.readouterr().err
    assert "not signed yet" in told
    assert "Wait for the next signing" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]
    desk.cut()
    assert made(desk, config, out, uid) == 0


def test_a_new_key_that_is_not_signed_in_yet_makes_none(desk: CustodyDesk, config: str, tmp_path: Path) -> None:
    uid = desk.busy_day()
    desk.rotate()
    assert made(desk, config, tmp_path / "passport", uid) == 1
    desk.cut()
    assert made(desk, config, tmp_path / "passport", uid) == 0
    assert exit_code("custody", "verify", str(tmp_path / "passport")) == 0


@pytest.mark.parametrize("there", ["folder", "empty folder", "file", "dangling link"])
def test_what_is_there_is_never_overwritten(desk: CustodyDesk, config: str, tmp_path: Path, there: str) -> None:
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    if there == "file":
        out.write_text("mine", encoding="ascii")
    elif there == "dangling link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.mkdir()
        if there == "folder":
            (out / "mine").touch()
    before = sorted(map(str, tmp_path.rglob("*")))
    assert made(desk, config, out, uid) == 64
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_what_appears_while_it_is_made_is_not_overwritten(
    desk: CustodyDesk, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    monkeypatch.setattr("dockd.commands.passport._prove", lambda _: out.mkdir())
    assert made(desk, config, out, uid) == 64
    assert list(out.iterdir()) == []
    assert not list(tmp_path.glob(".passport*"))


def test_a_journal_whose_records_were_changed_makes_none(
    desk: CustodyDesk, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = desk.busy_day()
    desk.cut()
    desk.desk.close()
    change = "UPDATE record SET line = replace(line, '\"size\":1000', '\"size\":9')"
    raw(desk.root / "journal.db", "DROP TRIGGER record_unchanged", change)
    assert exit_code("passport", uid, "--out", str(tmp_path / "passport"), "--config", config) == 74
    assert "does not hold: record" in capsys.readouterr().err
    assert not (tmp_path / "passport").exists()


def test_a_recording_on_two_chains_has_both(desk: CustodyDesk, config: str, tmp_path: Path) -> None:
    """The journal was restored in between, and the recording was seen again under the new chain."""
    uid = desk.busy_day(RecordingState.CONFIRMED)
    desk.cut()
    head = desk.desk.do(lambda tx: tx.head)
    lost = head.model_copy(update={"seq": head.seq + 9})
    desk.desk.do(lambda tx: start(tx, STARTED, lost, []))
    desk.register(desk.key)
    desk.busy_day(RecordingState.CONFIRMED)
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
    assert len(Manifest.parse((out / "passport.json").read_bytes()).chains) == 2
    assert len(list((out / "segments").iterdir())) == 2
    assert exit_code("custody", "verify", str(out)) == 0


# --- what nobody's word is taken for -----------------------------------------------------------------


def test_lists_without_a_gap_are_asked_for_whoever_signed_what_is_there(
    desk: CustodyDesk, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = desk.busy_day()
    desk.cut(2)
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
    held = {int(str(record["seq"])) for record in records(out)}
    unshown = [
        path
        for path in sorted(out.glob("segments/*/*.sha256"))
        if not held & set(range(int(path.name[:12]), int(path.name[13:25]) + 1))
    ]
    assert unshown
    first = int(unshown[0].name[:12])
    for path in (unshown[0], unshown[0].with_suffix(".sha256.sig")):
        path.unlink()
    sign_again(out, desk.key)
    capsys.readouterr()
    assert exit_code("custody", "verify", str(out)) == 1
    assert f"broken at record {first} " in capsys.readouterr().out


def test_lists_that_do_not_follow_one_another_are_found_whoever_signed_them(
    desk: CustodyDesk, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = desk.busy_day()
    desk.cut(2)
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
    held = {int(str(record["seq"])) for record in records(out)}
    for path in sorted(out.glob("segments/*/*.sha256"))[1:]:
        if int(path.name[:12]) not in held:
            break
    path.write_text("e" * 64 + path.read_text()[64:], encoding="ascii")
    path.with_suffix(".sha256.sig").write_text(desk.key.sign(path.read_bytes()), encoding="ascii")
    sign_again(out, desk.key)
    capsys.readouterr()
    assert exit_code("custody", "verify", str(out)) == 1
    assert "does not follow the one before it" in capsys.readouterr().out


def test_a_head_from_elsewhere_is_held_against_the_lists(
    desk: CustodyDesk, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = desk.busy_day()
    desk.cut(2)
    head = desk.desk.do(lambda tx: tx.head).model_dump()
    out, file = tmp_path / "passport", tmp_path / "head.json"
    assert made(desk, config, out, uid) == 0
    last = max(int(path.name[13:25]) for path in out.glob("segments/*/*.sha256"))
    assert last < int(head["seq"]), "the dock went on behind what the passport covers"
    digest = hashlib.sha256(desk.desk.lines()[last - 1].encode()).hexdigest()
    for more, code, words in (
        ({}, 0, "beyond what this passport covers"),
        ({"seq": last, "sha256": digest}, 0, ""),
        ({"seq": last, "sha256": "e" * 64}, 1, f"broken at record {last}"),
        ({"chain": "0" * 16}, 0, "holds nothing of chain"),
    ):
        file.write_text(json.dumps(head | more), encoding="ascii")
        capsys.readouterr()
        assert exit_code("custody", "verify", str(out), "--head", str(file)) == code, more
        assert words in capsys.readouterr().out


@pytest.mark.parametrize("whose", ["stranger", "former"])
def test_a_list_of_files_by_another_key_is_found(
    whose: str, desk: CustodyDesk, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    former = desk.key
    uid = desk.busy_day()
    desk.rotate()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
    signers = desk.signers(former, desk.key)
    assert exit_code("custody", "verify", str(out), "--allowed-signers", str(signers)) == 0
    if whose == "stranger":
        sign_again(out, SigningKey.generate())
        assert exit_code("custody", "verify", str(out)) == 1
        assert "not the dock's" in capsys.readouterr().out
    else:
        # A key that the chain has, and that nobody vouches for at the time when the passport says that it was made.
        lines = [line for line in signers.read_text().splitlines() if line.endswith(former.public.line)]
        term = lines[0].replace("namespaces", 'valid-before="20260601Z",namespaces')
        signers.write_text(f"{term}\n{signers.read_text().splitlines()[-1]}\n", encoding="ascii")
        assert exit_code("custody", "verify", str(out), "--allowed-signers", str(signers)) == 0
        sign_again(out, former)
        assert exit_code("custody", "verify", str(out), "--allowed-signers", str(signers)) == 1


def test_each_key_counts_for_its_own_lists_in_a_passport_too(
    desk: CustodyDesk, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    former = desk.key
    uid = desk.busy_day()
    desk.rotate()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
    assert exit_code("custody", "verify", str(out), "--allowed-signers", str(desk.signers(desk.key))) == 1
    assert "nobody vouches for the key that signed records 1 to" in capsys.readouterr().out
    lists = sorted(out.glob("segments/*/*.sha256"))
    for path, key in ((lists[0], desk.key), (lists[-1], former)):
        before = path.with_suffix(".sha256.sig").read_bytes()
        path.with_suffix(".sha256.sig").write_text(key.sign(path.read_bytes()), encoding="ascii")
        sign_again(out, desk.key)
        # The list that holds the record of the rotation may be signed with either.
        code = exit_code("custody", "verify", str(out), "--allowed-signers", str(desk.signers(former, desk.key)))
        assert code == (1 if key is desk.key else 0)
        path.with_suffix(".sha256.sig").write_bytes(before)


# --- the recordings themselves -----------------------------------------------------------------------


def test_recordings_are_copied_out_of_the_store_and_compared(
    desk: CustodyDesk, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").mkdir()
    assert exit_code("store", "init", "--config", config) == 0
    uid = desk.busy_day()
    desk.cut()
    row = desk.desk.newest(PATH)
    assert row.store_key is not None
    out = tmp_path / "passport"
    assert made(desk, config, out, uid, "--with-recordings") == 1, "the store lacks it"
    assert not out.exists()
    place = tmp_path / "store" / row.store_key
    place.parent.mkdir(parents=True)
    place.write_bytes(b"other bytes")
    assert made(desk, config, out, uid, "--with-recordings") == 1, "the store has other bytes"
    assert not out.exists()
    place.write_bytes(b"footage")
    assert made(desk, config, out, uid, "--with-recordings") == 0
    (copied,) = (out / "recordings").iterdir()
    assert copied.read_bytes() == b"footage"
    assert copied.name == f"{blake3.blake3(b'footage').hexdigest()}.mp4"
    assert (out / "SHA256SUMS").read_text() == f"{hashlib.sha256(b'footage').hexdigest()}  recordings/{copied.name}\n"
    assert exit_code("custody", "verify", str(out)) == 0
    copied.unlink()
    assert exit_code("custody", "verify", str(out)) == 1, "what was handed over with it belongs to it"


def test_passports_are_found_below_a_folder(
    desk: CustodyDesk, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = desk.busy_day()
    desk.cut()
    (tmp_path / "case").mkdir()
    assert made(desk, config, tmp_path / "case" / "one", uid) == 0
    assert made(desk, config, tmp_path / "case" / "two", uid) == 0
    capsys.readouterr()
    assert exit_code("custody", "verify", "--json", str(tmp_path / "case")) == 0
    assert [report["kind"] for report in json.loads(capsys.readouterr().out)["verified"]] == ["passport"] * 2


def test_recordings_that_are_put_in_later_are_looked_at(desk: CustodyDesk, config: str, tmp_path: Path) -> None:
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
    digest, name = (out / "B3SUMS").read_text().split()
    assert digest == blake3.blake3(b"footage").hexdigest()
    (out / "recordings").mkdir()
    (out / name).write_bytes(b"footage")
    assert exit_code("custody", "verify", str(out)) == 0
    (out / name).write_bytes(b"fotage!")
    assert exit_code("custody", "verify", str(out)) == 1
    (out / name).write_bytes(b"footage")
    (out / "recordings" / "other.mp4").write_bytes(b"other")
    assert exit_code("custody", "verify", str(out)) == 1


def test_a_list_of_recordings_that_no_record_speaks_of_is_found_whoever_signed_it(
    desk: CustodyDesk, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the dock itself could make it, long after the records were signed and seen by others."""
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
    digest = hashlib.sha256(b"other footage").hexdigest()
    sums = (out / "SHA256SUMS").read_text()
    (out / "SHA256SUMS").write_text(digest + sums[64:], encoding="ascii")
    sign_again(out, desk.key)
    assert exit_code("custody", "verify", str(out)) == 1
    assert "no record speaks of such content" in capsys.readouterr().out


def test_what_is_not_in_the_store_is_not_listed(desk: CustodyDesk, config: str, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    assert exit_code("store", "init", "--config", config) == 0
    uid = desk.busy_day(RecordingState.UPLOADED)
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, config, out, uid, "--with-recordings") == 1
    assert made(desk, config, out, uid) == 0
    assert (out / "SHA256SUMS").read_bytes() == (out / "B3SUMS").read_bytes() == b""
    assert "both lists are empty" in (out / "VERIFY.md").read_text("utf-8")
    assert "not shown to be there" in (out / "index.html").read_text("utf-8")
    assert exit_code("custody", "verify", str(out)) == 0


# --- the page ----------------------------------------------------------------------------------------


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


def test_the_page_obeys_no_name_and_loads_nothing(desk: CustodyDesk, config: str, tmp_path: Path) -> None:
    uid = desk.busy_day(path=HOSTILE)
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
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


def test_the_page_says_what_is_proven_and_what_is_not(desk: CustodyDesk, config: str, tmp_path: Path) -> None:
    desk.desk.clock.sync = (False, None)
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, config, out, uid) == 0
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

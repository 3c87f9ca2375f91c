"""`dockd passport`: what is in the folder, what is not, and when there is none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import blake3
import pytest
from command_line import exit_code
from custody_desk import OTHER_OFFICERS, CustodyDesk
from journal_desk import CAMERA, PATH, STARTED, raw
from passport_desk import made, records

from dockd.custody.passport import Manifest
from dockd.journal.startup import start
from dockd.lifecycle import RecordingState

FILES = {"index.html", "VERIFY.md", "records.jsonl", "SHA256SUMS", "B3SUMS", "FILES.sha256", "FILES.sha256.sig"}


def everything(out: Path) -> bytes:
    return b"".join(str(path).encode() + (path.read_bytes() if path.is_file() else b"") for path in out.rglob("*"))


def test_it_has_the_recordings_own_records_and_what_they_stand_on(
    desk: CustodyDesk, desk_config: str, tmp_path: Path
) -> None:
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 0
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


def test_nothing_of_other_officers_is_in_it(desk: CustodyDesk, desk_config: str, tmp_path: Path) -> None:
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 0
    held = everything(out)
    assert CAMERA.serial in held
    for secret in (OTHER_OFFICERS.serial, b"another-officer", b"bay 2"):
        assert secret not in held
    others = [row.uid for row in desk.desk.do(lambda tx: tx.recordings("uid <> ?", uid))]
    assert others
    for other in others:
        assert other.encode() not in held


def test_lists_lie_between_the_first_and_the_last_record_and_no_further(
    desk: CustodyDesk, desk_config: str, tmp_path: Path
) -> None:
    for number in range(4):
        desk.busy_day(path=f"before-{number}.mp4".encode())
    uid = desk.busy_day(path=b"it.mp4")
    for number in range(4):
        desk.busy_day(path=f"after-{number}.mp4".encode())
    desk.cut(5)
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 0
    own = [int(str(r["seq"])) for r in records(out) if r["event"] not in ("dock_started", "key_registered")]
    firsts = sorted(int(path.name[:12]) for path in out.glob("segments/*/*.sha256"))
    assert firsts == [1, *range((own[0] - 1) // 5 * 5 + 1, own[-1] + 1, 5)]


@pytest.mark.parametrize("how", ["camera", "days", "key"])
def test_recordings_are_found_by_camera_time_and_key(
    desk: CustodyDesk, desk_config: str, tmp_path: Path, how: str
) -> None:
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
    assert made(desk, desk_config, out, *argv) == 0
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
    desk: CustodyDesk, desk_config: str, tmp_path: Path, argv: list[str]
) -> None:
    desk.busy_day()
    desk.cut()
    assert made(desk, desk_config, tmp_path / "passport", *argv) == 64
    assert not (tmp_path / "passport").exists()


def test_while_records_are_not_signed_there_is_none(
    desk: CustodyDesk, desk_config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.cut()
    uid = desk.busy_day()
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 1
    told = capsys.readouterr().err
    assert "not signed yet" in told
    assert "Wait for the next signing" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]
    desk.cut()
    assert made(desk, desk_config, out, uid) == 0


def test_a_new_key_that_is_not_signed_in_yet_makes_none(desk: CustodyDesk, desk_config: str, tmp_path: Path) -> None:
    uid = desk.busy_day()
    desk.rotate()
    assert made(desk, desk_config, tmp_path / "passport", uid) == 1
    desk.cut()
    assert made(desk, desk_config, tmp_path / "passport", uid) == 0
    assert exit_code("custody", "verify", str(tmp_path / "passport")) == 0


@pytest.mark.parametrize("there", ["folder", "empty folder", "file", "dangling link"])
def test_what_is_there_is_never_overwritten(desk: CustodyDesk, desk_config: str, tmp_path: Path, there: str) -> None:
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
    assert made(desk, desk_config, out, uid) == 64
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_what_appears_while_it_is_made_is_not_overwritten(
    desk: CustodyDesk, desk_config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    monkeypatch.setattr("dockd.commands.passport._prove", lambda _: out.mkdir())
    assert made(desk, desk_config, out, uid) == 64
    assert list(out.iterdir()) == []
    assert not list(tmp_path.glob(".passport*"))


def test_a_journal_whose_records_were_changed_makes_none(
    desk: CustodyDesk, desk_config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = desk.busy_day()
    desk.cut()
    desk.desk.close()
    change = "UPDATE record SET line = replace(line, '\"size\":1000', '\"size\":9')"
    raw(desk.root / "journal.db", "DROP TRIGGER record_unchanged", change)
    assert exit_code("passport", uid, "--out", str(tmp_path / "passport"), "--config", desk_config) == 74
    assert "does not hold: record" in capsys.readouterr().err
    assert not (tmp_path / "passport").exists()


def test_a_recording_on_two_chains_has_both(desk: CustodyDesk, desk_config: str, tmp_path: Path) -> None:
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
    assert made(desk, desk_config, out, uid) == 0
    assert len(Manifest.parse((out / "passport.json").read_bytes()).chains) == 2
    assert len(list((out / "segments").iterdir())) == 2
    assert exit_code("custody", "verify", str(out)) == 0


# --- the recordings themselves -----------------------------------------------------------------------


def test_recordings_are_copied_out_of_the_store_and_compared(
    desk: CustodyDesk, desk_config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").mkdir()
    assert exit_code("store", "init", "--config", desk_config) == 0
    uid = desk.busy_day()
    desk.cut()
    row = desk.desk.newest(PATH)
    assert row.store_key is not None
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid, "--with-recordings") == 1, "the store lacks it"
    assert not out.exists()
    place = tmp_path / "store" / row.store_key
    place.parent.mkdir(parents=True)
    place.write_bytes(b"other bytes")
    assert made(desk, desk_config, out, uid, "--with-recordings") == 1, "the store has other bytes"
    assert not out.exists()
    place.write_bytes(b"footage")
    assert made(desk, desk_config, out, uid, "--with-recordings") == 0
    (copied,) = (out / "recordings").iterdir()
    assert copied.read_bytes() == b"footage"
    assert copied.name == f"{blake3.blake3(b'footage').hexdigest()}.mp4"
    assert (out / "SHA256SUMS").read_text() == f"{hashlib.sha256(b'footage').hexdigest()}  recordings/{copied.name}\n"
    assert exit_code("custody", "verify", str(out)) == 0
    copied.unlink()
    assert exit_code("custody", "verify", str(out)) == 1, "what was handed over with it belongs to it"


def test_passports_are_found_below_a_folder(
    desk: CustodyDesk, desk_config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = desk.busy_day()
    desk.cut()
    (tmp_path / "case").mkdir()
    assert made(desk, desk_config, tmp_path / "case" / "one", uid) == 0
    assert made(desk, desk_config, tmp_path / "case" / "two", uid) == 0
    capsys.readouterr()
    assert exit_code("custody", "verify", "--json", str(tmp_path / "case")) == 0
    assert [report["kind"] for report in json.loads(capsys.readouterr().out)["verified"]] == ["passport"] * 2


def test_recordings_that_are_put_in_later_are_looked_at(desk: CustodyDesk, desk_config: str, tmp_path: Path) -> None:
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 0
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


def test_what_is_not_in_the_store_is_not_listed(desk: CustodyDesk, desk_config: str, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    assert exit_code("store", "init", "--config", desk_config) == 0
    uid = desk.busy_day(RecordingState.UPLOADED)
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid, "--with-recordings") == 1
    assert made(desk, desk_config, out, uid) == 0
    assert (out / "SHA256SUMS").read_bytes() == (out / "B3SUMS").read_bytes() == b""
    assert "both lists are empty" in (out / "VERIFY.md").read_text("utf-8")
    assert "not shown to be there" in (out / "index.html").read_text("utf-8")
    assert exit_code("custody", "verify", str(out)) == 0

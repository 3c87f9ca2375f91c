"""`dockd custody verify`: its exit codes, heads from elsewhere, who may sign, and what it says of a break."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from command_line import exit_code
from custody_desk import CustodyDesk, verified
from journal_desk import DOCK, STARTED, STEPPED

from dockd.commands import verify as command
from dockd.custody.chain import GENESIS, line_digest
from dockd.custody.keys import SigningKey
from dockd.custody.segments import DigestList, head_text, segment_name
from dockd.events import KeyRotated
from dockd.journal.startup import start


@pytest.fixture
def chain(desk: CustodyDesk, tmp_path: Path) -> Path:
    """The folder of a chain in a store."""
    desk.busy_day()
    desk.cut()
    (folder,) = desk.store_chains(tmp_path / "store")
    return folder


def told(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON."""
    capsys.readouterr()
    code = exit_code("custody", "verify", "--json", *map(str, argv))
    return code, json.loads(capsys.readouterr().out)


def head_file(desk: CustodyDesk, tmp_path: Path, *, within: str | None = None, **more: object) -> Path:
    """The present head as JSON, changed by `more`; `within` an object as `status --json` has it."""
    head = desk.desk.do(lambda tx: tx.head).model_dump() | more
    file = tmp_path / "head.json"
    file.write_text(json.dumps(head if within is None else {within: head | {"agency": "calgary"}}), encoding="utf-8")
    return file


# --- exit codes --------------------------------------------------------------------------------------


def test_a_whole_chain_is_0_in_the_installed_program_without_a_configuration(chain: Path) -> None:
    code, found = verified(chain)
    assert code == 0
    assert found["ok"] is True


def test_a_broken_one_is_1_and_names_record_expected_found_and_meaning(
    chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = min(chain.glob("*.jsonl"))
    file.write_bytes(file.read_bytes().replace(b'"event":"camera_docked"', b'"event":"camera_locked"', 1))
    assert exit_code("custody", "verify", str(chain)) == 1
    out = capsys.readouterr().out
    assert f"broken at record 3 of chain {chain.name} (000000000001-000000000006.jsonl)" in out
    assert "expected" in out
    assert "found" in out
    assert "means     The record was changed" in out
    code, found = told(capsys, chain)
    assert code == 1
    (report,) = found["verified"]
    assert report["break"]["record"] == 3
    assert len(report["break"]["expected"]) == len(report["break"]["found"]) == 64


@pytest.mark.parametrize("what", ["nothing", "empty", "head", "no head", "signers", "no signers"])
def test_what_cannot_be_used_is_64(what: str, chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk").write_text('{"seq": 0}\nssh-ed25519', encoding="ascii")
    argv = {
        "nothing": [tmp_path / "nowhere"],
        "empty": [tmp_path / "empty"],
        "head": [chain, "--head", tmp_path / "junk"],
        "no head": [chain, "--head", tmp_path / "nowhere"],
        "signers": [chain, "--allowed-signers", tmp_path / "junk"],
        "no signers": [chain, "--allowed-signers", tmp_path / "nowhere"],
    }[what]
    assert exit_code("custody", "verify", *map(str, argv)) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2


# --- what lies under a path --------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "calgary", "calgary/custody", "calgary/custody/district-4/dock-07"])
def test_every_chain_below_a_folder_is_verified(
    below: str, desk: CustodyDesk, chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = desk.desk.do(lambda tx: tx.head)
    desk.desk.do(lambda tx: start(tx, STARTED, head.model_copy(update={"seq": 999}), []))
    desk.register(desk.key)
    desk.cut()
    chains = desk.store_chains(tmp_path / "store")
    (tmp_path / "store" / "calgary" / "recordings" / "CAM").mkdir(parents=True)
    (tmp_path / "store" / "calgary" / "recordings" / "CAM" / "000000000001-000000000002.jsonl").touch()
    code, found = told(capsys, tmp_path / "store" / below)
    assert code == 0
    assert {report["chain"] for report in found["verified"]} == {folder.name for folder in chains}
    assert all(report["dock"] == DOCK for report in found["verified"])
    min(chains[1].glob("*.sig")).write_text("spoilt", encoding="ascii")
    code, found = told(capsys, tmp_path / "store" / below)
    assert code == 1
    assert {report["chain"]: report["ok"] for report in found["verified"]}[chains[0].name] is True


def test_a_chain_that_was_emptied_in_a_store_is_no_whole_store(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in chain.iterdir():
        file.unlink()
    code, found = told(capsys, tmp_path / "store")
    assert code == 1
    assert found["verified"][0]["break"]["record"] == 1


def test_a_chain_that_a_later_one_knows_otherwise_was_replaced(
    desk: CustodyDesk, chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = desk.desk.do(lambda tx: tx.head)
    desk.desk.do(lambda tx: start(tx, STARTED, head.model_copy(update={"sha256": "e" * 64}), []))
    desk.cut()
    desk.register(desk.key)
    desk.cut()
    desk.store_chains(tmp_path / "store")
    code, found = told(capsys, tmp_path / "store")
    assert code == 1
    broken = {report["chain"]: report["break"] for report in found["verified"]}[chain.name]
    assert broken["record"] == head.seq
    assert "which came after it" in broken["what"]


def test_exported_records_are_a_chain_without_signatures(
    desk: CustodyDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.busy_day()
    lines = desk.desk.lines()
    file = tmp_path / "chain.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    code, found = told(capsys, file)
    assert code == 0
    assert "not signed" in found["verified"][0]["notes"][0]
    file.write_text("".join(f"{line}\n" for line in lines[1:]), encoding="utf-8")
    code, found = told(capsys, file)
    assert (code, found["verified"][0]["break"]["record"]) == (1, 1)
    file.write_bytes(b"")
    assert told(capsys, file)[0] == 1


# --- heads from elsewhere ----------------------------------------------------------------------------


@pytest.mark.parametrize("within", [None, "dock"], ids=["mqtt", "status"])
def test_a_head_has_to_be_on_the_chain(
    within: str | None, desk: CustodyDesk, chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seq = desk.desk.do(lambda tx: tx.head).seq
    assert told(capsys, chain, "--head", head_file(desk, tmp_path, within=within))[0] == 0
    for more, named in (({"sha256": "e" * 64}, seq), ({"seq": seq + 1}, seq + 1), ({"chain": "0" * 16}, 1)):
        code, found = told(capsys, chain, "--head", head_file(desk, tmp_path, within=within, **more))
        assert (code, found["verified"][0]["break"]["record"]) == (1, named), more


def test_the_signature_of_a_head_is_looked_at(
    desk: CustodyDesk, chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = desk.desk.do(lambda tx: tx.head)
    text = head_text(head.chain, head.seq, head.sha256)
    for signature, code in (
        (desk.key.sign(text), 0),
        (SigningKey.generate().sign(text), 1),
        (desk.key.sign(text + b"\n"), 1),
        (desk.key.sign(text, "another-namespace"), 1),
        ("nonsense", 1),
    ):
        file = head_file(desk, tmp_path, signature=signature)
        assert told(capsys, chain, "--head", file, "--allowed-signers", desk.signers())[0] == code
        assert told(capsys, chain, "--head", file)[0] == code


# --- records that no dock writes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"event": []}, 0),
        ({"event": {"a": 1}}, 0),
        ({"event": "key_registered"}, 1),
        ({"event": "key_registered", "public_key": 5, "fingerprint": None}, 1),
        ({"event": "key_registered", "public_key": "ssh-ed25519 \u00e9", "fingerprint": "x"}, 1),
        ({"event": "key_rotated", "old_public_key": [], "statement": {}}, 1),
        ({"time": 5}, 1),
        ({"time": "9999-12-31T23:59:59.999-23:00"}, 1),
        ({"time": None}, 1),
        ({"dock": None}, 0),
        ({"predecessor": {"chain": 1, "seq": True, "sha256": []}}, 0),
        ({"predecessor": "unknown"}, 0),
        ({"\U0001f600": 1, "\uff5e": 2, "float": 0.1}, 0),
    ],
    ids=str,
)
def test_a_strange_record_is_judged_and_never_a_crash(
    fields: dict[str, object], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = SigningKey.generate()
    lines: list[str] = []
    registered = {"event": "key_registered", "public_key": key.public.line, "fingerprint": key.public.fingerprint}
    for seq, more in enumerate((fields if "predecessor" in fields else {}, registered, fields), start=1):
        prev = line_digest(lines[-1]) if lines else GENESIS
        record = {"seq": seq, "prev": prev, "time": "2026-11-30T12:00:00.000Z", "dock": DOCK, "event": "x", **more}
        lines.append(rfc8785.dumps(record).decode())
    digests = DigestList.of(lines, 0, GENESIS)
    place = tmp_path / "chain" / segment_name(1, 3)
    place.parent.mkdir()
    place.with_suffix(".jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    place.with_suffix(".sha256").write_bytes(digests.text())
    place.with_suffix(".sha256.sig").write_text(key.sign(digests.text()), encoding="ascii")
    got, found = told(capsys, place.parent)
    assert got == code, found["verified"][0]["break"]
    assert code == 0 or found["verified"][0]["break"]["record"] == 3
    assert told(capsys, place.with_suffix(".jsonl"))[0] in (0, 1)


# --- who may sign ------------------------------------------------------------------------------------


def test_without_a_list_of_keys_it_says_that_nobody_vouches(
    chain: Path, desk: CustodyDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("custody", "verify", str(chain)) == 0
    assert "Nobody vouches" in capsys.readouterr().out
    assert exit_code("custody", "verify", str(chain), "--allowed-signers", str(desk.signers())) == 0
    out = capsys.readouterr().out
    assert "Nobody vouches" not in out
    assert f"{desk.key.public.fingerprint}, vouched for by" in out


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{dock} namespaces="dockd-custody" {key}', 0),
        ("{dock} {key}", 0),
        ("calgary/*/* {key}", 0),
        ('{dock} valid-after="20260101Z",valid-before="20270101Z" {key}', 0),
        ('{dock} valid-before="20260101Z" {key}', 1),
        ('{dock} valid-after="20260302Z" {key}', 1),
        ('{dock} namespaces="file" {key}', 1),
        ("calgary/district-4/dock-08 {key}", 1),
        ("{dock} {other}", 1),
        ("", 1),
    ],
)
def test_a_key_counts_for_its_dock_its_purpose_and_its_time(
    line: str, code: int, desk: CustodyDesk, chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "signers"
    other = SigningKey.generate()
    file.write_text(line.format(dock=DOCK, key=desk.key.public.line, other=other.public.line), encoding="ascii")
    assert told(capsys, chain, "--allowed-signers", file)[0] == code


def test_the_list_of_this_machine_is_the_default(
    desk: CustodyDesk, chain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "DEFAULT_SIGNERS", desk.signers(SigningKey.generate()))
    assert told(capsys, chain)[0] == 1
    monkeypatch.setattr(command, "DEFAULT_SIGNERS", desk.signers())
    code, found = told(capsys, chain)
    assert (code, found["allowed_signers"]) == (0, str(desk.root / "allowed_signers"))


def test_a_key_counts_from_the_record_that_names_it_to_the_one_that_replaces_it(
    desk: CustodyDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = desk.key
    desk.busy_day()
    desk.rotate()
    desk.busy_day(path=b"two.mp4")
    desk.cut()
    signers = desk.signers(old, desk.key)
    (folder,) = desk.store_chains(tmp_path / "store")
    assert told(capsys, folder, "--allowed-signers", signers)[0] == 0
    lists = sorted(folder.glob("*.sha256"))
    for file, key in ((lists[0], desk.key), (lists[-1], old)):
        before = file.with_suffix(".sha256.sig").read_bytes()
        file.with_suffix(".sha256.sig").write_text(key.sign(file.read_bytes()), encoding="ascii")
        code, found = told(capsys, folder, "--allowed-signers", signers)
        assert (code, found["verified"][0]["break"]["record"]) == (1, int(file.name[:12]))
        file.with_suffix(".sha256.sig").write_bytes(before)


@pytest.mark.parametrize("fault", ["old", "new", "statement", "not the dock's"])
def test_a_rotation_that_not_both_keys_signed_is_a_break(
    fault: str, desk: CustodyDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, stranger = SigningKey.generate(), SigningKey.generate()
    old = stranger if fault == "not the dock's" else desk.key
    statement = b"the old key is replaced by the new one"
    event = KeyRotated(
        old_public_key=old.public.line,
        new_public_key=new.public.line,
        statement=statement.decode() + ("!" if fault == "statement" else ""),
        old_signature=(stranger if fault == "old" else old).sign(statement),
        new_signature=(stranger if fault == "new" else new).sign(statement),
    )
    seq = desk.desk.do(lambda tx: tx.append(event))
    desk.desk.do(lambda tx: tx.append(STEPPED))
    desk.cut()
    (folder,) = desk.store_chains(tmp_path / "store")
    code, found = told(capsys, folder)
    assert (code, found["verified"][0]["break"]["record"]) == (1, seq)


def test_a_segment_without_one_of_its_parts_is_a_break(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ending in ("jsonl", "sha256", "sha256.sig"):
        file = sorted(chain.glob(f"*.{ending}"))[1]
        data = file.read_bytes()
        file.unlink()
        code, found = told(capsys, chain)
        broken = found["verified"][0]["break"]
        assert (code, broken["record"], broken["file"]) == (1, 7, file.name)
        file.write_bytes(data)
    assert told(capsys, chain)[0] == 0


def test_a_missing_segment_is_named_by_its_first_record(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in chain.glob("000000000007-*"):
        file.unlink()
    code, found = told(capsys, chain)
    assert (code, found["verified"][0]["break"]["record"]) == (1, 7)
    assert "do not follow one another" in found["verified"][0]["break"]["what"]


def test_a_list_that_follows_another_record_is_a_break_even_if_the_dock_signed_it(
    desk: CustodyDesk, chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sorted(chain.glob("*.sha256"))[1]
    file.write_text("e" * 64 + file.read_text()[64:], encoding="ascii")
    file.with_suffix(".sha256.sig").write_text(desk.key.sign(file.read_bytes()), encoding="ascii")
    code, found = told(capsys, chain)
    assert (code, found["verified"][0]["break"]["record"]) == (1, 6)
    assert "follows another record" in found["verified"][0]["break"]["what"]


def test_a_folder_of_another_chains_name_is_a_break(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = told(capsys, chain.rename(chain.with_name("0123456789abcdef")))
    assert (code, found["verified"][0]["break"]["record"]) == (1, 1)


def test_a_name_that_was_made_up_cannot_forge_a_line_of_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "passport"
    folder.mkdir()
    (folder / "records.jsonl").touch()
    (folder / "x\n\x1b[2Jwhole").symlink_to("elsewhere")
    assert exit_code("custody", "verify", str(folder)) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_a_person_who_waits_sees_how_far_it_is(
    chain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = len(b"".join(file.read_bytes() for file in chain.glob("*.jsonl")).splitlines())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert exit_code("custody", "verify", "--json", str(chain)) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["ok"] is True
    assert f"{records:,} records verified" in captured.err

"""A passport is believed nothing that its records and lists do not show, whoever signed it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from command_line import exit_code
from custody_desk import CustodyDesk
from passport_desk import made, records, sign_again

from dockd.custody.keys import SigningKey


def test_lists_without_a_gap_are_asked_for_whoever_signed_what_is_there(
    desk: CustodyDesk, desk_config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = desk.busy_day()
    desk.cut(2)
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 0
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
    desk: CustodyDesk, desk_config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = desk.busy_day()
    desk.cut(2)
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 0
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
    desk: CustodyDesk, desk_config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = desk.busy_day()
    desk.cut(2)
    head = desk.desk.do(lambda tx: tx.head).model_dump()
    out, file = tmp_path / "passport", tmp_path / "head.json"
    assert made(desk, desk_config, out, uid) == 0
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
    whose: str, desk: CustodyDesk, desk_config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    former = desk.key
    uid = desk.busy_day()
    desk.rotate()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 0
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
    desk: CustodyDesk, desk_config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    former = desk.key
    uid = desk.busy_day()
    desk.rotate()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 0
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


def test_a_list_of_recordings_that_no_record_speaks_of_is_found_whoever_signed_it(
    desk: CustodyDesk, desk_config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the dock itself could make it, long after the records were signed and seen by others."""
    uid = desk.busy_day()
    desk.cut()
    out = tmp_path / "passport"
    assert made(desk, desk_config, out, uid) == 0
    digest = hashlib.sha256(b"other footage").hexdigest()
    sums = (out / "SHA256SUMS").read_text()
    (out / "SHA256SUMS").write_text(digest + sums[64:], encoding="ascii")
    sign_again(out, desk.key)
    assert exit_code("custody", "verify", str(out)) == 1
    assert "no record speaks of such content" in capsys.readouterr().out

"""`dockd hold remove`: what is to be signed, by whom, and that nothing less lifts a hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import approvals
import pytest
from command_line import exit_code
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dockd.custody.sshsig import CUSTODY, PublicKey

WHO = ["--reason", "case closed", "--by", "J. Smith"]
OTHER_KEY = Ed25519PrivateKey.generate()
SMITH_KEY = Ed25519PrivateKey.generate()
APPROVERS = [approvals.LINE, f"j.smith {PublicKey.of(SMITH_KEY).line}"]


@pytest.fixture
def approving(config: str, store: Path) -> str:
    """A configuration with a store and approvers."""
    with open(config, "a", encoding="utf-8") as file:
        file.write(f"\n[custody]\napprovers = {json.dumps(APPROVERS)}\n")
    return config


def listed(config: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert exit_code("hold", "list", "--json", "--config", config) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def held(config: str, capsys: pytest.CaptureFixture[str], camera: str = "CAM 1") -> str:
    """A hold over a camera; its name."""
    assert exit_code("hold", "add", "--camera", camera, "--reason", "case 7", "--by", "clerk", "--config", config) == 0
    (name,) = [hold["hold"] for hold in listed(config, capsys) if hold["camera"] == camera]
    return str(name)


def asked(config: str, hold: str, capsys: pytest.CaptureFixture[str], who: list[str] = WHO) -> str:
    """What is to be signed."""
    capsys.readouterr()
    assert exit_code("hold", "remove", hold, *who, "--config", config) == 1
    return capsys.readouterr().out


def bring(config: str, hold: str, signature: str, folder: Path, who: list[str] = WHO) -> int:
    file = folder / "request.txt.sig"
    file.write_text(signature)
    return exit_code("hold", "remove", hold, *who, "--approval", str(file), "--config", config)


def test_without_approval_it_says_what_is_to_be_signed_and_lifts_nothing(
    approving: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hold = held(approving, capsys)
    assert exit_code("hold", "remove", hold, *WHO, "--config", approving) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "dockd hold removal"
    assert lines[-2:] == ["reason: case closed", "by: J. Smith"]
    assert f"hold: {hold}" in lines
    assert "covers: camera CAM%201" in lines
    assert "ssh-keygen -Y sign -f KEY -n dockd-approval request.txt" in said.err
    assert asked(approving, hold, capsys, ["--reason", " case closed", "--by", "J. Smith "]) == said.out
    # Who may: not the one who asks.
    assert "j.doe" in said.err
    assert "j.smith" not in said.err
    assert [each["hold"] for each in listed(approving, capsys)] == [hold]


def test_the_request_is_the_same_bytes_each_time_on_every_dock_and_in_every_language(
    approving: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hold = held(approving, capsys)
    who = ["--reason", "Fall geschlossen \u2013 M\u00fcller", "--by", "J\u00fcrgen"]
    request = asked(approving, hold, capsys, who).encode()
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "state").mkdir(parents=True)
    text = Path(approving).read_text().replace("dock-07", "dock-08").replace(str(tmp_path / "state"), str(elsewhere))
    (elsewhere / "config.toml").write_text(text)
    for locale in ("C.UTF-8", "C", "de_DE.ISO-8859-1"):
        done = subprocess.run(
            [sys.executable, "-m", "dockd", "hold", "remove", hold, *who, "--config", str(elsewhere / "config.toml")],
            env=os.environ | {"LC_ALL": locale, "PYTHONIOENCODING": "latin-1" if "ISO" in locale else ""},
            cwd=elsewhere,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stdout == request


def test_a_second_persons_signature_lifts_it_and_both_are_in_the_store(
    approving: str, store: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "root2")
    hold = held(approving, capsys)
    (found,) = listed(approving, capsys)
    assert (found["by"], found["uid"], found["sudo_user"]) == ("clerk", os.getuid(), "root2")
    request = asked(approving, hold, capsys)
    signed = approvals.ssh_keygen_signs(request, tmp_path)
    assert exit_code("hold", "remove", hold, *WHO, "--approval", str(signed), "--config", approving) == 0
    assert "j.doe approved it" in capsys.readouterr().out
    assert listed(approving, capsys) == []
    lift = json.loads((store / "calgary" / "holds" / f"{hold}.lifted.json").read_bytes())
    assert lift.pop("created").startswith("20")
    assert lift == {
        "hold": hold,
        "reason": "case closed",
        "by": "J. Smith",
        "approver": "j.doe",
        "approver_key": approvals.PUBLIC.line,
        "request": request,
        "signature": signed.read_text(),
        "uid": os.getuid(),
        "sudo_user": "root2",
        "dock": "calgary/district-4/dock-07",
    }
    assert exit_code("hold", "remove", hold, *WHO, "--config", approving) == 64


def test_a_signature_that_is_not_what_is_asked_for_is_refused(
    approving: str, store: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hold = held(approving, capsys)
    other = held(approving, capsys, "CAM 2")
    request = asked(approving, hold, capsys)
    wrong = {
        "": "no armoured",
        approvals.signature(request)[:-40]: "no armoured",
        approvals.signature(request, namespace=CUSTODY): "dockd-custody",
        approvals.signature(asked(approving, other, capsys)): "not of these bytes",
        approvals.signature(asked(approving, hold, capsys, [*WHO[:3], "another"])): "not of these bytes",
        approvals.signature(request, OTHER_KEY): "none of the approvers'",
        approvals.signature(request, SMITH_KEY): "second person",
        "x" * 100_000: "no armoured",
    }
    for signature, why in wrong.items():
        assert bring(approving, hold, signature, tmp_path) == 1
        told = capsys.readouterr()
        assert why in told.err
        assert "stays in force" in told.err
        assert told.out == ""
    assert not list((store / "calgary" / "holds").glob("*.lifted.json"))
    assert {each["hold"] for each in listed(approving, capsys)} == {hold, other}


def test_a_signature_that_is_not_there_is_an_error_and_nothing_is_changed(
    approving: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hold = held(approving, capsys)
    missing = str(tmp_path / "missing.sig")
    assert exit_code("hold", "remove", hold, *WHO, "--approval", missing, "--config", approving) == 74
    assert len(listed(approving, capsys)) == 1


@pytest.mark.usefixtures("store")
def test_where_nobody_may_approve_that_is_said_and_how_to_change_it(
    config: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hold = held(config, capsys)
    assert exit_code("hold", "remove", hold, *WHO, "--config", config) == 78
    assert "[custody] approvers" in capsys.readouterr().err
    assert bring(config, hold, approvals.signature("x"), tmp_path) == 78
    assert len(listed(config, capsys)) == 1
    assert exit_code("check", "--json", "--config", config) in (0, 1)
    lines = {line["name"]: line for line in json.loads(capsys.readouterr().out)}
    assert "none can be lifted" in lines["holds"]["what"]


def test_a_reason_that_could_pass_for_a_line_of_the_request_is_refused(
    approving: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hold = held(approving, capsys)
    for who in (["--reason", "x\nby: another", "--by", "me"], ["--reason", "x", "--by", os.fsdecode(b"m\xff")]):
        assert exit_code("hold", "remove", hold, *who, "--config", approving) == 64
        assert capsys.readouterr().out == ""


def test_a_lift_in_the_store_that_is_not_obeyed_is_named(
    approving: str, store: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hold = held(approving, capsys)
    request = asked(approving, hold, capsys)
    forged = {"hold": hold, "reason": "closed", "by": "clerk", "created": "2026", "dock": "d"}
    (store / "calgary" / "holds" / f"{hold}.lifted.json").write_text(json.dumps(forged))
    assert "nobody's approval" in listed(approving, capsys)[0]["lift_refused"]
    assert exit_code("hold", "list", "--config", approving) == 0
    told = capsys.readouterr().out
    assert f"calgary/holds/{hold}.lifted.json, is not obeyed" in told
    assert f"by clerk (uid {os.getuid()}" in told
    assert exit_code("check", "--json", "--config", approving) in (0, 1)
    lines = {line["name"]: line for line in json.loads(capsys.readouterr().out)}
    assert lines["holds"]["verdict"] == "warning"
    assert bring(approving, hold, approvals.signature(request), tmp_path) == 1
    assert "move it away" in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_commands_that_verify_nothing_do_not_import_cryptography(config: str, tmp_path: Path) -> None:
    code = (
        "import sys; from dockd.cli import main; "
        f"assert main(['hold', 'add', '--camera', 'C', '--reason', 'r', '--by', 'b', '--config', {config!r}]) == 0; "
        f"assert main(['hold', 'list', '--config', {config!r}]) == 0; "
        "sys.exit('cryptography' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)

"""`dockd key …`: made, shown, rotated, lost; the private half is nobody's business."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import exit_code
from config_samples import MINIMAL
from contract.world import DOCK

from dockd.custody.chain import BadLineError
from dockd.custody.keys import SigningKey
from dockd.custody.sshsig import ROTATION, PublicKey, verify
from dockd.custody.trust import KeyBook, rotation_statement
from dockd.events import DockStarted
from dockd.journal.journal import Journal
from dockd.journal.startup import start
from dockd.paths import StatePaths, lock_state_dir
from dockd.runtime.clock import SystemClock
from dockd.stages.keyring import KeyPlace, Keyring

STARTED = DockStarted(version="0", package_sha256="0", configuration_sha256="0", python="0", kernel="0", boot="0")


class Site:
    """A dock's state, and its commands."""

    def __init__(self, root: Path) -> None:
        self.paths = StatePaths(root / "state")
        self.config = root / "config.toml"
        self.config.write_text(MINIMAL.replace("[dock]", f'[dock]\nstate_dir = "{self.paths.state_dir}"'))
        self.place = KeyPlace(self.paths.signing_key)

    def key(self, verb: str) -> int:
        return exit_code("key", verb, "--config", str(self.config))

    def start(self) -> Keyring:
        """What a daemon does with its key when it starts, and is over."""
        self.paths.prepare()
        journal = Journal.open(self.paths.journal, clock=SystemClock(), dock=DOCK)
        try:
            journal.run_in_thread(lambda tx: start(tx, STARTED, None, []))
            return Keyring.open(self.place, journal)
        finally:
            journal.close()

    def records(self, event: str) -> list[dict[str, str]]:
        journal = Journal.open(self.paths.journal, clock=SystemClock(), dock=DOCK)
        try:
            lines = journal.run_in_thread(lambda tx: tx.all("SELECT line FROM record ORDER BY chain, seq"))
        finally:
            journal.close()
        return [record for (line,) in lines if (record := json.loads(line))["event"] == event]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    return Site(tmp_path)


def printed(capsys: pytest.CaptureFixture[str]) -> PublicKey:
    # Above it may stand what is logged.
    principal, namespaces, *key = capsys.readouterr().out.splitlines()[-1].split()
    assert (principal, namespaces) == (DOCK, 'namespaces="dockd-custody"')
    return PublicKey.parse(" ".join(key))


def test_a_key_is_made_once_and_is_its_owners_alone(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.key("init") == 0
    made = printed(capsys)
    assert stat.S_IMODE(site.place.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(site.place.path.parent.stat().st_mode) == 0o700
    assert site.key("init") == 0
    assert printed(capsys) == made
    assert site.key("show") == 0
    assert printed(capsys) == made
    told = subprocess.run(["ssh-keygen", "-l", "-f", site.place.path], capture_output=True, text=True, check=True)
    assert made.fingerprint in told.stdout
    keyring = site.start()
    assert keyring.key is not None
    assert keyring.key.public == made
    assert [record["public_key"] for record in site.records("key_registered")] == [made.line]


def test_a_dock_that_never_had_a_key_makes_one_and_registers_it_once(site: Site) -> None:
    keys = [site.start().key for _ in range(3)]
    assert len({key.public for key in keys if key is not None}) == 1
    assert len(site.records("key_registered")) == 1


@pytest.mark.parametrize("how", ["gone", "spoilt", "another", "readable", "of another kind", "with a passphrase"])
def test_a_key_that_is_not_right_signs_nothing_and_is_not_made_anew(site: Site, how: str) -> None:
    site.start()
    path = site.place.path
    if how == "spoilt":
        path.write_bytes(path.read_bytes()[:-60])
    elif how == "readable":
        path.chmod(0o640)
    else:
        path.unlink()
        if how == "another":
            SigningKey.generate().save(path)
        elif how in ("of another kind", "with a passphrase"):
            kind, phrase = ("ecdsa", "") if how == "of another kind" else ("ed25519", "secret")
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", phrase, "-f", path], check=True)
    keyring = site.start()
    assert keyring.key is None
    assert keyring.problem is not None
    assert keyring.problem.hint
    assert "PRIVATE" not in keyring.problem.message
    assert len(site.records("key_registered")) == 1


def test_a_lost_key_is_replaced_by_a_person_and_that_is_recorded(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    first = site.start().key
    assert first is not None
    site.place.path.unlink()
    assert site.key("show") == 74
    capsys.readouterr()
    assert site.key("init") == 0
    second = printed(capsys)
    assert second != first.public
    keyring = site.start()
    assert keyring.key is not None
    assert keyring.key.public == second
    replaced = site.records("key_registered")[-1]
    assert (replaced["public_key"], replaced["replaces"]) == (second.line, first.public.fingerprint)


@pytest.mark.parametrize("how", ["spoilt", "readable", "another"])
def test_a_key_that_cannot_be_used_is_kept_aside_and_replaced(
    site: Site, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    first = site.start().key
    assert first is not None
    path = site.place.path
    if how == "spoilt":
        path.write_bytes(b"no key")
    elif how == "readable":
        path.chmod(0o644)
    else:
        path.unlink()
        SigningKey.generate().save(path)
    before = path.read_bytes()
    assert site.key("init") == 0
    second = printed(capsys)
    assert second != first.public
    assert path.with_name("signing-key.unusable-1").read_bytes() == before
    keyring = site.start()
    assert keyring.key is not None
    assert keyring.key.public == second


def test_an_exposed_key_names_its_successor(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.start()
    site.place.path.chmod(0o644)
    assert site.key("rotate") == 0
    new = printed(capsys)
    keyring = site.start()
    assert keyring.key is not None
    assert keyring.key.public == new


def test_a_key_folder_that_cannot_be_looked_into_is_a_problem_of_the_key(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.start()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dockd.stages.keyring.finish_rotation", refuse)
    keyring = site.start()
    assert keyring.key is None
    assert keyring.problem is not None


def test_a_rotation_is_signed_by_both(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    old = site.start().key
    assert old is not None
    assert site.key("rotate") == 0
    new = printed(capsys)
    (record,) = site.records("key_rotated")
    statement = record["statement"].encode()
    assert verify(record["old_signature"], "dockd-key-rotation", statement) == old.public
    assert verify(record["new_signature"], "dockd-key-rotation", statement) == new
    assert (record["old_public_key"], record["new_public_key"]) == (old.public.line, new.line)
    assert new.line in record["statement"]
    keyring = site.start()
    assert keyring.key is not None
    assert keyring.key.public == new
    assert len(site.records("key_registered")) == 1


@pytest.mark.parametrize("committed", [True, False])
def test_a_rotation_that_was_cut_off_is_finished_or_forgotten(
    site: Site, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    old = site.start().key
    assert old is not None
    with monkeypatch.context() as patched:
        patched.setattr(
            "dockd.commands.key.os.replace" if committed else "dockd.commands.key.rotate_key",
            lambda *_: (_ for _ in ()).throw(OSError("cut off")),
        )
        assert site.key("rotate") == 74
    keyring = site.start()
    assert keyring.problem is None
    assert keyring.key is not None
    assert (keyring.key.public != old.public) == committed
    assert not site.place.following.exists()


def test_nothing_is_rotated_under_a_running_daemon(site: Site) -> None:
    site.start()
    before = site.place.path.read_bytes()
    lock = lock_state_dir(site.paths)
    assert lock
    assert site.key("rotate") == 69
    assert site.place.path.read_bytes() == before


def test_what_both_keys_signed_hands_over_nothing_unless_it_says_so() -> None:
    old, new = SigningKey.generate(), SigningKey.generate()
    registered = {"event": "key_registered", "seq": 2, "dock": DOCK, "public_key": old.public.line}
    registered["fingerprint"] = old.public.fingerprint
    for statement, good in (
        (rotation_statement(DOCK, "ab" * 8, old.public, new.public), True),
        (rotation_statement(DOCK, "ab" * 8, new.public, old.public), False),
        (rotation_statement("another/dock/there", "ab" * 8, old.public, new.public), False),
        (f"{'0' * 64}  0\n{'1' * 64}  1\n", False),
    ):
        keys = KeyBook()
        keys.learn(registered)
        rotated = {
            "event": "key_rotated",
            "seq": 3,
            "dock": DOCK,
            "old_public_key": old.public.line,
            "new_public_key": new.public.line,
            "statement": statement,
            "old_signature": old.sign(statement.encode(), ROTATION),
            "new_signature": new.sign(statement.encode(), ROTATION),
        }
        if good:
            keys.learn(rotated)
            assert keys.current == new.public
        else:
            with pytest.raises(BadLineError):
                keys.learn(rotated)

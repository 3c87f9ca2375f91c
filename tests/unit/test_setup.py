"""`dockd setup`: what it asks, what it writes, and that it overwrites nothing."""

from __future__ import annotations

import os
import pty
import select
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import exit_code

from dockd.commands.setup import Wishes, setup
from dockd.config import load_config
from dockd.errors import UsageError

DOCKD = Path(sys.executable).with_name("dockd")
NEEDED = ["--agency", "calgary", "--site", "district-4", "--name", "dock-07"]


class Person:
    """Answers in their order; has said all of them at the end."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.asked.append(prompt)
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as root on a machine with dockd's package the tests' folders are the tests' own."""
    monkeypatch.setattr("dockd.commands.service_user.SERVICE_USER", "no such user")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "etc/config.toml"


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    folder = tmp_path / "evidence"
    folder.mkdir()
    return folder


def left(place: Path) -> list[str]:
    return sorted(os.listdir(place.parent)) if place.parent.exists() else []


def test_flags_make_a_configuration_that_loads_and_a_known_store(
    place: Path, evidence: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ["--mqtt", "mqtts://broker.example", "--wipe", "observe", "--bay", "1=1-1.1", "--bay", "2=1-1.2"]
    cameras = ["--camera", "46F4:0001=DCIM/**,*.mp4", "--camera", "1234:abcd", "--accept", "same-disk"]
    folders = ["--folder-cameras", "/run/dockd/cameras"]
    argv = ["setup", *NEEDED, *more, *cameras, *folders, "--store", str(evidence), "--config", str(place)]
    assert exit_code(*argv) == 0
    config = load_config(place)
    assert (config.dock.agency, config.dock.site, config.dock.name) == ("calgary", "district-4", "dock-07")
    assert config.store.kind == "filesystem"
    assert (config.store.path, config.store.accept) == (evidence, ("same-disk",))
    assert config.mqtt is not None
    assert (config.mqtt.url, config.wipe.mode) == ("mqtts://broker.example", "observe")
    assert [(bay.number, bay.usb_port) for bay in config.bays] == [(1, "1-1.1"), (2, "1-1.2")]
    assert [(one.match.vendor, one.match.product, one.recordings) for one in config.cameras] == [
        ("46f4", "0001", ("DCIM/**", "*.mp4")),
        ("1234", "abcd", ("**",)),
    ]
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    assert left(place) == ["config.toml"]
    assert (evidence / ".dockd-store").is_file()
    told = capfd.readouterr().out
    assert "is now a store" in told
    assert f"dockd check --config {place}" in told
    assert "systemctl enable --now dockd" in told
    assert "dock them again" in told


def test_a_configuration_is_never_overwritten(place: Path, evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place.parent.mkdir()
    argv = ["setup", *NEEDED, "--store", str(evidence), "--config", str(place)]
    for there in ("file", "link to nowhere"):
        if there == "file":
            place.write_text("# mine\n")
        else:
            place.unlink()
            place.symlink_to("nowhere")
        assert exit_code(*argv) == 64
        told = capsys.readouterr()
        assert told.out == ""
        assert "never overwritten" in told.err
        assert left(place) == ["config.toml"]
    assert os.readlink(place) == "nowhere"
    assert os.listdir(evidence) == []


def test_one_that_comes_meanwhile_is_not_overwritten_either(place: Path, evidence: Path) -> None:
    class Slow(Person):
        def __call__(self, prompt: str) -> str:
            if not place.exists():
                place.parent.mkdir()
                place.write_text("# theirs\n")
            return super().__call__(prompt)

    person = Slow("calgary", "site", "dock", str(evidence), "", "", "", "")
    with pytest.raises(UsageError, match="never overwritten"):
        setup(place, Wishes(), person)
    assert place.read_text() == "# theirs\n"
    assert left(place) == ["config.toml"]


@pytest.mark.parametrize(
    ("more", "code", "what"),
    [
        (["--agency", "Calgary PD"], 78, "dock.agency"),
        (["--store", "evidence"], 78, "store.path"),
        (["--mqtt", "http://broker"], 78, "mqtt.url"),
        (["--bay", "1=1-1.1", "--bay", "1=1-1.2"], 78, "bay"),
        (["--bay", "1=usb1"], 78, "usb_port"),
        (["--bay", "1-1.1"], 64, "NUMBER=PORT"),
        (["--camera", "46f4"], 64, "VENDOR:PRODUCT"),
        (["--camera", "46f4:1=DCIM/**"], 78, "product"),
        (["--camera", "46f4:0001=/DCIM"], 78, "recordings"),
        (["--accept", "anything"], 78, "accept"),
        (["--wipe", "yes"], 64, "--wipe"),
        (["--name", 'a"\nb'], 78, "dock.name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_used_is_said_and_nothing_is_written(
    more: list[str], code: int, what: str, place: Path, evidence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["setup", *NEEDED, "--store", str(evidence), *more, "--config", str(place)]
    assert exit_code(*argv) == code
    told = capsys.readouterr()
    assert what in told.err
    assert told.out == ""
    assert left(place) == []
    assert os.listdir(evidence) == []


def test_what_is_laid_over_it_is_looked_at_too(place: Path, evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place.parent / "conf.d").mkdir(parents=True)
    (place.parent / "conf.d/bays.toml").write_text('[[bay]]\nnumber = 1\nusb_port = "1-9"\n')
    argv = ["setup", *NEEDED, "--store", str(evidence), "--bay", "1=1-1", "--config", str(place)]
    assert exit_code(*argv) == 78
    assert "bays.toml" in capsys.readouterr().err
    assert left(place) == ["conf.d"]


def test_what_is_missing_is_named_where_nobody_can_be_asked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("setup", "--agency", "calgary", "--config", str(place)) == 64
    told = capsys.readouterr().err
    assert "--site, --name, --store" in told
    assert "--agency" not in told
    assert left(place) == []


def test_a_person_is_asked_until_the_answer_can_be_used(
    place: Path, evidence: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    person = Person(
        *("Calgary PD", "calgary", "", "dock-07", "here", str(evidence), "", "perhaps", "observe", ""),
        *("1=1-1.1 2=1-1.2", "46f4:0001=DCIM/**"),
    )
    assert setup(place, Wishes(), person) == 0
    config = load_config(place)
    assert (config.dock.agency, config.dock.site, config.dock.name) == ("calgary", "main", "dock-07")
    assert (config.mqtt, config.wipe.mode, config.folder_cameras) == (None, "observe", None)
    assert (len(config.bays), len(config.cameras)) == (2, 1)
    assert person.answers == []
    # Each is a sentence and names what is taken for an empty answer.
    for prompt in person.asked:
        assert "? " in prompt
        assert prompt.endswith("]: ")
    assert capfd.readouterr().out.count("That cannot be used; expected ") == 3


def test_all_questions_have_an_answer_that_can_be_used(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert setup(place, Wishes(store_init=False), Person(*[""] * 8)) == 0
    config = load_config(place)
    assert (config.wipe.mode, config.mqtt, config.bays) == ("off", None, ())
    assert f"dockd store init --config {place}" in capfd.readouterr().out


def test_nothing_is_asked_when_enough_was_given(place: Path, evidence: Path) -> None:
    person = Person()
    assert setup(place, Wishes(agency="a", site="b", name="c", store=str(evidence)), person) == 0
    assert person.asked == []


def test_who_gives_no_answer_has_nothing_written(place: Path, evidence: Path) -> None:
    with pytest.raises(UsageError, match="no answer"):
        setup(place, Wishes(), Person("calgary", "site"))
    assert left(place) == []


def test_a_store_that_is_not_there_is_made_only_if_that_is_wanted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A share that is not mounted yet must not become a folder of the dock's own disk."""
    store = tmp_path / "share"
    needed = {"agency": "a", "site": "b", "name": "c"}
    assert setup(tmp_path / "1/config.toml", Wishes(**needed, store=str(store))) == 69
    assert not store.exists()
    told = capfd.readouterr().out
    assert "install -d" in told
    assert "dockd store init" in told
    for number, answer in enumerate(("", "no", "yes")):
        person = Person("a", "b", "c", str(store), "", "", "", "", answer)
        setup(tmp_path / f"asked{number}/config.toml", Wishes(), person)
        assert store.exists() is (answer == "yes")
    assert (store / ".dockd-store").is_file()
    other = tmp_path / "other"
    assert setup(tmp_path / "2/config.toml", Wishes(**needed, store=str(other), make_store=True)) == 0
    assert (other / ".dockd-store").is_file()


def test_a_store_that_is_left_alone(place: Path, evidence: Path) -> None:
    wishes = Wishes(agency="a", site="b", name="c", store=str(evidence), store_init=False)
    assert setup(place, wishes) == 0
    assert os.listdir(evidence) == []


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    for fd in (ours, theirs):
        os.close(fd)


def test_the_installed_program_asks_on_a_terminal(place: Path, evidence: Path, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    command = [str(DOCKD), "setup", "--store", str(evidence), "--no-store-init", "--config", str(place)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        seen = b""
        deadline_s = time.monotonic() + 120
        for answer in (b"calgary", b"", b"", b"", b"", b"", b""):
            while not seen.endswith(b"]: "):
                assert time.monotonic() < deadline_s, seen
                if select.select([ours], [], [], 1)[0]:
                    seen += os.read(ours, 4096)
            seen = b""
            os.write(ours, answer + b"\n")
        assert process.wait(120) == 0
    assert load_config(place).dock.agency == "calgary"

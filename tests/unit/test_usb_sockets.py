"""The sockets of hubs, and how `dockd bays` tells of them."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from command_line import exit_code
from usb_samples import device

from dockd.commands import bays as command
from dockd.commands.bays import ports_as_toml
from dockd.usb.sockets import Socket, sockets

USB1 = "pci0000:00/0000:00:14.0/usb1"
USB2 = "pci0000:00/0000:00:14.0/usb2"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two ports of its own, in the first a hub with 4, whose halves for fast devices are 2-1's."""
    root = tmp_path / "devices"
    listed = tmp_path / "bus"
    listed.mkdir()

    def hub(place: str, count: int, interface: str) -> None:
        (root / place / interface).mkdir(parents=True)
        (root / place / "maxchild").write_text(f"{count}\n")
        (listed / Path(place).name).symlink_to(root / place)
        (listed / interface).symlink_to(root / place / interface)
        for number in range(1, count + 1):
            (root / place / interface / f"{Path(place).name}-port{number}").mkdir()

    hub(USB1, 2, "1-0:1.0")
    hub(USB2, 2, "2-0:1.0")
    hub(f"{USB1}/1-1", 4, "1-1:1.0")
    hub(f"{USB2}/2-1", 4, "2-1:1.0")
    for one, other in ((USB1, USB2), (USB2, USB1)):
        a, b = one[-1], other[-1]
        for number in (1, 2):
            place = root / one / f"{a}-0:1.0/usb{a}-port{number}/peer"
            place.symlink_to(root / other / f"{b}-0:1.0/usb{b}-port{number}")
        for number in (1, 2, 3, 4):
            place = root / one / f"{a}-1/{a}-1:1.0/{a}-1-port{number}/peer"
            place.symlink_to(root / other / f"{b}-1/{b}-1:1.0/{b}-1-port{number}")
    camera = root / USB1 / "1-1/1-1.3"
    camera.mkdir()
    (camera / "maxchild").write_text("0\n")
    (listed / "1-1.3").symlink_to(camera)
    return listed


def test_each_socket_of_each_hub_is_listed_with_its_other_half(machine: Path) -> None:
    found = {socket.port: socket for socket in sockets(machine)}
    assert list(found) == [f"1-{n}" for n in ("1", "1.1", "1.2", "1.3", "1.4", "2")] + [
        f"2-{n}" for n in ("1", "1.1", "1.2", "1.3", "1.4", "2")
    ]
    assert found["1-1"] == Socket("1-1", "", "2-1", holds_hub=True)
    assert found["1-1.3"] == Socket("1-1.3", "1-1", "2-1.3", holds_hub=False)


def test_a_machine_without_usb_has_none(tmp_path: Path) -> None:
    assert sockets(tmp_path) == []
    assert sockets(tmp_path / "none") == []


def listed(lines: list[str]) -> dict[str, int]:
    return {bay["usb_port"]: bay["number"] for bay in tomllib.loads("\n".join(lines)).get("bay", [])}


def test_the_hubs_ports_are_bays_each_once(machine: Path) -> None:
    lines = list(ports_as_toml(sockets(machine), {"1-1.3": device("1-1.3")}, {}))
    assert listed(lines) == {"1-1.1": 1, "1-1.2": 2, "1-1.3": 3, "1-1.4": 4}
    text = "\n".join(lines)
    assert "holds 46f4:0001 CAM1 (storage, 1.0 GiB, vfat); the same socket is 2-1.3" in text


def test_of_two_halves_the_one_in_use_is_shown(machine: Path) -> None:
    assert listed(list(ports_as_toml(sockets(machine), {"2-1.3": device("2-1.3")}, {}))) == {
        "1-1.1": 1,
        "1-1.2": 2,
        "1-1.4": 3,
        "2-1.3": 4,
    }


def test_numbers_that_are_configured_stay_and_are_given_to_no_other(machine: Path) -> None:
    numbers = {"1-1.4": 1, "9-9": 7}
    lines = list(ports_as_toml(sockets(machine), {}, numbers))
    assert listed(lines) == {"1-1.1": 2, "1-1.2": 3, "1-1.3": 4, "1-1.4": 1, "9-9": 7}
    assert "this machine has no such port now" in "\n".join(lines)


def test_a_keyboard_is_no_bay_and_its_port_stands_in_no_line_to_paste(machine: Path) -> None:
    lines = list(ports_as_toml(sockets(machine), {"1-2": device("1-2", interfaces=("03",))}, {}))
    assert "1-2" not in listed(lines)
    (line,) = [line for line in lines if "1-2" in line]
    assert line.startswith("# 1-2 is no bay: ")
    assert "a keyboard or mouse" in line
    assert "usb_port" not in line


def test_a_machine_without_hubs_offers_its_own_ports() -> None:
    found = [Socket("1-1", "", "", holds_hub=False), Socket("1-2", "", "", holds_hub=False)]
    assert listed(list(ports_as_toml(found, {}, {}))) == {"1-1": 1, "1-2": 2}


def test_hostile_serials_stay_in_their_comment(machine: Path) -> None:
    evil = device("1-1.3", serial=b'x"\n[[bay]]\nnumber = 666\nusb_port = "6-6"')
    assert 666 not in listed(list(ports_as_toml(sockets(machine), {"1-1.3": evil}, {}))).values()


def test_the_command_needs_no_configuration(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "sockets", lambda: sockets(machine))
    monkeypatch.setattr(command, "list_devices", dict)
    monkeypatch.setattr(command, "DEFAULT_PLACE", tmp_path / "none.toml")
    assert exit_code("bays", "--config", str(tmp_path / "none.toml")) == 0
    assert len(listed(capsys.readouterr().out.split("\n"))) == 4
    monkeypatch.setattr(command, "sockets", list)
    assert exit_code("bays", "--config", str(tmp_path / "none.toml")) == os.EX_UNAVAILABLE

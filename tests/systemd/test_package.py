"""The package, as a station's Debian installs, upgrades and removes it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from systemd.station import Station

MIB = 1 << 20
FILES = {b"a.mp4": 3 * MIB, b"b/b.mp4": 5000}
pytestmark = pytest.mark.systemd


def repacked(station: Station, build: Path, version: str, unit_line: str = "") -> str:
    """The same package under another version; where it lies inside."""
    stage = station.root / f"stage-{version}"
    subprocess.run(["dpkg-deb", "--raw-extract", build / "dockd.deb", stage], check=True)
    control = stage / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(), flags=re.MULTILINE))
    if unit_line:
        unit = stage / "usr/lib/systemd/system/dockd.service"
        unit.write_text(unit.read_text().replace("[Service]\n", f"[Service]\n{unit_line}\n"))
    package = station.srv / f"{version}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", stage, package], check=True, capture_output=True
    )
    return f"/srv/{version}.deb"


def test_it_is_installed_whole_and_does_nothing_by_itself(bare):
    assert bare.ask("dpkg", "--verify", "dockd") == ""
    assert bare.ask("dpkg", "--audit") == ""
    assert bare.ask("systemctl", "is-enabled", "dockd", codes=range(256)).strip() == "disabled"
    assert bare.ask("systemctl", "is-active", "dockd", codes=range(256)).strip() == "inactive"
    journal = bare.ask("journalctl", "--boot", "--no-pager")
    assert not re.search(r"dockd.*(error|invalid|unknown)", journal, re.IGNORECASE)
    assert bare.ask("dockd", "--version").startswith("dockd ")
    places = ("/var/lib/dockd", "/etc/dockd", "/etc/dockd/conf.d", "/etc/dockd/credentials")
    said = bare.ask("stat", "--format=%n %U:%G %a", *places).splitlines()
    modes = ("dockd:dockd 750", "root:root 755", "root:root 755", "root:root 700")
    assert said == [f"{place} {mode}" for place, mode in zip(places, modes, strict=True)]
    # udev reads the rules without a word about them. 252 has no `udevadm verify`.
    said = bare.run("udevadm", "test", "/sys/devices/virtual/net/lo")
    assert re.findall(r".*70-dockd.*", said.stdout + said.stderr) == [
        "Reading rules file: /usr/lib/udev/rules.d/70-dockd.rules"
    ]
    # All of it was compiled, for this Python: nothing is compiled again at each start.
    compiled = bare.ask("find", "/opt/dockd", "-name", "*.pyc").split()
    assert {path.rsplit(".", 2)[1] for path in compiled} == {"cpython-" + python_of(bare)}


def python_of(machine) -> str:
    return machine.ask("/usr/bin/python3", "-c", "import sys; print('%d%d' % sys.version_info[:2])").strip()


def test_three_commands_make_a_dock_of_it(bare):
    given = ("--agency", "calgary", "--site", "district-4", "--name", "dock-07", "--store", "/srv/evidence")
    assert bare.run("dockd", "setup", *given).returncode == 69, "a share that is not mounted is not made up"
    bare.ask("rm", "/etc/dockd/config.toml")
    bare.ask("dockd", "setup", *given, "--accept", "same-disk", "--bay", "1=1-1.1", "--make-store")
    made = bare.ask("stat", "--format=%U %a", "/etc/dockd/config.toml", "/srv/evidence/.dockd-store").split("\n")
    assert made[:2] == ["root 644", "dockd 640"]
    assert bare.run("/usr/lib/dockd/bay-of-port", "1-1.1").returncode == 0
    said = bare.run("dockd", "check")
    assert "failed" not in said.stdout, said.stdout + said.stderr
    bare.ask("systemctl", "enable", "--now", "dockd")
    assert bare.ask("systemctl", "is-active", "dockd").strip() == "active"
    assert "calgary/district-4/dock-07" in bare.ask("dockd", "status")
    assert bare.run("dockd", "setup", *given).returncode == 64


def test_an_upgrade_starts_again_what_ran_and_loses_nothing(station, build):
    newer = repacked(station, build, "0.99.0", "# one line more")
    pid = station.show("MainPID")
    station.freeze_one_offloading()
    station.machine.ask("dpkg", "--install", newer)
    assert station.show("ActiveState") == "active"
    assert station.show("MainPID") != pid
    assert (station.show("NRestarts"), station.show("NeedDaemonReload")) == ("0", "no")
    station.finish()
    # And back: the same version is a downgrade then.
    station.machine.ask("dpkg", "--install", "--force-downgrade", "/mnt/dockd.deb")
    assert station.show("ActiveState") == "active"
    station.finish()


def test_an_upgrade_leaves_a_stopped_one_stopped(station, build):
    assert station.term() == 0
    station.machine.ask("dpkg", "--install", repacked(station, build, "0.99.0"))
    assert station.show("ActiveState") == "inactive"
    station.start()
    station.cameras.add("CAM1", FILES)
    station.finish()


def test_removing_it_stops_it_and_purging_it_keeps_the_evidence(station):
    station.machine.ask("systemctl", "enable", "dockd.service")
    station.cameras.add("CAM1", FILES)
    station.finish()
    config = (station.etc / "config.toml").read_bytes()
    station.machine.ask("dpkg", "--remove", "dockd")
    assert station.show("ActiveState") == "inactive"
    assert "kept" in station.machine.ask("dpkg", "--purge", "dockd")
    assert station.machine.run("test", "-e", "/opt/dockd").returncode == 1
    assert not list(station.units.rglob("dockd*"))
    assert station.machine.run("test", "-e", "/usr/lib/udev/rules.d/70-dockd.rules").returncode == 1
    assert (station.etc / "config.toml").read_bytes() == config
    assert (station.state / "journal.db").stat().st_size > 0
    # What was kept is taken up by what is installed anew.
    station.machine.ask("dpkg", "--install", "/mnt/dockd.deb")
    assert station.show("ActiveState") == "inactive"
    station.start()
    station.cameras.add("CAM2", FILES)
    station.finish()

"""The service under a real systemd, from boot to halt."""

import re
import time

import pytest
from e2e.broker import Broker, Listener, free_port

MIB = 1 << 20
FILES = {b"a.mp4": 3 * MIB, b"b/b.mp4": 5000}
RESTARTS = 20
pytestmark = pytest.mark.systemd


def exits(station) -> list[str]:
    """How the service's processes ended that did not end well, as systemd says it."""
    said = station.journal("--unit=init.scope")
    return re.findall(r"dockd\.service: (?:Main process exited|Failed with result).*", said)


def test_it_starts_works_and_stops(station):
    pid = station.show("MainPID")
    assert station.machine.ask("stat", "--format=%U", f"/proc/{pid}").strip() == "dockd"
    station.cameras.add("CAM1", FILES)
    station.finish()
    station.until(lambda: station.show("StatusText") == "0 of 1 bays busy; unaccounted 0", "the status line")
    assert station.term() == 0
    assert (station.show("Result"), station.show("ActiveState")) == ("success", "inactive")
    assert not exits(station)


def test_its_log_can_be_asked_by_bay_and_camera(station):
    station.cameras.add("CAM1", FILES)
    station.cameras.add("CAM2", FILES)
    station.finish()
    of_bay = station.journal("DOCKD_BAY=folder-CAM1")
    assert of_bay
    assert "CAM2" not in of_bay
    assert station.journal("DOCKD_CAMERA=CAM2")
    assert not station.journal("DOCKD_BAY=folder-CAM3").replace("-- No entries --", "").strip()


@pytest.mark.timeout(900)
def test_restarts_in_the_middle_of_an_offload_lose_nothing(station):
    met = 0
    for number in range(3 * RESTARTS):
        if not station.freeze_offloading(f"CAM{number}"):
            # Whole copies that are still in the spool would be taken for the next camera's.
            station.finish()
            continue
        met += 1
        station.started_ns = time.time_ns()
        station.machine.ask("systemctl", "restart", "dockd.service")
        if met == RESTARTS:
            break
    station.finish(timeout_s=300)
    assert met == RESTARTS, "each restart comes while a camera is copied"
    assert len(station.events("dock_started")) == RESTARTS + 1
    assert station.show("NRestarts") == "0"
    assert not exits(station)


def test_one_that_hangs_is_started_again(station):
    station.drop_in("WatchdogSec=3s", "TimeoutStopSec=5s")
    station.machine.ask("systemctl", "restart", "dockd.service")
    station.freeze_one_offloading()
    station.wait_unit({"NRestarts": "1", "ActiveState": "active"}, "systemd starts it again")
    assert any("watchdog" in line for line in exits(station))
    station.finish()
    # And one that does its work is left alone.
    time.sleep(8)
    assert station.show("NRestarts") == "1"


def test_one_that_is_killed_is_started_again(station):
    station.freeze_one_offloading()
    station.kill()
    station.wait_unit({"NRestarts": "1", "ActiveState": "active"}, "systemd starts it again")
    station.finish()


def test_a_wrong_configuration_ends_it_for_good(station):
    assert station.term() == 0
    config = station.etc / "config.toml"
    right = config.read_text()
    config.write_text(right.replace('"on"', '"perhaps"'))
    assert station.machine.run("systemctl", "start", "dockd.service").returncode != 0
    time.sleep(8)
    assert station.show("ActiveState") == "failed"
    assert (station.show("ExecMainStatus"), station.show("NRestarts")) == ("78", "0")
    assert "perhaps" in station.log_tail()
    config.write_text(right)
    station.start()
    station.cameras.add("CAM1", FILES)
    station.finish()


def test_a_machine_boots_without_broker_and_store_and_the_work_is_taken_up(make_station):
    port = free_port()
    station = make_station(mqtt=(("url", f"mqtt://127.0.0.1:{port}"),))
    station.boot()
    station.machine.ask("systemctl", "enable", "dockd.service")
    station.machine.halt()
    station.cameras.add("CAM1", FILES)
    station.started_ns = time.time_ns()
    station.boot()
    station.wait_unit({"ActiveState": "active"}, "the service is up")
    held = 3 * MIB + 5000
    status = station.wait(lambda s: (s["spool"]["used_bytes"] or 0) >= held, "the spool holds them")
    assert not status["counts"]["in_store"]
    station.wait_alert("store_unavailable")
    station.init_store()
    broker = Broker(station.root / "broker", port=port).start()
    try:
        with Listener(port) as listener:
            listener.wait(lambda: listener.last("availability"), "the dock")
            station.finish()
            listener.wait(lambda: listener.all("event"), "its events")
        # With the Python of the machine, which is not the one that the other tests run with.
        for _ in range(3):
            broker.kill()
            station.wait_alert("mqtt_unavailable")
            broker.start()
            with Listener(port) as listener:
                listener.wait(lambda: listener.last("state"), "the dock again", 60)
        station.machine.halt()
    finally:
        broker.kill()


def test_a_reload_takes_up_the_configuration(station):
    pid = station.show("MainPID")
    station.configure(wipe_mode="off")
    station.machine.ask("systemctl", "reload", "dockd.service")
    station.cameras.add("CAM1", FILES)
    station.wait_stored()
    station.wait_idle()
    assert station.cameras.file("CAM1", b"a.mp4").exists()
    assert (station.show("ActiveState"), station.show("MainPID")) == ("active", pid)


@pytest.mark.parametrize("place", ["/media/dockd/CAM", "/run/media/dockd/CAM"])
def test_what_is_mounted_after_its_start_can_be_written_to_and_what_was_mounted_before_too(station, place):
    owner = station.machine.ask("id", "--user", "dockd").strip()
    station.machine.ask("mkdir", "--parents", place)
    station.machine.ask("mount", "-t", "tmpfs", "-o", f"uid={owner},nosuid,nodev,noexec", "camera", place)
    for _ in range(2):
        # As the service itself: its mounts, its user, its rights.
        inside = ("nsenter", f"--target={station.show('MainPID')}", "--mount", "--setuid", owner, "--")
        station.machine.ask(*inside, "sh", "-c", f"echo x >{place}/file && cat {place}/file && rm {place}/file")
        assert station.machine.run(*inside, "sh", "-c", "echo x >/etc/dockd/file").returncode != 0
        station.machine.ask("systemctl", "restart", "dockd.service")
    # And it can be taken away: the service holds on to nothing.
    station.machine.ask("umount", place)
    inside = ("nsenter", f"--target={station.show('MainPID')}", "--mount", "--", "cat", "/proc/self/mountinfo")
    assert place not in station.machine.ask(*inside)


FINDS_CAMERAS = """
import os, socket
heard = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)
heard.bind((0, 2))
socket.socket(socket.AF_UNIX).connect("/run/dbus/system_bus_socket")
os.listdir("/sys/block"), os.listdir("/sys/bus"), os.listdir("/run/udev")
assert os.getuid() != 0
"""


def test_with_its_few_rights_it_reaches_what_cameras_are_found_with(station):
    """What udev tells over netlink, its database, /sys, and D-Bus; asked before the daemon starts, with its rights."""
    station.machine.ask("mkdir", "--parents", "/run/udev")
    (station.srv / "finds.py").write_text(FINDS_CAMERAS)
    station.drop_in("ExecStartPre=/usr/bin/python3 -I /srv/finds.py")
    station.machine.ask("systemctl", "restart", "dockd.service")
    assert station.show("ActiveState") == "active"

"""Cards that give errors, docks that lose their power, services that are away, and devices that are no cameras."""

import pytest
from e2e.usb.gadgets import Gadget, port_of
from e2e.usb.images import Volume
from e2e.usb.station import PROFILE, alerts

MIB = 1 << 20
pytestmark = [pytest.mark.usb, pytest.mark.timeout(2400)]
KINDS = ("vfat", "exfat", "ext4")


def test_a_read_error_concerns_its_recording_alone(station):
    for bay, kind in enumerate(KINDS, start=1):
        cam = station.camera(f"CAM{bay}", kind, {"a.mp4": 200_000, "b.mp4": 2 * MIB, "c.mp4": 300_000})
        bad = cam.card.sector_of(b"DCIM/b.mp4", MIB)
        station.plug(cam, bay, read_errors=[bad])
        cam.flag(b"DCIM/b.mp4", "blocked")
        cam.flag(b"DCIM/a.mp4", "held")
        cam.flag(b"DCIM/c.mp4", "held")
    station.wait_counts(in_store=6)
    station.wait(lambda s: len(alerts(s, "recording_unreadable")) == 3, "three recordings cannot be read")
    status = station.wait(lambda s: len(alerts(s, "wipe_blocked")) == 3, "nothing is wiped")
    assert [bay["state"] for bay in status["bays"][:3]] == ["attention"] * 3
    assert status["counts"]["wiped"] == 0
    said = station.explain("CAM1")
    assert "recording_unreadable" in said
    assert "Keep the camera back and look at its card." in said
    station.judge()


def test_a_card_that_takes_no_deletion_is_not_called_wiped(station):
    for bay, (kind, fault) in enumerate(
        (("vfat", {"no_writes": True}), ("ext4", {"no_writes": True}), ("exfat", {"read_only": True})), start=1
    ):
        cam = station.camera(f"CAM{bay}", kind, {"a.mp4": 200_000, "b.mp4": 50_000})
        for path in (b"DCIM/a.mp4", b"DCIM/b.mp4"):
            cam.flag(path, "held")
        station.plug(cam, bay, **fault)
    status = station.wait(lambda s: len(alerts(s, "wipe_blocked")) == 3, "nothing can be wiped")
    assert status["counts"]["in_store"] == 6
    assert status["counts"]["wiped"] == 0
    assert "the card took no deletion" in station.explain("CAM1")
    # It is tried again and again; each time all is closed again.
    closed = "n=0; while grep -q 0 /sys/block/sd?/ro; do n=$((n+1)); [ $n -lt 600 ] || exit 1; sleep 0.1; done"
    assert station.machine.shell(closed).code == 0
    station.judge(finished=True)


CUTS = {
    "offload": "grep -q '\"offloading\"' /var/lib/dockd/status.json",
    "upload": "ls /srv/evidence/calgary/recordings/*/.*.partial >/dev/null 2>&1",
    "confirm": "ls /srv/evidence/calgary/recordings/*/[0-9a-f]* >/dev/null 2>&1",
    "wipe": "grep -q 0 /sys/block/sd?/ro",
}


@pytest.mark.parametrize("kinds", [("vfat", "ext4"), ("exfat", "vfat")])
def test_power_cuts_during_each_stage(make_station, told, kinds):
    cuts = 0
    station = make_station()
    station.start()
    for number, (stage, condition) in enumerate(CUTS.items()):
        cam = station.camera(f"CAM{number}", kinds[number % 2], {"a.mp4": 12 * MIB, "b.mp4": 40_000})
        # Of each cut its own camera's folder in the store.
        station.plug(cam, number + 1, bps=6 * MIB)
        wanted = condition.replace("recordings/*", f"recordings/CAM{number}")
        done = station.machine.shell(f"n=0; until {wanted}; do n=$((n+1)); [ $n -lt 100000 ] || exit 1; done")
        assert done.code == 0, f"the dock was never seen to {stage}"
        station.cut_power()
        cuts += 1
        station.power_on()
        station.wait(lambda s, n=number: s["counts"]["wiped"] >= 2 * (n + 1), f"all is wiped after a cut in {stage}")
    told("power_cuts", cuts)
    station.finish()


def test_services_that_are_away_or_refuse_are_named(station):
    station.machine.ask("systemctl", "mask", "--now", "udisks2")
    cam = station.camera("CAM1", "vfat", {"a.mp4": 3 * MIB})
    station.plug(cam, 1)
    alert = station.wait_alert("camera_not_mounted")
    assert "apt-get install udisks2" in alert["what"]
    assert "apt-get install udisks2" in station.explain("CAM1")
    rule = "/usr/share/polkit-1/rules.d/50-dockd.rules"
    station.machine.shell(f"mv {rule} /root/; systemctl restart polkit; systemctl unmask udisks2")
    station.machine.ask("systemctl", "start", "udisks2")
    station.wait(
        lambda s: any("50-dockd.rules" in a["what"] for a in alerts(s, "camera_not_mounted")), "the rule is named"
    )
    station.machine.shell(f"mv /root/50-dockd.rules {rule}; systemctl restart polkit")
    station.wait_counts(in_store=1)
    other = station.camera("CAM2", "ext4", {"a.mp4": 6 * MIB})
    station.plug(other, 2, bps=MIB)
    station.wait_bay(2, "offloading")
    station.machine.ask("systemctl", "restart", "udisks2")
    station.machine.full_speed("CAM2")
    station.finish()


def test_what_is_no_camera_is_refused(make_station):
    station = make_station()
    station.boot()
    port = port_of(station.machine)
    station.more = f'[[bay]]\nnumber = 9\nusb_port = "{port}"\n'
    station.machine.agent.write("/etc/dockd/config.toml", station.config().encode())
    station.start()
    station.machine.add_keyboard(1)
    Gadget(station.machine, "both", serial="TYPING1", keyboard=True).plug()
    stray = station.camera("STRAY", "vfat", {"a.mp4": 70_000})
    station.plug(stray, None)
    status = station.wait(
        lambda s: len(alerts(s, "device_refused")) == 2 and alerts(s, "port_not_listed"), "three devices are refused"
    )
    assert {alert["subject"] for alert in alerts(status, "device_refused")} == {"bay-1", "bay-9"}
    assert all("a keyboard or mouse (interface class 03)" in a["what"] for a in alerts(status, "device_refused"))
    assert station.bay(status, 9)["state"] == "attention"
    assert "keyboard" in station.explain("TYPING1")
    assert "which is no bay" in station.explain("STRAY")
    assert station.machine.shell("grep ^/dev/sd /proc/1/mounts").code != 0
    assert not station.events("camera_docked")
    station.pull(stray)
    station.plug(stray, 3)
    station.finish()


def test_two_cameras_with_one_serial_are_not_wiped(station):
    one = station.camera("ONE", "vfat", {"a.mp4": 8 * MIB}, serial="TWIN")
    two = station.camera("TWO", "exfat", {"b.mp4": 90_000}, serial="TWIN")
    station.plug(one, 1, bps=MIB // 2)
    station.wait_bay(1, "offloading")
    station.plug(two, 2)
    station.wait_alert("identity_clash")
    station.machine.full_speed("ONE")
    station.wait_counts(in_store=1)
    status = station.wait_quiet()
    assert status["counts"]["wiped"] == 0
    assert "Take one out" in station.explain("TWIN")
    station.pull(two)
    station.wait_counts(wiped=1)
    station.pull(one)
    station.plug(two, 2)
    station.wait_counts(wiped=2)
    station.wait_quiet()
    station.judge(finished=True)


def test_events_that_are_lost_are_made_up_for(station):
    pid = station.machine.ask("systemctl", "show", "--value", "--property=MainPID", "dockd").strip()
    station.machine.ask("kill", "-STOP", pid)
    cam = station.camera("CAM1", "vfat", {"a.mp4": 200_000})
    station.machine.shell("for n in $(seq 40); do udevadm trigger -s block -s usb -s mem; udevadm settle; done")
    station.plug(cam, 4)
    station.machine.shell("sleep 5")
    station.machine.ask("kill", "-CONT", pid)
    station.wait(lambda s: s["usb"]["monitor_restarts"] > 0, "a new monitor")
    station.finish()


def test_a_medium_swapped_inside_a_camera_is_another_docking(make_station):
    station = make_station(profile=PROFILE.replace("recordings", 'serial = "filesystem"\nrecordings'))
    station.boot()
    port = port_of(station.machine)
    station.more = f'[[bay]]\nnumber = 9\nusb_port = "{port}"\n'
    station.machine.agent.write("/etc/dockd/config.toml", station.config().encode())
    first = station.card("FIRST", Volume("vfat", {b"DCIM/a.mp4": station.content("a", 12 * MIB)}, size=48 * MIB))
    second = station.card("SECOND", Volume("vfat", {b"DCIM/b.mp4": station.content("b", 70_000)}))
    for port_name, cam in (("rp3", first), ("rp4", second)):
        station.machine.add_disk(cam.card.image, port_name, cam.name)
        cam.serial_from_uuid()
    station.start()
    gadget = Gadget(station.machine, "reader", serial="READER", lun="/dev/disk/by-id/virtio-FIRST")
    gadget.plug()
    station.wait(lambda s: s["bays"][8]["state"] not in ("empty", "identifying"), "the first card is docked")
    gadget.swap("/dev/disk/by-id/virtio-SECOND")
    station.wait(lambda s: s["bays"][8]["camera"] == second.serial and s["counts"]["wiped"] >= 1, "the second is wiped")
    gadget.swap("/dev/disk/by-id/virtio-FIRST")
    station.wait_counts(wiped=2)
    station.judge(finished=True)

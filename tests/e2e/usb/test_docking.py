"""Cameras in their bays, from plug to ready, whatever is on their cards."""

import json
import tomllib

import pytest
from e2e.usb.images import Volume
from e2e.usb.station import alerts

MIB = 1 << 20
pytestmark = [pytest.mark.usb, pytest.mark.timeout(1500)]

LONG = "n" * 240 + ".mp4"
ODD = [LONG, " leading.mp4", "%2F%00.mp4", "-rf", "a'b$(x)`y`.mp4"]
NAMES = {
    "vfat": [*ODD, "Über 監視.mp4", "UPPER.MP4", "lower.mp4", "two..dots.mp4"],
    "exfat": [*ODD, "Über 監視 💥.mp4", "UPPER.MP4", "tab\u200fdirection.mp4"],
    "ext4": [*ODD, "new\nline.mp4", "back\\slash", "\x1b[31mred", "*?[a]", " ", "latin\udce9.mp4", "\udcff\udcfe"],
}


def test_eight_cameras_at_once_go_to_ready(station, told):
    kinds = ["vfat", "exfat", "ext4", "vfat", "exfat", "ext4", "vfat", "exfat"]
    tables = ["", "dos", "gpt", "dos", "gpt", "", "gpt", ""]
    cams = [
        station.camera(f"CAM{n}", kind, {"a.mp4": 3 * MIB, "sub/b.mp4": 70_000}, table=table)
        for n, (kind, table) in enumerate(zip(kinds, tables, strict=True), start=1)
    ]
    for bay, cam in enumerate(cams, start=1):
        station.plug(cam, bay)
    station.wait_counts(wiped=16)
    told("seconds from the first of eight disks to the first docked camera, emulated", station.docked_after_s())
    assert {event["write_block"] for event in station.events("camera_docked")} == {"block"}
    status = station.finish()
    assert [bay["state"] for bay in status["bays"]] == ["ready"] * 8
    assert all(bay["safe_to_take"] for bay in status["bays"])


def test_names_labels_and_partitions_as_bad_as_they_come(station):
    for bay, (kind, names) in enumerate(NAMES.items(), start=1):
        files = {
            b"DCIM/" + name.encode("utf-8", "surrogateescape"): station.content(f"{kind}{n}", 5000 + n)
            for n, name in enumerate(names)
        }
        label = "../../x" if kind == "ext4" else "A B'$(X)"
        station.plug(station.card(f"NAMES-{kind}", Volume(kind, files, label=label)), bay)
    parts = station.card(
        "PARTS",
        Volume("vfat", {b"DCIM/a.mp4": station.content("p1", 70_000)}),
        Volume("ext4", {b"DCIM/a.mp4": station.content("p2", 80_000), b"LOG/x": b"log"}),
        Volume("exfat", {b"DCIM/b.mp4": station.content("p3", 90_000)}),
        table="gpt",
    )
    station.plug(parts, 4)
    status = station.finish()
    assert {bay["state"] for bay in status["bays"]} == {"ready", "empty"}


def test_nothing_is_written_to_a_camera_before_all_of_it_is_in_the_store(station):
    for bay, kind in enumerate(("vfat", "exfat", "ext4"), start=1):
        cam = station.camera(f"CAM{bay}", kind, {"a.mp4": 2 * MIB, "b.mp4": 4 * MIB}, table="dos" if bay == 2 else "")
        station.plug(cam, bay, bps=300_000)
    station.wait(lambda s: sum(b["state"] == "offloading" for b in s["bays"]) == 3, "three cameras are being read")
    disks = station.machine.ask("lsblk", "-nro", "NAME,TYPE").split("\n")
    nodes = [line.split()[0] for line in disks if line.startswith("sd")]
    assert len(nodes) == 4
    for node in nodes:
        done = station.machine.shell(f"dd if=/dev/zero of=/dev/{node} bs=512 count=1 oflag=direct conv=notrunc")
        assert done.code != 0, f"root could write to /dev/{node}"
        assert "Operation not permitted" in done.err or "Read-only" in done.err
    assert station.status()["counts"]["in_store"] < 6
    for cam in station.cams.values():
        station.machine.full_speed(cam.name)
    station.finish()
    # What the test itself could not change is as it was planted; so says the oracle.


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_file_above_4_gib_on_exfat(make_station):
    station = make_station(disk_size=16384 * MIB)
    station.start()
    size = 4096 * MIB + 70_001
    # Nothing but zeros, which need no room in the image and are read fast.
    files = {b"DCIM/large.mp4": bytes(size), b"DCIM/small.mp4": station.content("small", 70_000)}
    cam = station.card("LARGE", Volume("exfat", files, size=4608 * MIB))
    station.plug(cam, 1)
    station.wait(lambda s: s["counts"]["wiped"] == 2, "both are wiped", timeout_s=6000)
    station.finish()


def test_without_a_profile_everything_is_stored_and_nothing_wiped(make_station, told):
    station = make_station(profile="")
    station.start()
    cam = station.card("PLAIN", Volume("vfat", {b"DCIM/a.mp4": station.content("a", 70_000), b"LOG/x.txt": b"a log"}))
    cam.marker = False
    station.plug(cam, 1)
    station.wait_counts(in_store=2)
    told("seconds from the disk of a single camera to its docking, emulated", station.docked_after_s())
    status = station.wait_quiet()
    assert "no-profile" in alerts(status, "wipe_blocked")[0]["what"]
    assert "no-profile" in station.explain("PLAIN")
    assert status["counts"]["wiped"] == 0
    checks = {check["name"]: check for check in json.loads(station.dockd("check", "--json", codes=(0, 1)))}
    assert checks["usb"]["verdict"] == "ok", checks["usb"]
    listed = tomllib.loads(station.dockd("bays"))["bay"]
    assert {bay["usb_port"]: bay["number"] for bay in listed}.items() >= {f"1-1.{n}": n for n in range(1, 9)}.items()
    station.judge(finished=True, complete=True)


def test_what_a_card_says_wrong_of_itself_is_stored_as_it_reads(station):
    head = station.camera("HEADLESS", "vfat", {"a.mp4": 70_000, "b.mp4": 90_000})
    with head.card.fat() as fat:
        fat.forget_size(b"DCIM/b.mp4")
    linked = station.camera("LINKED", "vfat", {"a.mp4": 70_000, "b.mp4": 90_000})
    with linked.card.fat() as fat:
        fat.cross_link(b"DCIM/a.mp4", b"DCIM/b.mp4")
    for cam in (head, linked):
        cam.read_anew()
    for path in (b"DCIM/a.mp4", b"DCIM/b.mp4"):
        head.flag(path, "held")
    station.plug(head, 1)
    station.plug(linked, 2)
    station.wait_counts(in_store=4)
    status = station.wait_quiet()
    assert "zero-length" in station.explain("HEADLESS")
    assert alerts(status, "wipe_blocked")
    wiped = {event["camera"] for event in station.events("recording_wiped")}
    # Of crossed files each is whole in the store, so both may go.
    assert wiped == {"LINKED"}
    station.judge(finished=True)

"""Cameras that are taken too early, at any moment, come back in any bay, and lose nothing."""

import json
import random
import shlex
import time

import approvals
import pytest

MIB = 1 << 20
pytestmark = [pytest.mark.usb, pytest.mark.timeout(2400)]
PULLS = 20


@pytest.mark.parametrize("seed", [1, 2])
def test_pulls_at_random_moments(station, told, seed):
    dice = random.Random(seed)
    kinds = ("vfat", "ext4") if seed == 1 else ("exfat", "vfat")
    cams = [
        station.camera(f"CAM{n}", kind, {"a.mp4": 6 * MIB, "b.mp4": 9 * MIB, "c.mp4": 20_000})
        for n, kind in enumerate(kinds)
    ]
    made = 0
    bays = [1, 5]
    for cam, bay in zip(cams, bays, strict=True):
        station.plug(cam, bay, bps=2 * MIB)
    while made < PULLS // 2:
        for cam in cams:
            time.sleep(dice.uniform(0.3, 5.0))
            station.pull(cam)
            made += 1
            taken = {other.bay for other in cams if other is not cam}
            station.plug(cam, dice.choice([n for n in range(1, 9) if n not in taken]), bps=2 * MIB)
    told("pulls", made)
    for cam in cams:
        station.machine.full_speed(cam.name)
    station.finish()


def test_a_pull_in_the_middle_of_a_large_file_costs_little(make_station, told):
    station = make_station(wipe_mode="off")
    station.start()
    cam = station.camera("LARGE", "exfat", {"a.mp4": 300 * MIB})
    size = 300 * MIB
    station.plug(cam, 1, bps=24 * MIB)
    station.wait(lambda s: (s["bays"][0]["progress"] or {}).get("bytes_done", 0) > size / 2, "half of it is read")
    read = station.machine.bytes_read("LARGE")
    station.pull(cam)
    station.wait(lambda s: s["bays"][0]["state"] == "empty", "the bay is empty")
    said = station.explain("LARGE")
    assert "was taken out" in said
    assert "Dock it again" in said
    station.plug(cam, 2, bps=10 * MIB)
    more = 0
    # The copy is whole at that; whatever is read from then on is the second look at all of it.
    while station.status()["bays"][1]["bytes_copied"] < size:
        more = station.machine.bytes_read("LARGE")
        time.sleep(0.2)
    extra = (read + more - size) / MIB
    told("pulls", 1)
    told("MiB read beyond the size of a 300 MiB file that was pulled in its middle", round(extra, 1))
    assert extra <= 64
    station.machine.full_speed("LARGE")
    station.finish()


def lift_and_wait(station, hold, *conditions):
    """Lift a hold and wait in the guest, without a pause, for what then lasts a moment only."""
    remove = ("hold", "remove", hold, "--reason", "closed", "--by", "a clerk")
    request = station.dockd(*remove, codes=(1,))
    station.machine.agent.write("/tmp/request.txt.sig", approvals.signature(request).encode())
    lift = shlex.join(["runuser", "-u", "dockd", "--", "dockd", *remove, "--approval", "/tmp/request.txt.sig"])
    loops = [f"n=0; until {c}; do n=$((n+1)); [ $n -lt 60000 ] || exit 1; done" for c in conditions]
    done = station.machine.shell("; ".join([f"{lift} >/tmp/lifted 2>&1 & true", *loops]), timeout_s=900)
    told = station.machine.shell("cat /tmp/lifted").out
    assert done.code == 0, f"it never came to: {conditions}; dockd hold remove said: {told}"


STEPS = {
    "unmounted": "! grep -q ^/dev/sd /proc/1/mounts",
    "writable": "grep -q 0 /sys/block/sd?/ro",
    "mounted-rw": "grep -q '^/dev/sd.* rw' /proc/1/mounts",
    "unmounted-again": "! grep -q '^/dev/sd.* rw' /proc/1/mounts",
    "closed-again": "grep -q 1 /sys/block/sd?/ro",
}
LEADS = {"unmounted-again": "mounted-rw", "closed-again": "writable"}


def test_pulls_at_each_step_of_a_wipe(station, told):
    met = 0
    for number, (step, condition) in enumerate(STEPS.items()):
        kind = ("vfat", "exfat", "ext4")[number % 3]
        cam = station.camera(f"{step.upper()}", kind, {"a.mp4": 3 * MIB, "b.mp4": 50_000, "c.mp4": 9_000})
        # Held until all is stored, so that whoever watches is there before the wipe begins.
        station.dockd("hold", "add", "--camera", cam.serial, "--reason", "case 1", "--by", "a clerk")
        station.plug(cam, 1, bps=4 * MIB)
        station.wait(lambda s, n=number: s["counts"]["in_store"] == 3 * (n + 1), f"all of {cam.name} is stored")
        (hold,) = json.loads(station.dockd("hold", "list", "--json"))
        lead = [STEPS[LEADS[step]]] if step in LEADS else []
        lift_and_wait(station, hold["hold"], *lead, condition)
        station.pull(cam)
        station.wait(lambda s: s["bays"][0]["state"] == "empty", "the bay is empty")
        met += 1
        station.plug(cam, 2)
        station.wait(lambda s, n=number: s["counts"]["wiped"] == 3 * (n + 1), f"all of {cam.name} is wiped")
        station.pull(cam)
        station.wait(lambda s: s["bays"][1]["state"] == "empty", "the bay is empty")
    told("pulls", 2 * met)
    station.judge(finished=True)


def test_a_hub_unplugged_with_eight_cameras(station, told):
    cams = [
        station.camera(f"CAM{n}", ("vfat", "exfat", "ext4")[n % 3], {"a.mp4": 2 * MIB, "b.mp4": 3 * MIB})
        for n in range(1, 9)
    ]
    for bay, cam in enumerate(cams, start=1):
        station.plug(cam, bay, bps=400_000)
    station.wait(lambda s: sum(b["state"] == "offloading" for b in s["bays"]) == 8, "eight cameras are being read")
    station.machine.unplug_hub(*(cam.name for cam in cams))
    station.wait(lambda s: all(b["state"] == "empty" for b in s["bays"]), "all bays are empty")
    told("pulls", len(cams))
    station.machine.plug_hub()
    for bay, cam in enumerate(cams, start=1):
        station.plug(cam, bay)
    station.finish()

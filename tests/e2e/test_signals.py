"""Stopped, reloaded and killed, at each stage and at any moment."""

import os
import platform
import random
import time

import pytest
from e2e.harness import Dock
from e2e.kernel import READS, UNLINKS, WRITES, traced
from e2e.planting import MIB

from dockd.config import config_digest, load_config
from dockd.version import package_digest, version

SLOWER = (
    f"{READS},{WRITES},copy_file_range,sendfile:delay_enter=15000",
    f"{UNLINKS}:delay_enter=100000",
    "newfstatat,statx:delay_enter=2000",
)
"""Makes each stage long enough to be met."""


def listing(dock: Dock) -> bool:
    return any(bay["camera"] for bay in dock.status()["bays"])


def offloading(dock: Dock) -> bool:
    return dock.spooled_bytes() >= 4 * MIB


def uploading(dock: Dock) -> bool:
    return bool(dock.partials())


def confirming(dock: Dock) -> bool:
    return bool(dock.objects())


def wiping(dock: Dock) -> bool:
    return dock.cameras.to_wipe()[1] > 0


STAGES = [listing, offloading, uploading, confirming, wiping]
FILES = {b"a.mp4": 24 * MIB} | {b"%02d/b.mp4" % number: 40_000 for number in range(20)}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_sigterm_in_each_stage_ends_in_time_and_loses_nothing(dock, stage):
    assert dock.process is not None
    with traced(dock.process.pid, *SLOWER):
        dock.cameras.add("CAM1", FILES)
        dock.until(lambda: stage(dock), stage.__name__)
        assert dock.term() == 0
    dock.judge()
    dock.start()
    dock.finish()


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_sigkill_in_each_stage_loses_nothing(dock, stage):
    assert dock.process is not None
    with traced(dock.process.pid, *SLOWER):
        dock.cameras.add("CAM1", FILES)
        dock.until(lambda: stage(dock), stage.__name__)
        dock.kill()
    dock.judge()
    dock.start()
    dock.finish()


def test_sigterm_while_nothing_is_docked_ends_with_0(dock):
    assert dock.term() == 0
    dock.start()


def test_sigterm_twice_ends_with_0(dock):
    dock.cameras.add("CAM1", {b"a.mp4": 16 * MIB})
    assert dock.process is not None
    dock.process.terminate()
    assert dock.term() == 0
    dock.start()
    dock.finish()


def test_sighup_reads_the_wipe_mode_anew(make_dock):
    dock = make_dock(wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", {b"a.mp4": MIB})
    dock.wait_stored()
    assert dock.wait_idle()["wipe_mode"] == "off"
    dock.configure(wipe_mode="on")
    dock.reload()
    dock.wait(lambda status: status["wipe_mode"] == "on", "the new mode")
    dock.finish()
    (changed,) = dock.events("configuration_changed")
    assert changed["wipe_mode"] == "on"
    assert changed["releases"] == 1


def test_a_start_says_which_software_began_to_run_and_what_changed_while_none_did(make_dock):
    dock = make_dock(wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", {b"a.mp4": MIB})
    dock.wait_stored()
    dock.wait_idle()
    (started,) = dock.events("dock_started")
    assert (started["version"], started["package_sha256"]) == (version(), package_digest())
    assert (started["python"], started["kernel"]) == (platform.python_version(), platform.release())
    before = started["configuration_sha256"]
    assert before == config_digest(load_config(dock.config))
    dock.restart(wipe_mode="on")
    dock.finish()
    (changed,) = dock.events("configuration_changed")
    assert (changed["before_sha256"], changed["wipe_mode"], changed["releases"]) == (before, "on", 1)
    last = dock.events("dock_started")[-1]
    assert changed["after_sha256"] == last["configuration_sha256"] == config_digest(load_config(dock.config))
    assert changed["seq"] == last["seq"] + 1


def test_sighup_with_a_configuration_that_cannot_be_used_changes_nothing(dock):
    kept = dock.config.read_text()
    dock.config.write_text(kept.replace('mode = "on"', 'mode = "sometimes"'))
    dock.reload()
    time.sleep(1)
    dock.config.write_text(kept)
    dock.cameras.add("CAM1", {b"a.mp4": MIB})
    assert dock.finish()["wipe_mode"] == "on"
    assert not dock.events("configuration_changed")


def started_and_killed(dock: Dock, chance: random.Random) -> None:
    """One run of the daemon that ends by SIGKILL: while it starts, or soon after."""
    before = dock.told_ns()
    dock.start(wait=False)
    if chance.random() < 0.7:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and dock.running:
            if dock.told_ns() not in (0, before):
                break
            time.sleep(0.005)
    time.sleep(chance.uniform(0, 1))
    if not dock.running:
        dock.fail("the daemon ended by itself")
    dock.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sigkill_at_random_moments_loses_nothing(make_dock):
    kills = int(os.environ.get("DOCKD_KILLS", "20"))
    chance = random.Random("sigkill")
    dock = make_dock()
    for number in range(4):
        dock.cameras.add(f"CAM{number}", {b"first.mp4": 32 * MIB, b"small.mp4": 3000})
    for number in range(kills):
        serial = f"CAM{chance.randrange(4)}"
        size = 32 * MIB if number % 12 == 11 else chance.randrange(1, 60_000)
        dock.cameras.plant(serial, b"%d/file.mp4" % number, size)
        if chance.random() < 0.15:
            if dock.cameras.is_docked(serial):
                dock.cameras.undock(serial)
            else:
                dock.cameras.redock(serial)
        started_and_killed(dock, chance)
        if number % 25 == 24:
            dock.judge()
    for serial in sorted(dock.cameras.markers):
        if not dock.cameras.is_docked(serial):
            dock.cameras.redock(serial)
    dock.start()
    dock.finish(300)

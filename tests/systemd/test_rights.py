"""What the service's user may, and may not, have root do for it."""

from __future__ import annotations

import re
import subprocess

import pytest
from systemd.machine import Machine

pytestmark = pytest.mark.systemd
MOUNT = "org.freedesktop.udisks2.filesystem-mount"


def as_user(machine: Machine, user: str, *command: str) -> subprocess.CompletedProcess[str]:
    return machine.run("runuser", "-u", user, "--", *command)


def start(machine: Machine, unit: str, user: str = "dockd", verb: str = "start") -> str:
    """What systemctl says; it never succeeds here, where there is no USB."""
    done = as_user(machine, user, "systemctl", "--no-ask-password", verb, unit)
    assert done.returncode != 0, f"{verb} {unit} succeeded"
    return done.stdout + done.stderr


def journal(machine: Machine, unit: str) -> str:
    return machine.ask("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")


@pytest.fixture
def disk(bare) -> str:
    """A disk of the machine outside, which shows in there and is no USB disk; or no disk at all."""
    found = bare.ask("ls", "/sys/block").split()
    return next((name for name in found if name.isalpha()), "sda")


def test_a_medium_is_switched_for_dockd_by_a_unit_that_refuses_what_is_in_no_bay(bare, disk):
    number = bare.run("cat", f"/sys/block/{disk}/diskseq").stdout.strip() or "7"
    for verb in ("writable", "readonly"):
        unit = f"dockd-block@{verb}:{disk}:{number}.service"
        said = start(bare, unit)
        assert f"Job for {unit} failed" in said
        assert re.search(r"refused: .*(not in a USB bay|there is no disk)", journal(bare, unit)), journal(bare, unit)
        # It is not kept: nothing heaps up, and the machine is not called degraded for it.
        assert bare.ask("systemctl", "show", "--property=ActiveState", "--value", unit).strip() == "inactive"
    assert bare.ask("systemctl", "is-system-running", codes=range(256)).strip() == "running"


@pytest.mark.parametrize(
    ("unit", "verb"),
    [
        ("dockd.service", "stop"),
        ("dockd.service", "restart"),
        ("udisks2.service", "start"),
        ("dockd-block@writable:sda:7.service", "stop"),
        ("dockd-block@writable:sda:7.service", "restart"),
        ("dockd-block@wipe:sda:7.service", "start"),
        ("dockd-block@writable:sda1:7.service", "start"),
        ("dockd-block@writable:sda:7:8.service", "start"),
        ("dockd-block@writable:..-sda:7.service", "start"),
        ("xdockd-block@writable:sda:7.service", "start"),
        ("dockd-block@writable:sda:7.timer", "start"),
        ("rescue.target", "isolate"),
    ],
)
def test_anything_else_is_denied(shared, unit, verb):
    said = start(shared, unit, verb=verb)
    assert re.search(r"Access denied|[Ii]nteractive authentication required|Permission denied", said), said
    assert "Job for" not in said


@pytest.fixture(scope="module")
def shared(build, tmp_path_factory):
    """One machine for what leaves no trace in it."""
    machine = Machine(build / "tree", tmp_path_factory.mktemp("shared") / "console.log", binds={}, read_only={})
    yield machine.boot()
    machine.kill()


def test_nobody_else_may_have_a_medium_switched(shared):
    said = start(shared, "dockd-block@writable:sda:7.service", user="nobody")
    assert re.search(r"Access denied|[Ii]nteractive authentication required", said), said


def test_the_unit_cannot_be_replaced_by_one_of_the_users_own(shared):
    run = ("systemd-run", "--no-ask-password", "--unit=dockd-block@writable:sda:9.service", "touch", "/run/owned")
    done = as_user(shared, "dockd", *run)
    assert done.returncode != 0
    assert re.search(r"Access denied|[Ii]nteractive authentication required", done.stdout + done.stderr), done
    assert shared.run("test", "-e", "/run/owned").returncode == 1


@pytest.mark.parametrize(
    ("action", "user", "may"),
    [
        (MOUNT, "dockd", True),
        (f"{MOUNT}-other-seat", "dockd", True),
        (f"{MOUNT}-system", "dockd", False),
        ("org.freedesktop.udisks2.filesystem-unmount-others", "dockd", False),
        ("org.freedesktop.udisks2.modify-device-other-seat", "dockd", False),
        ("org.freedesktop.udisks2.open-device", "dockd", False),
        (f"{MOUNT}-other-seat", "nobody", False),
        ("org.freedesktop.systemd1.manage-units", "dockd", False),
        ("org.freedesktop.systemd1.manage-unit-files", "dockd", False),
    ],
)
def test_it_may_mount_a_camera_and_no_more(shared, action, user, may):
    ask = f"exec pkcheck --action-id {action} --process $$"
    done = as_user(shared, user, "sh", "-c", ask)
    assert (done.returncode == 0) is may, done.stdout + done.stderr


@pytest.mark.parametrize("unit", ["dockd.service", "dockd-block@writable:sda:7.service"])
def test_the_units_give_few_rights(shared, unit):
    said = shared.ask("systemd-analyze", "security", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+ ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= 2.0, said
    done = shared.run("systemd-analyze", "verify", re.sub("@.*service", "@.service", unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")

"""The pieces that root runs: which port is a bay, and the switch that opens a medium for a wipe."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).parents[2] / "packaging/files"
SEQ = "17"
USB = "devices/pci0000:00/usb1/1-1"
PORT = f"{USB}/1-1.4"
# What the kernel does of it: sets what /sys tells, of a disk that is not protected; and a word for the test.
BLOCKDEV = """#!/bin/sh
root={root}
command=$1
shift
[ -e "$root/fails$command" ] && exit 1
for node; do
    name=${node##*/}
    echo "$command $name" >>"$root/said"
    place=$root/sys/block/sda
    [ "$name" = sda ] || place=$place/$name
    case $command in
    --setro) echo 1 >"$place/ro" ;;
    --setrw) if [ -e "$root/protected" ]; then echo 1; else echo 0; fi >"$place/ro" ;;
    esac
done
if [ "$command" = --setrw ]; then
    if [ -e "$root/swapped" ]; then echo 18 >"$root/sys/block/sda/diskseq"; fi
    if [ -e "$root/moved" ]; then ln -sfn "$root/devices/pci0000:00/ata1/block/sda" "$root/sys/block/sda"; fi
fi
"""
DD = '#!/bin/sh\necho "dd $*" >>{root}/said\n[ ! -e {root}/silent ]\n'
PERL = "#!/bin/sh\necho claim >>{root}/said\n[ ! -e {root}/mounted ] || { echo busy; exit 1; }\n"


class Dock:
    """A fake /sys with one camera, and the two scripts with their places in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc = root / "etc"
        (self.etc / "conf.d").mkdir(parents=True)
        self.configure('[[bay]]\nnumber = 4\nusb_port = "1-1.4"\n')
        self.disk(f"{PORT}/1-1.4:1.0/host6/target6:0:0/6:0:0:0/block/sda")
        programs = root / "bin"
        programs.mkdir()
        for name, text in (("blockdev", BLOCKDEV), ("dd", DD), ("perl", PERL)):
            (programs / name).write_text(text.replace("{root}", str(root)))
            (programs / name).chmod(0o755)
        self.bay_of_port = self.script("bay-of-port", config=self.etc)
        self.block_switch = self.script("block-switch", sys=root / "sys/block", dev=root / "dev", helpers=root / "lib")

    def script(self, name: str, **places: Path) -> Path:
        text = (FILES / name).read_text()
        for variable, place in places.items():
            text, found = re.subn(rf"^{variable}=/\S+$", f"{variable}={place}", text, flags=re.MULTILINE)
            assert found == 1, f"{name} says once where {variable} is"
        text = text.replace("PATH=/usr/", f"PATH={self.root}/bin:/usr/")
        made = self.root / "lib" / name
        made.parent.mkdir(exist_ok=True)
        made.write_text(text)
        shutil.copymode(FILES / name, made)
        return made

    def disk(self, place: str, *, partitions: int = 1) -> None:
        folder = self.root / place
        folder.mkdir(parents=True)
        (folder / "diskseq").write_text(f"{SEQ}\n")
        (folder / "ro").write_text("1\n")
        for number in range(1, partitions + 1):
            part = folder / f"sda{number}"
            part.mkdir()
            (part / "partition").write_text(f"{number}\n")
            (part / "ro").write_text("1\n")
        (self.root / "sys/block").mkdir(parents=True, exist_ok=True)
        link = self.root / "sys/block/sda"
        link.unlink(missing_ok=True)
        link.symlink_to(folder)

    def configure(self, text: str, name: str = "config.toml") -> None:
        (self.etc / name).write_text(text)

    def set(self, name: str) -> None:
        (self.root / name).touch()

    def is_bay(self, *arguments: str) -> bool:
        done = subprocess.run([self.bay_of_port, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        assert done.stdout + done.stderr == ""
        return done.returncode == 0

    def switch(self, *arguments: str) -> str:
        """What it says when it does what it is told."""
        done = subprocess.run([self.block_switch, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def refusal(self, *arguments: str) -> str:
        """Why it refuses; nothing is writable then."""
        done = subprocess.run([self.block_switch, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
        said = done.stderr.splitlines()[-1]
        assert said.startswith("refused: "), done.stderr
        return said.removeprefix("refused: ")

    @property
    def read_only(self) -> list[str]:
        places = sorted(self.root.glob("sys/block/sda/**/ro"))
        return [place.read_text().strip() for place in [self.root / "sys/block/sda/ro", *places]]

    @property
    def said(self) -> list[str]:
        file = self.root / "said"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def dock(tmp_path: Path) -> Dock:
    return Dock(tmp_path)


# --- which port is a bay ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        'usb_port = "1-1.4"',
        "usb_port = '1-1.4'",
        'usb_port="1-1.4"',
        'usb_port\t =\t"1-1.4" # the one on the left',
        '"usb_port" = "1-1.4"',
        'bay = [{ number = 1, usb_port = "1-1.4" }]',
        '#usb_port = "1-1.4"',
        'usb_port = "1-1.4"\r',
    ],
)
def test_a_port_that_is_named_is_a_bay(dock, line):
    dock.configure(f'[[bay]]\nnumber = 4\n{line}\n[[bay]]\nusb_port = "1-2"\n')
    assert dock.is_bay("1-1.4")
    assert dock.is_bay("1-2")


@pytest.mark.parametrize("port", ["1-1", "1-1.40", "1-1.4.1", "1-114", "11-1.4", "2-1.4", "1-1.3", "1-1.4:1.0"])
def test_another_port_is_none(dock, port):
    assert dock.is_bay("1-1.4")
    assert not dock.is_bay(port)


@pytest.mark.parametrize(
    "port",
    [
        *("", ".*", "1-.*", "usb1", "1-1.", "1-", "-1", "1", "1.4", "1.1-4", "1--1", "1-1..4", "1-.4", "1.-4"),
        *("1-1.4\n1-1.4", "1-1.4 "),
    ],
)
def test_what_is_no_port_is_no_bay_whatever_is_configured(dock, port):
    dock.configure(f'usb_port = "{port}"\nusb_port = "1-1.4"\nusb_port = ""\n')
    assert not dock.is_bay(port)


def test_bays_of_files_that_are_laid_over_it_count_and_files_may_lack(dock):
    dock.configure('[[bay]]\nusb_port = "1-7"\n', "conf.d/bays.toml")
    dock.configure('[[bay]]\nusb_port = "1-8"\n', "conf.d/bays.toml.old")
    assert [dock.is_bay(port) for port in ("1-7", "1-8", "1-1.4")] == [True, False, True]
    (dock.etc / "config.toml").unlink()
    assert [dock.is_bay(port) for port in ("1-7", "1-8", "1-1.4")] == [True, False, False]
    shutil.rmtree(dock.etc)
    assert not dock.is_bay("1-7")
    assert not dock.is_bay()


def test_a_hub_of_the_docks_own_is_known_by_the_bays_behind_it(dock):
    dock.configure('#usb_port = "1-1"\nusb_port = "1-1.4"\nusb_port = "1-20.1"\n')
    assert [dock.is_bay("--below", port) for port in ("1-1", "1-20", "1-1.4", "1-2", "")] == [True, True, *[False] * 3]


# --- the switch ---------------------------------------------------------------------------------------


def test_a_medium_is_opened_and_closed_whole(dock):
    assert "sda, medium number 17 in port 1-1.4, is writable" in dock.switch("writable:sda:17")
    assert dock.said == ["claim", "--setrw sda", "--setrw sda1"]
    assert set(dock.read_only) == {"0"}
    assert "is readonly" in dock.switch("readonly:sda:17")
    assert set(dock.read_only) == {"1"}
    assert dock.said[3:] == [
        *("--setro sda", "--setro sda1", "--flushbufs sda", "--flushbufs sda1"),
        f"dd if={dock.root}/dev/sda of=/dev/null bs=4096 count=1 iflag=direct,fullblock status=none",
    ]


@pytest.mark.parametrize(
    "instance",
    [
        "",
        "writable",
        "writable:sda",
        "writable:sda:",
        "writable::17",
        ":sda:17",
        "wipe:sda:17",
        "writable:sda:17:",
        "writable:sda:17:18",
        "writable:sda1:17",
        "writable:../sda:17",
        "writable:sd a:17",
        "writable:sda:17 ",
        "writable:sda:0x11",
        "writable:sda:-17",
        "writable:$(touch x):17",
        "writable:sda\nsdb:17",
        "WRITABLE:sda:17",
        "--help",
    ],
)
def test_nonsense_is_refused_before_anything_is_touched(dock, instance):
    assert dock.refusal(instance)
    assert dock.said == []
    assert set(dock.read_only) == {"1"}


def test_it_takes_one_word(dock):
    assert "one VERB" in dock.refusal()
    assert "one VERB" in dock.refusal("writable:sda:17", "writable:sda:17")


@pytest.mark.parametrize("verb", ["writable", "readonly"])
def test_another_medium_is_refused(dock, verb):
    for number in ("16", "18", "1", "170", "017"):
        assert "another medium" in dock.refusal(f"{verb}:sda:{number}")
    assert "no disk sdb" in dock.refusal(f"{verb}:sdb:17")
    assert dock.said == []


@pytest.mark.parametrize(
    "place",
    [
        "devices/pci0000:00/ata1/host0/target0:0:0/0:0:0:0/block/sda",
        "devices/virtual/block/sda",
        f"{USB}/1-1.3/1-1.3:1.0/host6/target6:0:0/6:0:0:0/block/sda",
        # A hub in a bay: what is plugged into it is in no bay.
        f"{PORT}/1-1.4.1/1-1.4.1:1.0/host6/target6:0:0/6:0:0:0/block/sda",
    ],
    ids=["a disk of the machine's own", "no device", "a port that is no bay", "a hub in a bay"],
)
def test_what_is_in_no_bay_is_refused(dock, place):
    shutil.rmtree(dock.root / "devices")
    dock.disk(place)
    for verb in ("writable", "readonly"):
        assert "not in a USB bay" in dock.refusal(f"{verb}:sda:17")
    assert dock.said == []


def test_a_medium_in_use_is_not_opened_but_closed_at_any_time(dock):
    dock.set("mounted")
    assert dock.refusal("writable:sda:17") == "sda is in use, or has no medium: busy"
    assert dock.said == ["claim"]
    dock.switch("readonly:sda:17")


def test_a_protected_medium_is_told_and_closed_again(dock):
    dock.set("protected")
    assert "write-protected" in dock.refusal("writable:sda:17")
    assert dock.said[-2:] == ["--setro sda", "--setro sda1"]


def test_a_medium_that_is_changed_while_it_is_opened_is_closed_again(dock):
    dock.set("swapped")
    assert "changed meanwhile" in dock.refusal("writable:sda:17")
    assert set(dock.read_only) == {"1"}


def test_a_disk_that_took_the_name_meanwhile_is_left_alone(dock):
    dock.disk("devices/pci0000:00/ata1/block/sda")
    (dock.root / "sys/block/sda").unlink()
    place = dock.root / PORT / "1-1.4:1.0/host6/target6:0:0/6:0:0:0/block/sda"
    (dock.root / "sys/block/sda").symlink_to(place)
    dock.set("moved")
    assert dock.refusal("writable:sda:17")
    assert not [line for line in dock.said if line.startswith("--setro")]


@pytest.mark.parametrize(
    ("fault", "verb", "why"),
    [
        ("fails--setrw", "writable", "cannot be made writable"),
        ("fails--setro", "readonly", "cannot be made read-only"),
        ("fails--flushbufs", "readonly", "cannot be flushed"),
        ("silent", "readonly", "does not answer"),
    ],
)
def test_a_device_that_fails_is_told(dock, fault, verb, why):
    dock.set(fault)
    assert why in dock.refusal(f"{verb}:sda:17")


def test_a_disk_without_partitions_is_switched_too(dock):
    shutil.rmtree(dock.root / "devices")
    dock.disk(f"{PORT}/1-1.4:1.0/host6/target6:0:0/6:0:0:0/block/sda", partitions=0)
    dock.switch("writable:sda:17")
    assert dock.said == ["claim", "--setrw sda"]
    assert set(dock.read_only) == {"0"}


@pytest.mark.parametrize("name", ["bay-of-port", "block-switch"])
def test_the_scripts_are_for_any_posix_shell(name):
    file = FILES / name
    assert os.access(file, os.X_OK)
    assert file.read_text().startswith("#!/bin/sh\n")
    done = subprocess.run(["sh", "-n", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_rules_ask_by_the_names_under_which_the_package_installs():
    rules = (FILES / "70-dockd.rules").read_text()
    assert set(re.findall(r'PROGRAM[!=]="(\S+) (?:--below )?\$id"', rules)) == {"/usr/lib/dockd/bay-of-port"}
    unit = (FILES.parents[1] / "systemd/dockd-block@.service").read_text()
    assert "ExecStart=/usr/lib/dockd/block-switch %i\n" in unit

"""USB devices made in the guest itself (dummy_hcd and configfs): free serials, several functions, media that change."""

from __future__ import annotations

from e2e.usb.machine import Machine

GADGETS = "/sys/kernel/config/usb_gadget"

KEYS = r"\005\001\011\006\241\001\005\007\031\340\051\347\025\000\045\001\165\001\225\010\201\002\300"
"""What a keyboard says of its keys, in octal."""


class Gadget:
    """A device on a port of a host controller of its own; `lun` is the medium's file or disk in the guest."""

    def __init__(self, machine: Machine, name: str, *, serial: str, lun: str = "", keyboard: bool = False) -> None:
        self.machine = machine
        self.place = f"{GADGETS}/{name}"
        lines = [
            "modprobe dummy_hcd num=1 is_high_speed=1",
            "modprobe libcomposite; mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config",
            f"mkdir -p {self.place}/strings/0x409 {self.place}/configs/c.1/strings/0x409",
            f"cd {self.place}",
            "echo 0x46f4 > idVendor; echo 0x0001 > idProduct",
            f"echo {serial} > strings/0x409/serialnumber; echo camera > strings/0x409/product",
            "mkdir functions/mass_storage.0",
            "echo 1 > functions/mass_storage.0/lun.0/removable",
            *([f"echo {lun} > functions/mass_storage.0/lun.0/file"] if lun else []),
            "ln -s functions/mass_storage.0 configs/c.1/",
        ]
        if keyboard:
            lines += [
                "mkdir functions/hid.0; echo 1 > functions/hid.0/protocol; echo 1 > functions/hid.0/subclass",
                "echo 8 > functions/hid.0/report_length",
                f"printf '{KEYS}' > functions/hid.0/report_desc",
                "ln -s functions/hid.0 configs/c.1/",
            ]
        done = machine.shell("set -e\n" + "\n".join(lines))
        assert done.code == 0, done.err

    def plug(self) -> None:
        done = self.machine.shell(f"ls /sys/class/udc | head -1 > {self.place}/UDC")
        assert done.code == 0, done.err

    def pull(self) -> None:
        self.machine.shell(f"echo > {self.place}/UDC")

    def swap(self, lun: str) -> None:
        """Take the card out, and put another one in."""
        place = f"{self.place}/functions/mass_storage.0/lun.0"
        done = self.machine.shell(f"echo 1 > {place}/forced_eject; sleep 1; echo {lun} > {place}/file")
        assert done.code == 0, done.err


def port_of(machine: Machine) -> str:
    """What the kernel calls the port of the gadgets' host controller."""
    machine.shell("modprobe dummy_hcd num=1 is_high_speed=1")
    bus = machine.shell("basename $(ls -d /sys/devices/platform/dummy_hcd.0/usb*) | tr -dc 0-9").out.strip()
    return f"{bus}-1"

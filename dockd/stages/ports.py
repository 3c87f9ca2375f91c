"""Finds USB cameras: what sits on the ports that are bays. Who a device is and where it is are told apart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from dockd.alerts import AlertBoard
from dockd.cameras.mass_storage import MassStorageCamera
from dockd.cameras.volumes import Profile, identity_of, places_of
from dockd.identity import CameraIdentity, plain_name
from dockd.paths import Forbidden
from dockd.runtime.workers import Worker
from dockd.stages.bays import Find
from dockd.usb.devices import STORAGE, UsbDevice, accepted, what_interfaces_are
from dockd.usb.mounts import Mounts

log = structlog.get_logger()

RESCAN_S: Final = 30.0
MEDIUM_S: Final = 20.0
"""How long a device may take until its medium is there."""


class Monitor(Protocol):
    """What is asked of `dockd.usb.monitor.UsbMonitor`."""

    restarts: int

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen."""

    def stop(self) -> None:
        """Listen no more."""

    def devices(self) -> dict[str, UsbDevice]:
        """Every device by its port; blocks; raises OSError if that cannot be told."""


@dataclass(slots=True)
class PortFinder:
    """See `dockd.stages.bays.Finder`; places are the kernel's names of ports.

    `numbers`: the bays by their ports; `profile_of` gives the profile for a vendor and product.
    """

    numbers: Mapping[str, int]
    profile_of: Callable[[str, str], Profile | None]
    make_monitor: Callable[[Callable[[], None]], Monitor]
    mounts: Mounts
    alerts: AlertBoard
    forbidden: Callable[[], Forbidden]
    rescan_s: float = RESCAN_S
    bays: Sequence[str] = field(init=False)
    gone: str = "it was taken out of its bay"
    _monitor: Monitor | None = None
    _looker: Worker = field(default_factory=lambda: Worker("usb"))
    _since_s: dict[object, float] = field(default_factory=dict)
    _served: set[object] = field(default_factory=set)
    _holder: dict[CameraIdentity, str] = field(default_factory=dict)
    """On which port an identity was seen first; it is the one that is served."""
    _shapes: dict[object, dict[str, str]] = field(default_factory=dict)
    """The file systems of a device, by the names of their volumes; partitions may come after the disk."""

    def __post_init__(self) -> None:
        self.bays = [str(number) for number in self.numbers.values()]

    def start(self, changed: Callable[[bytes | None], None]) -> None:
        """Begin to listen."""
        self._monitor = self.make_monitor(lambda: changed(None))
        self._monitor.start(asyncio.get_running_loop())

    def stop(self) -> None:
        """Listen no more."""
        self._looker.control.stop()
        self._looker.close()
        if self._monitor is not None:
            self._monitor.stop()

    @property
    def restarts(self) -> int:
        """How often listening to udev had to be begun anew."""
        return 0 if self._monitor is None else self._monitor.restarts

    async def look(self) -> Mapping[bytes, Find]:
        """What sits on the bays' ports now; raises OSError if that cannot be told."""
        assert self._monitor is not None
        devices = await self._looker.run(self._monitor.devices)
        self._tell_of_strangers(devices)
        docked = {port: device for port, device in sorted(devices.items()) if port in self.numbers}
        idents = {device.ident for device in docked.values()}
        self._since_s = {ident: since_s for ident, since_s in self._since_s.items() if ident in idents}
        self._shapes = {ident: shape for ident, shape in self._shapes.items() if ident in idents}
        for device in docked.values():
            self._note_shape(device)
        who = {port: self._identity(device) for port, device in docked.items() if self._serves(device)}
        self._served = {docked[port].ident for port in who}
        self._holder = {
            identity: port for identity, port in self._holder.items() if port in who and who[port] == identity
        }
        for port, identity in who.items():
            self._holder.setdefault(identity, port)
        found = {}
        for port, device in docked.items():
            find = self._find(port, device, who)
            self._tell_of(port, device)
            if find is not None:
                found[port.encode()] = find
        for port in self.numbers.keys() - docked.keys():
            self._tell_of(port, None)
        return found

    # --- one device ----------------------------------------------------------------------------------

    def _identity(self, device: UsbDevice) -> CameraIdentity:
        profile = self.profile_of(device.vendor, device.product)
        return identity_of(device, places_of(device), profile.serial if profile else "usb")[0]

    def _serves(self, device: UsbDevice) -> bool:
        if not accepted(device) or not places_of(device):
            return False
        # udev may look at a disk again while it is in use; that does not undock it.
        return device.settled or device.ident in self._served

    def _note_shape(self, device: UsbDevice) -> None:
        """Remember what is new; what is not there for a moment, while udev reads the table anew, stays."""
        shape = self._shapes.setdefault(device.ident, {})
        if device.settled:
            shape.update(
                {v.name: v.kind for disk in device.disks for v in disk.volumes if v.kind or v.name not in shape}
            )

    def _find(self, port: str, device: UsbDevice, who: Mapping[str, CameraIdentity]) -> Find | None:
        bay = str(self.numbers[port])
        # What is plugged in; its media come and go by themselves.
        thing = (device.sys_path, device.number)
        wrong = self._refusal(device)
        if wrong is not None:
            return Find(bay, (device.ident, "refused"), f"bay-{bay}", None, waits=wrong, thing=thing)
        identity = who.get(port)
        if identity is None:
            return Find(bay, (device.ident, "coming"), f"bay-{bay}", None, waits=self._medium(device), thing=thing)
        subject = f"camera-{identity.part}"
        twins = [str(self.numbers[other]) for other, name in who.items() if name == identity and other != port]
        clash = None
        if twins:
            clash = f"bays {', '.join(sorted({bay, *twins}))} hold cameras that all call themselves {identity.part}"
        if self._holder[identity] != port:
            first = self.numbers[self._holder[identity]]
            what = f"the camera in bay {first} calls itself the same; take one of them out"
            return Find(bay, (device.ident, "twin"), subject, None, clash, what, thing)
        profile = self.profile_of(device.vendor, device.product)

        def open_camera() -> MassStorageCamera:
            return MassStorageCamera(device, bay, profile, self.mounts, self.forbidden())

        # A partition that came late makes a docking of its own: the one before knew nothing of it.
        shape = tuple(sorted(self._shapes[device.ident].items()))
        return Find(bay, (device.ident, shape), subject, open_camera, clash, thing=thing)

    def _refusal(self, device: UsbDevice) -> str | None:
        """Why a device is not taken for a camera, or None."""
        if accepted(device):
            return None
        name = plain_name(device.serial) or "no serial"
        return f"the device {device.vendor}:{device.product}, {name}, is also {what_interfaces_are(device)}"

    def _medium(self, device: UsbDevice) -> str | None:
        """That a device shows no medium, once it had time enough; None before."""
        since_s = self._since_s.setdefault(device.ident, time.monotonic())
        if time.monotonic() - since_s < MEDIUM_S:
            return None
        return "the device shows no card that can be read"

    def _tell_of(self, port: str, device: UsbDevice | None) -> None:
        bay = f"bay-{self.numbers[port]}"
        wrong = None if device is None else self._refusal(device)
        self.alerts.put("device_refused", bay, wrong)
        lacks = device is not None and wrong is None and not self._serves(device)
        self.alerts.put("no_medium", bay, self._medium(device) if device is not None and lacks else None)

    # --- what is no bay ------------------------------------------------------------------------------

    def _tell_of_strangers(self, devices: Mapping[str, UsbDevice]) -> None:
        """Cameras on ports that are not listed: nothing is taken from them, and somebody has to know."""
        found = []
        hubs = {port.rpartition(".")[0] for port in self.numbers if "." in port}
        for port, device in sorted(devices.items()):
            if port in self.numbers or STORAGE not in device.interfaces:
                continue
            known = self.profile_of(device.vendor, device.product) is not None
            if known or port.rpartition(".")[0] in hubs:
                found.append(f"{plain_name(device.serial) or 'a camera'} sits on USB port {port}, which is no bay")
        self.alerts.put("port_not_listed", "dock", "; ".join(found) or None)

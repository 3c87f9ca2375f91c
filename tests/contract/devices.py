"""A card in a loop device, and the system services around it played by the tests: real mounts, read-only or not.

The card is mounted twice: once where its maker and user write to it, and by a bind mount where dockd sees it. What the
kernel's own write protection does is tested with real USB, in a virtual machine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from contract.tools import need_root

from dockd.cameras.mass_storage import MassStorageCamera
from dockd.cameras.patterns import matcher
from dockd.cameras.volumes import Profile
from dockd.errors import CameraGoneError, DeviceServiceError
from dockd.paths import forbidden_places
from dockd.usb.devices import Disk, UsbDevice, Volume

MIB = 1 << 20
DISKSEQ = 17


def run(*argv: str | Path) -> str:
    return subprocess.run([str(arg) for arg in argv], check=True, capture_output=True, text=True).stdout.strip()


class PlayedMounts:
    """See `dockd.usb.mounts.Mounts`. `before` is called with the name of each step, and may raise."""

    def __init__(self, root: Path, seen: Path) -> None:
        self._root = root
        self.seen = seen
        self.steps: list[str] = []
        self.present = True
        self.read_only = True
        self.before: Callable[[str], None] = lambda step: None

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self.before(name)
        if not self.present:
            raise CameraGoneError("the disk is gone")

    def mount(self, volume: Volume, *, writable: bool) -> bytes:
        self._step("mount-rw" if writable else "mount-ro")
        self.seen.mkdir(exist_ok=True)
        run("mount", "--bind", self._root, self.seen)
        run("mount", "-o", f"remount,bind,{'rw' if writable else 'ro'},nosuid,nodev,noexec,strictatime", self.seen)
        return os.fsencode(self.seen)

    def unmount(self, volume: Volume) -> None:
        self._step("unmount")
        if os.path.ismount(self.seen):
            run("umount", "--lazy", self.seen)

    def set_writable(self, disk: Disk) -> None:
        self._step("writable")
        self.read_only = False

    def set_read_only(self, disk: Disk) -> None:
        # Whatever else fails, this was asked for.
        self.steps.append("read-only")
        self.read_only = True
        if not self.present:
            raise CameraGoneError("the disk is gone")
        self.before("read-only")

    def is_read_only(self, disk: Disk) -> bool:
        return self.read_only

    def same_disk(self, disk: Disk) -> bool:
        return self.present


def failing(step: str) -> Callable[[str], None]:
    """For `PlayedMounts.before`: the service fails at this step."""

    def before(name: str) -> None:
        if name == step:
            raise DeviceServiceError(f"{step} failed")

    return before


class Card:
    """One ext4 card; `root` is where its maker and its user write."""

    def __init__(self, folder: Path) -> None:
        need_root("a card of its own")
        folder.mkdir(parents=True, exist_ok=True)
        image = folder / "card.img"
        with open(image, "wb") as file:
            file.truncate(64 * MIB)
        run("mke2fs", "-q", "-F", "-t", "ext4", image)
        self.root = folder / "card"
        self.root.mkdir()
        run("mount", "-o", "loop,strictatime", image, self.root)
        (self.root / "lost+found").rmdir()
        self.node = run("findmnt", "-no", "SOURCE", self.root)
        self.mounts = PlayedMounts(self.root, folder / "seen")
        self._cameras: list[MassStorageCamera] = []

    def device(self) -> UsbDevice:
        name = Path(self.node).name
        volume = Volume(self.node, name, 0, "ext4", "uuid", b"")
        disk = Disk(self.node, name, DISKSEQ, 64 * MIB, (volume,))
        return UsbDevice("/sys/devices/usb1/1-1", "1-1", 3, "46f4", "0001", b"CAM-1", ("08",), (disk,), True)

    def camera(
        self,
        patterns: Iterable[str] = ("**",),
        forbidden: Iterable[Path] = (),
        *,
        profile: bool = True,
        time_file: bytes | None = None,
        **more: object,
    ) -> MassStorageCamera:
        """The camera, not attached yet; `more` are fields of its device."""
        model = Profile(matcher(patterns), time_file=time_file) if profile else None
        device = replace(self.device(), **more)  # type: ignore[arg-type]
        camera = MassStorageCamera(device, "1", model, self.mounts, forbidden_places(*forbidden))
        self._cameras.append(camera)
        return camera

    def close(self) -> None:
        for camera in self._cameras:
            camera.close()
        for place in (self.mounts.seen, self.root):
            while os.path.ismount(place):
                run("umount", "--lazy", place)

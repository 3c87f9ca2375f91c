"""udev on the event loop: hears of every plug and pull, and lists what is there.

Listening begins before the first listing. After an overrun of the kernel's queue a monitor never recovers: it raises
an error without a number for ever. So after any error it is dropped, a new one is made, and everything is listed anew;
and it is listed every now and then besides.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import pyudev
import structlog

from dockd.usb.devices import UsbDevice, device_from

log = structlog.get_logger()

BURST: Final = 256
"""Events taken at once; the loop has other work too."""

AGAIN_S: Final = 1.0
RECEIVE_BYTES: Final = 8 * 1024 * 1024


def _new_monitor() -> Any:
    monitor = pyudev.Monitor.from_netlink(pyudev.Context())
    monitor.filter_by("usb")
    monitor.filter_by("block")
    with contextlib.suppress(OSError):
        # More than net.core.rmem_max is for root; the kernel takes what it grants.
        monitor.set_receive_buffer_size(RECEIVE_BYTES)
    monitor.start()
    return monitor


class UsbMonitor:
    """Calls `changed` on the loop whenever devices may have come or gone."""

    def __init__(self, changed: Callable[[], None], new_monitor: Callable[[], Any] = _new_monitor) -> None:
        self._changed = changed
        self._new_monitor = new_monitor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._monitor: Any = None
        self._fd = -1
        self._known: dict[str, str] = {}
        self.restarts = 0
        self.trouble: str | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen; what cannot be had now is tried again."""
        self._loop = loop
        self._open()

    def _open(self) -> None:
        if self._loop is None:
            return
        try:
            self._monitor = self._new_monitor()
        except (OSError, RuntimeError) as error:
            self._say(f"udev cannot be listened to: {error}")
            self._loop.call_later(AGAIN_S, self._open)
            return
        self._fd = self._monitor.fileno()
        self._loop.add_reader(self._fd, self._read)
        self.trouble = None
        # Whatever came before somebody listened is found by the listing that this causes.
        self._changed()

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("udev_trouble", what=trouble, hint="Devices are listed again and again all the same.")
        self.trouble = trouble

    def _read(self) -> None:
        """Take what has come in; names of what left are remembered, for its event has lost them."""
        try:
            for _ in range(BURST):
                event = self._monitor.poll(0)
                if event is None:
                    break
                log.debug("udev_event", action=event.action, path=event.sys_path, was=self._known.get(event.sys_path))
        except OSError as error:
            self._begin_anew(f"udev's events were lost: {error}")
            return
        self._changed()

    def _begin_anew(self, why: str) -> None:
        assert self._loop is not None
        self.restarts += 1
        self._say(why)
        self._close()
        # Not at once: one that fails for ever must not take all the time of the loop.
        self._loop.call_later(AGAIN_S if self.restarts > 1 else 0.0, self._open)

    def _close(self) -> None:
        if self._fd >= 0 and self._loop is not None:
            self._loop.remove_reader(self._fd)
        self._fd, self._monitor = -1, None

    def stop(self) -> None:
        """Listen no more."""
        self._close()
        self._loop = None

    def devices(self) -> dict[str, UsbDevice]:
        """Every device by its port, hubs excepted; blocks; raises OSError if udev cannot tell."""
        found = list_devices()
        for device in found.values():
            if device.sys_path not in self._known:
                log.info("usb_device", port=device.port, vendor=device.vendor, product=device.product)
        gone = self._known.keys() - {device.sys_path for device in found.values()}
        for path in gone:
            log.info("usb_device_gone", device=self._known[path])
        self._known = {d.sys_path: f"{d.port} {d.vendor}:{d.product}" for d in found.values()}
        return found


def list_devices() -> dict[str, UsbDevice]:
    """Every device by its port, hubs excepted; blocks; raises OSError if udev cannot tell."""
    context = pyudev.Context()
    usb = list(context.list_devices(subsystem="usb", DEVTYPE="usb_device"))
    blocks = [block for block in context.list_devices(subsystem="block") if "/usb" in block.sys_path]
    found = {}
    for one in usb:
        with contextlib.suppress(pyudev.DeviceNotFoundError, ValueError):
            device = device_from(one, blocks)
            if device is not None:
                found[device.port] = device
    return found

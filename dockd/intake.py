"""How footage comes in: finders, cameras and sessions, built from the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from dockd.alerts import AlertBoard
from dockd.cameras.base import Camera, Device
from dockd.cameras.folder import FolderCamera
from dockd.cameras.patterns import matcher
from dockd.cameras.volumes import Profile
from dockd.config import Config
from dockd.journal.rows import RecordingRow
from dockd.parts import accepted_weaknesses
from dockd.paths import Forbidden
from dockd.runtime.clock import Clock
from dockd.runtime.randomness import Randomness
from dockd.runtime.workers import Worker
from dockd.spool.spool import Spool
from dockd.stages.bays import Bays, Finder
from dockd.stages.camera_clock import CameraTime
from dockd.stages.folders import FolderFinder
from dockd.stages.lane import StoreLane
from dockd.stages.offload import OffloadParts
from dockd.stages.ports import Monitor, PortFinder
from dockd.stages.session import Session, SessionSettings
from dockd.stages.stalls import Stalls
from dockd.stages.wiping import Wiping
from dockd.usb.mounts import Mounts
from dockd.wipe.device import DeviceWipe
from dockd.wipe.execute import Wipe
from dockd.wipe.facts import CustodyState, SiteFacts, StoreCalls
from dockd.wipe.mirror import HoldMirror

DEVICE_RESCAN_S: Final = 60.0
"""How often a device is listed anew: it is closed for writing, so that nothing on it should change."""


@dataclass(slots=True)
class Intake:
    """Makes sessions for cameras of every kind."""

    config: Config
    offload: OffloadParts
    spool: Spool
    lane: StoreLane
    calls: StoreCalls
    holds: HoldMirror
    clock: Clock
    alerts: AlertBoard
    stalls: Stalls
    randomness: Randomness
    wipe_mode: Callable[[], Literal["on", "observe", "off"]]
    grace_left_s: Callable[[RecordingRow], float | None]
    paused: Callable[[str], bool]
    forbidden: Callable[[], Forbidden]
    custody: Callable[[], CustodyState]
    make_monitor: Callable[[Callable[[], None]], Monitor]
    make_mounts: Callable[[], Mounts]

    def bays(self) -> Bays | None:
        """The bays that the configuration speaks of; None if it speaks of none."""
        finders: list[Finder] = []
        if self.config.folder_cameras is not None:
            finders.append(self._folders())
        if self.config.bays:
            finders.append(self._ports())
        return Bays(finders, self.stalls, self.alerts, self._session) if finders else None

    def _folders(self) -> FolderFinder:
        cameras = self.config.folder_cameras
        assert cameras is not None
        is_recording = matcher(cameras.recordings)

        def open_camera(path: bytes) -> FolderCamera:
            return FolderCamera(path, is_recording, self.forbidden(), _bytes(cameras.time_file))

        return FolderFinder(os.fsencode(cameras.path), cameras.rescan_s, open_camera)

    def _ports(self) -> PortFinder:
        profiles = {
            (camera.match.vendor, camera.match.product): Profile(
                matcher(camera.recordings), camera.serial, _bytes(camera.time_file)
            )
            for camera in self.config.cameras
        }
        return PortFinder(
            {bay.usb_port: bay.number for bay in self.config.bays},
            lambda vendor, product: profiles.get((vendor, product)),
            self.make_monitor,
            self.make_mounts(),
            self.alerts,
            self.forbidden,
        )

    # --- sessions ------------------------------------------------------------------------------------

    def _session(self, camera: Camera, worker: Worker, clash: Callable[[], bool]) -> Session:
        facts = SiteFacts(
            self.offload.journal,
            self.calls,
            self.clock,
            self.holds.renew,
            self.spool.directory,
            accepted_weaknesses(self.config),
            camera,
            lambda: self.wipe_mode() in ("on", "observe"),
            self.grace_left_s,
            clash,
            self.custody,
        )
        subject = f"camera-{camera.identity.part}"
        device = camera if isinstance(camera, Device) else None

        def wipe(docking_id: int) -> Wipe:
            if device is None:
                return Wipe(self.offload.journal, camera, docking_id, worker, facts)
            return DeviceWipe(
                self.offload.journal,
                camera,
                docking_id,
                worker,
                facts,
                device=device,
                tell=lambda what: self.alerts.put("survivors_damaged", subject, what),
            )

        wiping = Wiping(
            self.offload.journal,
            self.lane,
            self.randomness,
            self.wipe_mode,
            self.grace_left_s,
            wipe,
            lambda what: self.alerts.put("wipe_blocked", subject, what),
            whole=device is not None,
        )
        clock = CameraTime(self.offload.journal, camera, worker, self.clock)
        return Session(self.offload, camera, worker, self.lane, self.alerts, self._settings(camera), wiping, clock)

    def _settings(self, camera: Camera) -> SessionSettings:
        folders = self.config.folder_cameras
        # Nobody writes to a device that is closed for writing: what is on it has come to rest.
        settle_s, rescan_s = 0.0, DEVICE_RESCAN_S
        if folders is not None and not isinstance(camera, Device):
            settle_s, rescan_s = folders.settle_s, folders.rescan_s
        return SessionSettings(self.config.dock.name, settle_s, rescan_s, self.paused)


def _bytes(path: str | None) -> bytes | None:
    return None if path is None else path.encode()

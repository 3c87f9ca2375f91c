"""The whole way once: from a camera on real USB into a bucket of a real Ceph, and the camera emptied."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ceph
import pytest
from e2e.usb.station import Station
from s3_bucket import Bucket

MIB = 1 << 20
pytestmark = [pytest.mark.usb, pytest.mark.timeout(1500)]


class S3Station(Station):
    """See `Station`; its store is a bucket, which it reaches by way of this host's loopback."""

    # As root, who reads the credentials and then is dockd.
    INIT = "dockd store init"

    def __init__(self, root: Path, build: Path, bucket: Bucket, **settings: Any) -> None:
        self.bucket = bucket
        super().__init__(root, build, **settings)

    def store_table(self) -> str:
        return (
            f'kind = "s3"\nbucket = "{self.bucket.name}"\nendpoint_url = "http://10.0.2.2:{self.bucket.ceph.port}"\n'
            'part_size = "5MiB"\naccess_key_credential = "s3-access-key"\nsecret_key_credential = "s3-secret-key"'
        )

    @contextmanager
    def stored(self) -> Iterator[Path]:
        folder = self.root / "stored"
        self.bucket.copy_to(folder)
        yield folder
        shutil.rmtree(folder)

    def boot(self) -> None:
        super().boot()
        self.machine.add_network()
        for name, secret in (("access", ceph.ACCESS_KEY), ("secret", ceph.SECRET_KEY)):
            path = f"/etc/dockd/credentials/s3-{name}-key"
            self.machine.agent.write(path, secret.encode())
            self.machine.ask("chmod", "0600", path)


@pytest.fixture
def s3_station(build: Path, ceph_service: ceph.Ceph) -> Iterator[S3Station]:
    # A short name, for a socket's path may not be long.
    folder = Path(tempfile.mkdtemp(prefix="usb-", dir="/var/tmp"))
    made = S3Station(folder, build, Bucket(ceph_service, versioned=True))
    yield made
    made.close()


def test_a_camera_on_usb_is_emptied_into_a_bucket(s3_station: S3Station) -> None:
    station = s3_station
    station.start()
    station.plug(station.camera("CAM1", "vfat", {"a.mp4": 12 * MIB + 7, "sub/b.mp4": 70_000}, table="dos"), 1)
    station.plug(station.camera("CAM2", "exfat", {"a.mp4": 5 * MIB + 1}), 2)
    station.wait_counts(in_store=2)
    # In the middle of it the dock loses its power.
    station.cut_power()
    station.power_on()
    station.wait_counts(wiped=3)
    confirmed = station.events("recording_confirmed")
    assert all(event["version"].startswith("version=") for event in confirmed)
    assert {event["write_block"] for event in station.events("camera_docked")} == {"block"}
    station.finish()
    assert station.bucket.uploads() == []

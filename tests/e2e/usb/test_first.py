"""Cameras in their bays, from plug to ready."""

import pytest

MIB = 1 << 20
pytestmark = [pytest.mark.usb, pytest.mark.timeout(1500)]


def test_eight_cameras_at_once_go_to_ready(station):
    kinds = ["vfat", "exfat", "ext4", "vfat", "exfat", "ext4", "vfat", "exfat"]
    tables = ["", "dos", "gpt", "dos", "gpt", "", "gpt", ""]
    cams = [
        station.camera(f"CAM{n}", kind, {"a.mp4": 3 * MIB, "sub/b.mp4": 70_000}, table=table)
        for n, (kind, table) in enumerate(zip(kinds, tables, strict=True), start=1)
    ]
    for bay, cam in enumerate(cams, start=1):
        station.plug(cam, bay)
    status = station.finish()
    assert [bay["state"] for bay in status["bays"]] == ["ready"] * 8
    assert all(bay["safe_to_take"] for bay in status["bays"])

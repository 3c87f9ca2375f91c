"""A dock whose store is a bucket of a real Ceph: sent in parts, read back, wiped; and what gets in its way."""

import hashlib
import time

import ceph
import pytest
from e2e.harness import alerts
from e2e.planting import MIB, pieces
from e2e.proxy import answering, faults
from e2e.s3_dock import write_keys

pytestmark = [pytest.mark.s3, pytest.mark.timeout(900)]
PARTS_AT_ONCE = 4


def test_a_camera_is_emptied_into_a_bucket(s3_dock):
    dock = s3_dock
    dock.cameras.add("CAM1", {b"a.mp4": 23 * MIB + 7, b"b.mp4": 5 * MIB, b"c.jpg": 4000, b"DCIM/d.MOV": 5 * MIB + 1})
    dock.finish()
    for path in dock.objects("CAM1"):
        key = path.relative_to(dock.store).as_posix()
        head = dock.bucket.owner.head_object(Bucket=dock.bucket.name, Key=key)
        assert head["Metadata"] == {
            "blake3": path.name.partition(".")[0],
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": str(path.stat().st_size),
            "camera": "CAM1",
            "dock": "calgary/district-4/dock-07",
        }
    confirmed = dock.events("recording_confirmed")
    assert len(confirmed) == 4
    assert all(event["version"].startswith("version=") and event["past_cache"] for event in confirmed)
    assert dock.audit()["checked"] == 4
    assert dock.status()["store"]["kind"] == "s3"


def test_a_kill_at_ten_points_of_an_upload_costs_the_parts_in_flight_only(make_s3_dock):
    dock = make_s3_dock(part_size="8MiB", wipe_mode="off")
    size, part = 200_000_000, 8 * MIB
    dock.proxy.bytes_per_s = 12e6
    dock.cameras.add("CAM1", {b"long.mp4": size})
    held = 0
    for kill in range(1, 11):
        before = dock.proxy.up_bytes
        dock.start()
        dock.until(lambda n=kill: stored_bytes(dock) >= n * size // 12, f"{kill} twelfths are there")
        dock.kill()
        sent = dock.proxy.up_bytes - before
        now = stored_bytes(dock)
        assert sent - (now - held) <= PARTS_AT_ONCE * part + MIB, f"kill {kill}: more than what was in flight was lost"
        held = now
    dock.proxy.bytes_per_s = None
    before = dock.proxy.up_bytes
    dock.start()
    dock.wait_stored(1, 600)
    assert dock.proxy.up_bytes - before <= size - held + MIB
    (stored,) = dock.objects("CAM1")
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == dock.events("recording_confirmed")[0]["sha256"]
    assert dock.bucket.uploads() == []


def stored_bytes(dock):
    """How much of the parts of an upload the store holds."""
    total = 0
    for key, upload in dock.bucket.uploads():
        pages = dock.bucket.owner.get_paginator("list_parts")
        for page in pages.paginate(Bucket=dock.bucket.name, Key=key, UploadId=upload):
            total += sum(part["Size"] for part in page.get("Parts", ()))
    return total


@pytest.mark.parametrize("seed", [1, 2])
def test_a_bad_line_loses_nothing_and_lies_about_nothing(make_s3_dock, seed):
    dock = make_s3_dock()
    dock.proxy.mangle = faults(seed, up=True, down=True, every_bytes=12 * MIB)
    dock.start()
    dock.cameras.add("CAM1", {b"a.mp4": 22 * MIB, b"b.mp4": 12 * MIB + 5, b"c.mp4": 70_000})
    dock.wait_stored(3, 600)
    dock.proxy.mangle = lambda data, stream: data
    dock.finish(600)


def test_an_object_that_was_altered_before_the_read_back_is_not_confirmed(make_s3_dock):
    dock = make_s3_dock()
    dock.cameras.add("CAM1", {b"a.mp4": 6 * MIB})
    entry = dock.cameras.newest("CAM1", b"a.mp4")
    key = f"calgary/recordings/CAM1/{entry.content.blake3}.mp4"
    dock.bucket.put(key, b"something else")
    dock.damaged.add(key)
    dock.start()
    dock.wait_alert("store_conflict")
    status = dock.wait_idle()
    assert (status["counts"]["in_store"], status["counts"]["wiped"]) == (0, 0)
    assert dock.bay("CAM1")["safe_to_take"] is False
    dock.judge()


def test_an_object_that_was_altered_after_it_was_confirmed_is_found_by_the_audit(s3_dock):
    dock = s3_dock
    dock.cameras.add("CAM1", {b"a.mp4": 6 * MIB, b"b.mp4": 1000, b"c.mp4": 2000})
    dock.finish()
    first, second, _ = sorted(dock.bucket.names("calgary/recordings/"))
    data = bytearray(dock.bucket.get(first))
    data[len(data) // 2] ^= 1
    dock.bucket.put(first, bytes(data))
    dock.bucket.remove(second)
    dock.damaged |= {first, second}
    report = dock.audit(codes=(1,))
    assert (report["altered"], report["missing"], report["checked"]) == (1, 1, 3)
    dock.wait(lambda s: s["counts"]["unaccounted"] == 2, "the daemon has taken up what the audit found")


def test_a_camera_that_roams_is_confirmed_without_sending_it_again(make_s3_dock):
    one = make_s3_dock(wipe_mode="off")
    two = make_s3_dock(name="dock-08")
    one.neighbours.append(two)
    two.neighbours.append(one)
    one.start()
    one.cameras.add("CAM1", {b"a.mp4": 12 * MIB})
    one.wait_stored(1)
    one.cameras.undock("CAM1")
    one.cameras.hand_over("CAM1", two.cameras)
    before = two.proxy.up_bytes
    two.start()
    two.wait(lambda s: s["counts"]["wiped"] == 1, "it is wiped at the other dock")
    assert two.proxy.up_bytes - before < MIB
    assert two.events("recording_uploaded")[0]["already_there"] is True


def test_a_store_that_is_gone_is_waited_for(s3_dock):
    dock = s3_dock
    dock.proxy.refuse()
    dock.cameras.add("CAM1", {b"a.mp4": 7 * MIB, b"b.mp4": 1000})
    alert = dock.wait_alert("store_unavailable")
    assert "Look at the network" in alert["hint"]
    dock.wait(lambda s: s["counts"]["recordings"] == 2, "it is taken in all the same")
    assert dock.counts()["in_store"] == 0
    tried = dock.proxy.connections
    dock.wait_alert("store_unavailable")
    assert dock.proxy.connections - tried < 200, "no hot loop"
    dock.proxy.refuse(False)
    dock.finish()
    assert not alerts(dock.status(), "store_unavailable")


def test_wrong_keys_are_named_and_right_ones_taken_up(make_s3_dock, tmp_path):
    dock = make_s3_dock()
    write_keys(tmp_path / "credentials", secret="wrong")
    dock.start()
    dock.cameras.add("CAM1", {b"a.mp4": 1000})
    alert = dock.wait_alert("store_unavailable")
    assert "SignatureDoesNotMatch" in alert["what"]
    assert "access_key_credential" in alert["hint"]
    write_keys(tmp_path / "credentials")
    dock.finish()


def test_a_bucket_that_is_not_there_is_named(make_s3_dock):
    dock = make_s3_dock()
    dock.configure(bucket="not-there-at-all")
    dock.start()
    dock.cameras.add("CAM1", {b"a.mp4": 1000})
    alert = dock.wait_alert("store_unavailable")
    assert "NoSuchBucket" in alert["what"]
    assert "Make the bucket" in alert["hint"]
    assert dock.term() == 0
    dock.configure(bucket=dock.bucket.name)
    dock.start()
    dock.finish()


def test_a_quota_that_is_full_is_waited_for(make_s3_dock):
    dock = make_s3_dock()
    service: ceph.Ceph = dock.bucket.ceph
    which = ("--quota-scope=bucket", f"--bucket={dock.bucket.name}")
    service.admin("quota", "set", *which, "--max-objects=1")
    service.admin("quota", "enable", *which)
    try:
        dock.start()
        dock.cameras.add("CAM1", {b"a.mp4": 6 * MIB, b"b.mp4": 1000})
        dock.wait_alert("store_full")
    finally:
        service.admin("quota", "disable", *which)
    dock.finish(300)


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [("503 Slow Down", "SlowDown", "too much to do"), ("403 Forbidden", "RequestTimeTooSkewed", "clock")],
)
def test_a_store_that_puts_off_is_asked_seldom_and_gone_on_with(make_s3_dock, status, code, hint):
    dock = make_s3_dock()
    dock.start()
    dock.proxy.mangle = answering(status, code)
    dock.cameras.add("CAM1", {b"a.mp4": 7 * MIB, b"b.mp4": 1000})
    alert = dock.wait_alert("store_unavailable")
    assert code in alert["what"]
    assert hint in alert["hint"]
    before, start_s = dock.proxy.connections, time.monotonic()
    dock.wait(lambda s: s["counts"]["recordings"] == 2 and time.monotonic() - start_s > 10, "it is taken in")
    # A few attempts of a few connections each, and not hundreds.
    assert dock.proxy.connections - before < 10 * (time.monotonic() - start_s)
    assert (dock.counts()["in_store"], dock.counts()["wiped"]) == (0, 0)
    dock.proxy.mangle = lambda data, stream: data
    dock.finish()
    assert not alerts(dock.status(), "store_unavailable")


def test_two_docks_that_race_for_a_key_end_with_one_right_object(make_s3_dock):
    docks = [make_s3_dock(versioned=False), make_s3_dock(name="dock-08")]
    one, two = docks
    for dock, other in ((one, two), (two, one)):
        dock.neighbours.append(other)
        dock.proxy.bytes_per_s = 6e6
        dock.start()
    # Two docks see a camera of one name with the same recording on it, at the same moment.
    data = b"".join(pieces("race", 30 * MIB))
    for dock in docks:
        dock.cameras.add("CAM1", {b"a.mp4": data})
    for dock in docks:
        dock.until(lambda d=dock: d.proxy.up_bytes > 6 * MIB, "both are sending")
    for dock in docks:
        dock.proxy.bytes_per_s = None
    for dock in docks:
        dock.wait(lambda s: s["counts"]["wiped"] == 1, "it is confirmed and wiped at both")
    (stored,) = one.objects("CAM1")
    confirmed = [dock.events("recording_confirmed") for dock in docks]
    assert [len(events) for events in confirmed] == [1, 1]
    assert {events[0]["sha256"] for events in confirmed} == {hashlib.sha256(stored.read_bytes()).hexdigest()}
    assert {events[0]["version"] for events in confirmed} == {confirmed[0][0]["version"]}
    assert one.bucket.uploads() == []

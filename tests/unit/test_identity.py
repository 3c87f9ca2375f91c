"""What cameras, recordings and keys are called: the contract's words, name by name."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import blake3
import pytest

from dockd.identity import (
    CameraIdentity,
    Seen,
    docking_key,
    docking_name,
    encode_part,
    implausible_size,
    name_fields,
    recording_key,
    same_recording,
    suffix_of,
)

HOUR_NS = 3_600_000_000_000
DIGEST = "0123456789abcdef" * 4
KNOWN = Seen(size_bytes=1000, mtime_ns=1_770_000_000_123_456_789, device=5, inode=11, ctime_ns=7)


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        (b"CAM-1_x.MP4", "CAM-1_x.MP4"),
        (b"a b", "a%20b"),
        (b"a/b", "a%2Fb"),
        (b".", "%2E"),
        (b"..", "%2E."),
        (b".hidden", "%2Ehidden"),
        (b"a.b.", "a.b."),
        (b"%41", "%2541"),
        (b"~", "%7E"),
        (b"#+$", "%23%2B%24"),
        (b"\x00\n\xff", "%00%0A%FF"),
        ("é".encode(), "%C3%A9"),
    ],
)
def test_a_part_is_encoded_byte_by_byte(raw: bytes, part: str) -> None:
    assert encode_part(raw) == part


@pytest.mark.parametrize("raw", [b"a" * 200, b"\xff" * 66, b"a" * 197 + b"/", b"." + b"a" * 197])
def test_up_to_200_bytes_a_part_stands_in_full(raw: bytes) -> None:
    part = encode_part(raw)
    assert "~" not in part
    assert len(part) <= 200


@pytest.mark.parametrize("raw", [b"a" * 201, b"\xff" * 67, b"a" * 198 + b"/", b"." + b"a" * 198])
def test_above_200_bytes_a_part_is_its_first_160_and_a_digest_of_the_raw_bytes(raw: bytes) -> None:
    full = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02X}" for byte in raw)
    assert len(full) > 200
    assert encode_part(raw) == full[:160] + "~" + blake3.blake3(raw).hexdigest()[:32]


def test_long_names_with_one_beginning_stay_apart() -> None:
    names = [b"a" * 300, b"a" * 301, b"a" * 299 + b"b", b"a" * 160 + b"/" * 200]
    parts = {encode_part(name) for name in names}
    assert len(parts) == len(names)
    # Nor can a name be made to look like the short form of another one.
    assert not parts & {encode_part(part.encode()) for part in parts}


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        encode_part(b"")


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        (b"DCIM/one.MP4", ".mp4"),
        (b"one.tar.gz", ".gz"),
        (b"one.abcdefgh", ".abcdefgh"),
        (b"one.abcdefghi", ""),
        (b"one.7", ".7"),
        (b"one.", ""),
        (b"one", ""),
        (b".mp4", ""),
        (b"DCIM/.mp4", ""),
        (b"..mp4", ".mp4"),
        (b"DCIM.d/one", ""),
        (b"one.mp4 ", ""),
        (b"one.mp4\n", ""),
        (b"one.m_4", ""),
        ("one.mp\u0664".encode(), ""),
        (b"one.\xff", ""),
        (b"one.a/b", ""),
    ],
)
def test_a_suffix_is_one_to_eight_ascii_letters_or_digits(path: bytes, suffix: str) -> None:
    assert suffix_of(path) == suffix


def test_a_recordings_key_is_made_of_its_camera_and_its_content() -> None:
    camera = CameraIdentity(b"CAM 1/2", "46f4", "0001")
    key = recording_key("calgary", camera, b"DCIM/one.MP4", DIGEST)
    assert key == f"calgary/recordings/CAM%201%2F2/{DIGEST}.mp4"
    assert recording_key("calgary", camera, b"elsewhere/two.mp4", DIGEST) == key
    assert recording_key("calgary", camera, b"DCIM/one", DIGEST) == key.removesuffix(".mp4")


@pytest.mark.parametrize("digest", ["", DIGEST[:-1], DIGEST + "0"])
def test_a_key_is_made_of_a_whole_digest_only(digest: str) -> None:
    with pytest.raises(ValueError, match="64"):
        recording_key("calgary", CameraIdentity(b"c"), b"one", digest)


def test_a_camera_that_calls_itself_as_a_path_stays_in_its_folder() -> None:
    for serial in (b"..", b".", b"../../holds", b"/etc", b"a/../b"):
        key = recording_key("calgary", CameraIdentity(serial), b"../one.mp4", DIGEST)
        agency, kind, camera, name = key.split("/")
        assert (agency, kind, name) == ("calgary", "recordings", f"{DIGEST}.mp4")
        assert camera not in {"", ".", ".."}


def test_a_dockings_key_names_its_parts_after_the_first() -> None:
    camera = CameraIdentity(b"CAM 1")
    assert docking_key("calgary", camera, "20260301T1-1-d", 1) == "calgary/dockings/CAM%201/20260301T1-1-d.json"
    assert docking_key("calgary", camera, "20260301T1-1-d", 2) == "calgary/dockings/CAM%201/20260301T1-1-d.0002.json"


def test_dockings_sort_by_time_even_when_the_clock_goes_back() -> None:
    now = datetime(2026, 3, 1, 12, 0, 0, 250_999, UTC)
    first = docking_name(now, None, "dock-07", 1)
    assert first == "20260301T120000250Z-00000001-dock-07"
    a_day_back = docking_name(now - timedelta(days=1), first, "dock-07", 2)
    same_instant = docking_name(now, a_day_back, "dock-07", 3)
    later = docking_name(now + timedelta(milliseconds=1), same_instant, "dock-07", 4)
    assert [first, a_day_back, same_instant, later] == sorted({first, a_day_back, same_instant, later})
    assert re.fullmatch(r"[0-9TZa-z-]+", later)


@pytest.mark.parametrize(
    ("size_bytes", "odd"), [(0, True), (2**32 - 1, True), (1, False), (2**32, False), (2**40, False)]
)
def test_sizes_that_broken_counters_show_are_not_believed(size_bytes: int, odd: bool) -> None:
    assert (implausible_size(size_bytes) is not None) is odd


@pytest.mark.parametrize(
    ("now", "same"),
    [
        (KNOWN, True),
        (Seen(1001, KNOWN.mtime_ns, 5, 11, 7), False),
        (Seen(1000, KNOWN.mtime_ns + 1, 5, 11, 7), False),
        (Seen(1000, KNOWN.mtime_ns, 5, 12, 7), False),
        # The kernel numbers devices anew at each docking, and a rename touches ctime alone.
        (Seen(1000, KNOWN.mtime_ns, 6, 11, 8), True),
    ],
)
def test_a_file_is_known_by_size_mtime_and_inode(now: Seen, same: bool) -> None:
    assert same_recording(KNOWN, now, stable_inodes=True, local_times=False) is same


def test_where_inodes_are_not_stable_they_tell_nothing() -> None:
    now = Seen(1000, KNOWN.mtime_ns, 5, 12, 7)
    assert same_recording(KNOWN, now, stable_inodes=False, local_times=False)


@pytest.mark.parametrize("hours", [-26, -12, -1, 1, 2, 26])
def test_fat_times_may_shift_by_whole_hours(hours: int) -> None:
    now = Seen(1000, KNOWN.mtime_ns + hours * HOUR_NS, 5, 11, 7)
    assert same_recording(KNOWN, now, stable_inodes=False, local_times=True)
    assert not same_recording(KNOWN, now, stable_inodes=False, local_times=False)


@pytest.mark.parametrize("shift_ns", [1, -1, HOUR_NS // 2, HOUR_NS + 2_000_000_000, 27 * HOUR_NS, -48 * HOUR_NS])
def test_other_shifts_make_another_recording_on_fat_too(shift_ns: int) -> None:
    now = Seen(1000, KNOWN.mtime_ns + shift_ns, 5, 11, 7)
    assert not same_recording(KNOWN, now, stable_inodes=False, local_times=True)


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        (b"one.mp4", {"path": "one.mp4"}),
        ("é\n\U0001f4f7".encode(), {"path": "é\n\U0001f4f7"}),
        (b"one\xff", {"path": "one\ufffd", "path_hex": "6f6e65ff"}),
        # An encoded surrogate and an overlong slash are no UTF-8.
        (b"\xed\xa0\x80", {"path": "\ufffd\ufffd\ufffd", "path_hex": "eda080"}),
        (b"\xc0\xaf", {"path": "\ufffd\ufffd", "path_hex": "c0af"}),
    ],
)
def test_a_name_is_text_and_hex_too_when_it_is_not_utf_8(raw: bytes, fields: dict[str, str]) -> None:
    assert name_fields("path", raw) == fields

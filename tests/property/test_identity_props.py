"""Names from outside are hostile bytes; what is made of them is harmless, and never one for two."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote_from_bytes, unquote_to_bytes

import blake3
from hypothesis import given
from hypothesis import strategies as st

from dockd.identity import (
    CameraIdentity,
    Seen,
    docking_name,
    encode_part,
    name_fields,
    recording_key,
    same_recording,
    suffix_of,
)

# Names that are short, at the limit, and beyond it; with a common beginning, so that ends have to count.
ENDS = st.binary(max_size=12)
NAMES = st.one_of(
    st.binary(min_size=1, max_size=80),
    st.builds(lambda n, end: b"a" * n + end, st.integers(1, 320), ENDS),
    st.builds(lambda n, end: b"\xff" * n + end, st.integers(1, 110), ENDS),
    st.text("./~%aZ0-_ ", min_size=1, max_size=300).map(str.encode),
)


def by_the_contract(raw: bytes) -> str:
    """The rule as it stands in the contract, by means of another library."""
    encoded = quote_from_bytes(raw, safe="").replace("~", "%7E")
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if len(encoded) > 200:
        return encoded[:160] + "~" + blake3.blake3(raw).hexdigest()[:32]
    return encoded


@given(NAMES)
def test_a_part_is_what_the_contract_says(raw: bytes) -> None:
    assert encode_part(raw) == by_the_contract(raw)


@given(NAMES)
def test_a_part_is_harmless(raw: bytes) -> None:
    part = encode_part(raw)
    assert re.fullmatch(r"[A-Za-z0-9_%~-][A-Za-z0-9_.%~-]*", part)
    assert part not in {"", ".", ".."}
    assert len(part) <= 200


@given(NAMES)
def test_a_short_part_gives_back_the_bytes(raw: bytes) -> None:
    part = encode_part(raw)
    if "~" not in part:
        assert unquote_to_bytes(part) == raw


@given(st.lists(NAMES, min_size=2, max_size=8, unique=True))
def test_distinct_names_give_distinct_parts(names: list[bytes]) -> None:
    parts = [encode_part(name) for name in names]
    # The parts taken as names, too: what is shortened must not be a name's own part.
    again = [encode_part(part.encode()) for part in parts if part.encode() not in names]
    assert len(set(parts)) == len(names)
    assert not set(parts) & set(again)


@given(NAMES, st.binary(min_size=1, max_size=300), st.binary(min_size=32, max_size=32))
def test_a_key_has_four_parts_whatever_the_names(serial: bytes, path: bytes, digest: bytes) -> None:
    key = recording_key("calgary", CameraIdentity(serial), path, digest.hex())
    agency, kind, camera, name = key.split("/")
    assert (agency, kind, camera) == ("calgary", "recordings", encode_part(serial))
    assert re.fullmatch(r"[0-9a-f]{64}(\.[a-z0-9]{1,8})?", name)


@given(st.binary(max_size=60))
def test_a_suffix_is_the_names_own(path: bytes) -> None:
    suffix = suffix_of(path)
    name = path.rsplit(b"/", 1)[-1]
    found = re.fullmatch(rb"(?s).+\.([A-Za-z0-9]{1,8})", name)
    assert suffix == ("" if found is None else "." + found.group(1).decode().lower())


MOMENTS = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 31)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(st.lists(MOMENTS, min_size=2, max_size=12))
def test_dockings_sort_in_the_order_in_which_they_began(moments: list[datetime]) -> None:
    names: list[str] = []
    for number, moment in enumerate(moments, start=1):
        names.append(docking_name(moment, names[-1] if names else None, "dock-07", number))
    assert names == sorted(set(names))


SEEN = st.builds(
    Seen,
    size_bytes=st.integers(0, 3),
    mtime_ns=st.sampled_from([0, 1, 3_600_000_000_000, 7_200_000_000_000, 200 * 3_600_000_000_000]),
    device=st.integers(0, 1),
    inode=st.integers(0, 1),
    ctime_ns=st.integers(0, 1),
)


@given(SEEN, SEEN, st.booleans(), st.booleans())
def test_a_known_recording_is_never_one_of_another_size_or_inode(
    known: Seen, now: Seen, stable_inodes: bool, local_times: bool
) -> None:
    same = same_recording(known, now, stable_inodes=stable_inodes, local_times=local_times)
    assert same == same_recording(now, known, stable_inodes=stable_inodes, local_times=local_times)
    if same:
        assert known.size_bytes == now.size_bytes
        assert known.inode == now.inode or not stable_inodes
        assert known.mtime_ns == now.mtime_ns or local_times
    elif known.size_bytes == now.size_bytes and known.mtime_ns == now.mtime_ns:
        assert stable_inodes
        assert known.inode != now.inode


@given(st.binary(max_size=80))
def test_no_byte_of_a_name_is_lost_in_json(raw: bytes) -> None:
    fields = name_fields("path", raw)
    assert (bytes.fromhex(fields["path_hex"]) if "path_hex" in fields else fields["path"].encode()) == raw
    fields["path"].encode("utf-8")

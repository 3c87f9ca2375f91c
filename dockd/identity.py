"""What a camera, a recording and a key are called.

Pure functions over bytes. Everything that comes from outside (serials, file names) is bytes, never
assumed to be text, and is encoded part by part before it becomes a key.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

import blake3

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
PART_LIMIT_BYTES = 200
_KEPT_BYTES = 160
_SUFFIX = re.compile(rb"\.([A-Za-z0-9]{1,8})\Z")
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ODD_SIZES = frozenset({2**32 - 1})


def encode_part(raw: bytes) -> str:
    """One part of a key or topic: `raw` percent-encoded outside `A-Z a-z 0-9 _ -` and `.`.

    A leading `.` is encoded too, and what would be longer than 200 bytes becomes its first 160 plus `~`
    and 32 hex digits of the BLAKE3 of `raw`. Distinct inputs give distinct parts, and none of them can
    be hidden, absolute, or climb. Raises ValueError for an empty part.
    """
    if not raw:
        raise ValueError("a part of a key cannot be empty")
    encoded = "".join(
        chr(byte) if byte in _PLAIN and not (index == 0 and byte == 0x2E) else f"%{byte:02X}"
        for index, byte in enumerate(raw)
    )
    if len(encoded) <= PART_LIMIT_BYTES:
        return encoded
    return f"{encoded[:_KEPT_BYTES]}~{blake3.blake3(raw).hexdigest()[:32]}"


def display_name(raw: bytes) -> str:
    """`raw` as text for people and JSON; what is not UTF-8 is replaced (see `name_fields`)."""
    return raw.decode("utf-8", errors="replace")


def plain_text(text: str) -> str:
    """`text` for a terminal: control, direction and line-breaking characters are shown, not obeyed.

    Names come from cameras: one of them must not forge a line of a report, or clear the screen.
    """
    return "".join(
        char if unicodedata.category(char) not in _UNPRINTABLE else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def plain_name(raw: bytes) -> str:
    """A name for people alone, on a terminal or in a sentence."""
    return plain_text(display_name(raw))


def name_fields(key: str, raw: bytes) -> dict[str, str]:
    """`raw` for a JSON object: `{key: text}`, plus `{key}_hex` when the bytes are not UTF-8."""
    try:
        return {key: raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {key: display_name(raw), f"{key}_hex": raw.hex()}


@dataclass(frozen=True, slots=True)
class CameraIdentity:
    """Who a camera is: its serial, with vendor and product where the bus tells them."""

    serial: bytes
    vendor: str = ""
    product: str = ""

    @property
    def part(self) -> str:
        """The camera's part of keys and topics."""
        return encode_part(self.serial)


def suffix_of(path: bytes) -> str:
    """The file's own suffix with its dot, lower case, if it is 1 to 8 ASCII letters or digits; else empty."""
    name = path.rsplit(b"/", 1)[-1]
    match = _SUFFIX.search(name)
    if match is None or match.start() == 0:
        return ""
    return "." + match.group(1).decode("ascii").lower()


def recording_key(agency: str, camera: CameraIdentity, path: bytes, blake3_hex: str) -> str:
    """Where the store keeps a recording: decided by its content and its camera, never by a clock."""
    if len(blake3_hex) != 64:
        raise ValueError("a BLAKE3 digest has 64 hex digits")
    return f"{agency}/recordings/{camera.part}/{blake3_hex}{suffix_of(path)}"


def docking_key(agency: str, camera: CameraIdentity, docking: str, part: int) -> str:
    """Where the store keeps a docking's manifest; parts after the first name what came later in the same stay."""
    tail = "" if part == 1 else f".{part:04d}"
    return f"{agency}/dockings/{camera.part}/{docking}{tail}.json"


def custody_prefix(dock: str) -> str:
    """The folder of the store that keeps a dock's chains; `dock` is agency/site/name."""
    agency, site, name = dock.split("/")
    return f"{agency}/custody/{site}/{name}"


def docking_name(now: datetime, last: str | None, dock: str, number: int) -> str:
    """A docking's id, which sorts by time even if the clock has gone back since `last`.

    `now` is UTC; `last` is the previous id in this journal; `number` counts this journal's dockings.
    """
    stamp = now.strftime("%Y%m%dT%H%M%S") + f"{now.microsecond // 1000:03d}Z"
    if last is not None:
        stamp = max(stamp, last.split("-", 1)[0])
    return f"{stamp}-{number:08d}-{dock}"


def implausible_size(size_bytes: int) -> str | None:
    """Why a size cannot be believed as that of a recording, or None.

    Zero may be the head of a video whose length was never written; 2^32-1 is what broken counters show.
    """
    if size_bytes == 0:
        return "zero-length"
    if size_bytes in _ODD_SIZES:
        return "size-2^32-1"
    return None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the file system said about a file at one instant (times in ns)."""

    size_bytes: int
    mtime_ns: int
    device: int
    inode: int
    ctime_ns: int


_FAT_SHIFT_NS = 3600 * 1_000_000_000


def same_recording(known: Seen, now: Seen, *, stable_inodes: bool, local_times: bool) -> bool:
    """Whether a file may still be the recording that was known; if not, a new generation begins.

    `local_times`: FAT keeps local time, so whole hours of difference are the time zone's and no change.
    A True is never proof: reading the content decides.
    """
    if known.size_bytes != now.size_bytes:
        return False
    if stable_inodes and known.inode != now.inode:
        return False
    shift_ns = now.mtime_ns - known.mtime_ns
    if shift_ns == 0:
        return True
    return local_times and shift_ns % _FAT_SHIFT_NS == 0 and abs(shift_ns) <= 26 * _FAT_SHIFT_NS

"""What one value of the configuration may be: names, sizes, durations, paths, patterns.

Each function takes a raw TOML value and gives the typed one. All of them raise PydanticCustomError that says
what would be right; `refused` makes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from pydantic_core import PydanticCustomError

_NAME = re.compile(r"[a-z0-9-]{1,20}")
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s?([A-Za-z]+)")
_HEX4 = re.compile(r"[0-9a-fA-F]{4}")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# A name without blanks, and an Ed25519 key as ssh-keygen writes it; its comment is left out.
_SIGNER = re.compile(
    r"([A-Za-z0-9._@+-]{1,64}) +(ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43})(?: .{0,200})?"
)
_REGION = re.compile(r"[A-Za-z0-9_-]{1,64}")
# At most five hubs lie between a root port and a device.
_USB_PORT = re.compile(r"[1-9][0-9]{0,2}-[1-9][0-9]?(\.[1-9][0-9]?){0,5}")

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40
_SIZE_UNITS_BYTES = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}
_SIZE_UNITS_BYTES |= {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
# Canonical JSON has no exact integers above this.
_SIZE_LIMIT_BYTES = 2**53 - 1
_SECOND_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATH_LIMIT_BYTES = 4095


def refused(expected: str, suggestion: str = "", *, secret: bool = False) -> PydanticCustomError:
    """The error for a value that should have been `expected`; a `secret` one is not shown again."""
    context = {"expected": expected, "suggestion": suggestion, "secret": secret}
    return PydanticCustomError("refused", "expected {expected}", context)


def name(raw: object) -> str:
    """An agency's, site's or dock's name."""
    if isinstance(raw, str) and _NAME.fullmatch(raw):
        return raw
    suggestion = re.sub(r"[^a-z0-9]+", "-", raw.lower()).strip("-")[:20] if isinstance(raw, str) else ""
    raise refused("1 to 20 of a-z, 0-9 and -", f'"{suggestion}"' if suggestion else "")


def size(at_least_bytes: int = 0, at_most_bytes: int = _SIZE_LIMIT_BYTES) -> Callable[[object], int]:
    """A reader of sizes such as "512MiB" within these bounds; it gives bytes."""
    expected = f'a size such as "512MiB" or "5GiB"{_bounds(at_least_bytes, at_most_bytes)}'

    def read(raw: object) -> int:
        amount, unit = _quantity(raw, _SIZE_UNITS_BYTES, {"k": "KiB", "m": "MiB", "g": "GiB", "t": "TiB"}, expected)
        size_bytes = round(amount * _SIZE_UNITS_BYTES[unit])
        if not at_least_bytes <= size_bytes <= at_most_bytes:
            raise refused(expected)
        return size_bytes

    return read


def duration(at_least_s: float, at_most_s: float) -> Callable[[object], float]:
    """A reader of durations such as "90s" within these bounds; it gives seconds."""
    expected = f'a duration such as "90s", "15m" or "72h" from {_seconds(at_least_s)} to {_seconds(at_most_s)}'

    def read(raw: object) -> float:
        words = {"sec": "s", "second": "s", "seconds": "s", "min": "m", "minute": "m", "minutes": "m"}
        words |= {"hour": "h", "hours": "h", "day": "d", "days": "d"}
        amount, unit = _quantity(raw, _SECOND_UNITS_S, words, expected)
        duration_s = amount * _SECOND_UNITS_S[unit]
        if not at_least_s <= duration_s <= at_most_s:
            raise refused(expected)
        return duration_s

    return read


def path(raw: object) -> Path:
    """An absolute path that does not climb and is not the root."""
    expected = "an absolute path without .., other than /"
    if not isinstance(raw, str) or "\0" in raw or len(raw.encode("utf-8", "surrogatepass")) > _PATH_LIMIT_BYTES:
        raise refused(expected)
    if not raw.startswith("/") or ".." in raw.split("/") or not raw.strip("/."):
        raise refused(expected)
    return Path(os.path.normpath("/" + raw.lstrip("/")))


def pattern(raw: object) -> str:
    """A pattern of paths below a camera's root."""
    if isinstance(raw, str) and raw and "\0" not in raw:
        parts = raw.split("/")
        if "" not in parts and ".." not in parts and "." not in parts:
            return raw
    raise refused('a pattern below the camera\'s root such as "DCIM/**": not empty, no leading or doubled /, no ..')


def file_below(raw: object) -> str:
    """One file below a camera's root."""
    if isinstance(raw, str) and raw.isprintable() and not {"", ".", ".."} & set(raw.split("/")):
        return raw
    raise refused('a file below the camera\'s root such as "LOG/TIME.TXT": no leading or doubled /, no ..')


def credential(raw: object) -> str:
    """The name of a file that holds a secret; never the secret itself."""
    if isinstance(raw, str) and _CREDENTIAL.fullmatch(raw):
        return raw
    raise refused("the plain name of a file in the credentials folder, not the secret itself", secret=True)


def usb_port(raw: object) -> str:
    """Where a bay is plugged in, as the kernel writes it."""
    return _matching(raw, _USB_PORT, 'a port such as "1-1.4"')


def usb_id(raw: object) -> str:
    """A USB vendor or product number, in lower case."""
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= 0xFFFF:
        raise refused('4 hex digits in quotes such as "46f4"', f'"{raw:04d}"' if raw <= 9999 else "")
    return _matching(raw, _HEX4, '4 hex digits such as "46f4"').lower()


def bucket(raw: object) -> str:
    """The name of an S3 bucket."""
    return _matching(raw, _BUCKET, "a bucket's name: 3 to 63 of a-z, 0-9, . and -")


def region(raw: object) -> str:
    """The name of an S3 region."""
    return _matching(raw, _REGION, 'a region such as "eu-central-1"')


def signer(raw: object) -> str:
    """A person's name and public key, as a line of allowed_signers."""
    found = _SIGNER.fullmatch(raw) if isinstance(raw, str) and raw.isprintable() else None
    if found is None:
        raise refused('a name and an Ed25519 key such as "j.doe ssh-ed25519 AAAAC3Nza…"')
    return f"{found[1]} {found[2]}"


def plain_text(raw: object) -> str:
    """Text of 1 to 200 printable characters."""
    if isinstance(raw, str) and 0 < len(raw) <= 200 and raw.isprintable():
        return raw
    raise refused("text of 1 to 200 printable characters")


def mqtt_url(raw: object) -> str:
    """Where the broker is: mqtt:// or mqtts://, a host, perhaps a port, and nothing else."""
    return _url(raw, ("mqtt", "mqtts"), 'a URL such as "mqtts://broker.example:8883"', root_only=True)


def endpoint_url(raw: object) -> str:
    """Where an S3 endpoint is."""
    return _url(raw, ("https", "http"), 'a URL such as "https://s3.example"', root_only=False)


def _matching(raw: object, form: re.Pattern[str], expected: str) -> str:
    if isinstance(raw, str) and form.fullmatch(raw):
        return raw
    raise refused(expected)


def _quantity(
    raw: object, units: dict[str, int] | dict[str, float], words: dict[str, str], expected: str
) -> tuple[float, str]:
    found = _QUANTITY.fullmatch(raw) if isinstance(raw, str) else None
    if found is None:
        raise refused(expected)
    amount, unit = found.groups()
    if unit not in units:
        likely = {known.lower(): known for known in units} | words
        known = likely.get(unit.lower())
        raise refused(expected, f'"{amount}{known}"' if known else "")
    return float(amount), unit


def _bounds(at_least_bytes: int, at_most_bytes: int) -> str:
    if at_least_bytes == 0:
        return ""
    return f" from {at_least_bytes // MIB}MiB to {at_most_bytes // MIB}MiB"


def _seconds(duration_s: float) -> str:
    if duration_s == 0:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if duration_s >= _SECOND_UNITS_S[unit] and duration_s % _SECOND_UNITS_S[unit] == 0:
            return f"{duration_s / _SECOND_UNITS_S[unit]:g}{unit}"
    return f"{duration_s * 1000:g}ms"


def _url(raw: object, schemes: tuple[str, ...], expected: str, *, root_only: bool) -> str:
    if not isinstance(raw, str) or not raw.isprintable() or " " in raw:
        raise refused(expected)
    try:
        parts = urlsplit(raw)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise refused(expected) from None
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise refused(f"{expected}, without user and password: these have keys of their own", secret=True)
    if parts.scheme not in schemes:
        raise refused(expected, _with_scheme(parts, schemes))
    if not usable or parts.query or parts.fragment or (root_only and parts.path not in ("", "/")):
        raise refused(expected)
    return raw


def _with_scheme(parts: SplitResult, schemes: tuple[str, ...]) -> str:
    likely = {"tcp": "mqtt", "ssl": "mqtts", "tls": "mqtts", "http": "mqtt", "https": "mqtts"}
    scheme = likely.get(parts.scheme, "")
    return f'"{scheme}://{parts.netloc}"' if scheme in schemes and parts.netloc else ""

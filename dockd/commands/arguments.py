"""What one word of the command line may be; each raises ArgumentTypeError for what it may not."""

from __future__ import annotations

import argparse
import re
from datetime import date


def filled(text: str) -> str:
    """Some text, and not only blanks."""
    if not text.strip():
        raise argparse.ArgumentTypeError("nothing is given (an empty variable?)")
    return text


def day(text: str) -> date:
    """A day as YYYY-MM-DD."""
    try:
        if re.fullmatch(r"(?!9999)[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no day; 2026-03-01 is one")


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)

"""Inventory: which files on a camera are whole, and may be taken note of.

A file counts as whole once its size and mtime were still for `settle` and a read lease was granted, which
the kernel refuses while anybody has it open for writing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dockd.alerts import AlertBoard
from dockd.cameras.base import Camera, Listing
from dockd.digests import Progress
from dockd.errors import NotSettledError, RecordingUnreadableError, SourceChangedError
from dockd.identity import Seen, display_name


@dataclass(slots=True)
class Inventory:
    """What is known of one docked camera's files from one look to the next."""

    settle_s: float
    noted: dict[bytes, Seen] = field(default_factory=dict)
    """Files that the journal knows, as they were when it was told."""
    _still_since_s: dict[bytes, tuple[Seen, float]] = field(default_factory=dict)

    def unsettled(self) -> dict[bytes, Seen]:
        """The files of the last look that could not be taken note of as whole."""
        return {path: seen for path, (seen, _) in self._still_since_s.items() if self.noted.get(path) != seen}

    def forget(self, path: bytes) -> None:
        """Look at a file with new eyes: it turned out to be another one than was noted."""
        self.noted.pop(path, None)

    def sift(self, listing: Listing, now_s: float) -> tuple[dict[bytes, Seen], set[bytes]]:
        """The files that were still for long enough and are not noted yet, and those that were not yet."""
        news: dict[bytes, Seen] = {}
        moving: set[bytes] = set()
        still: dict[bytes, tuple[Seen, float]] = {}
        for path, seen in listing.files.items():
            if self.noted.get(path) == seen:
                continue
            before = self._still_since_s.get(path)
            since_s = before[1] if before is not None and before[0] == seen else now_s
            still[path] = (seen, since_s)
            if now_s - since_s >= self.settle_s:
                news[path] = seen
            else:
                moving.add(path)
        self._still_since_s = still
        for path in self.noted.keys() - listing.files.keys():
            del self.noted[path]
        return news, moving


def without_writers(
    camera: Camera, news: dict[bytes, Seen], progress: Progress
) -> tuple[dict[bytes, Seen], set[bytes]]:
    """Of still files those that nobody has open for writing, and those that somebody has.

    A file that cannot be opened is taken note of as well: that it cannot be read has to be known.
    Raises CameraGoneError.
    """
    whole: dict[bytes, Seen] = {}
    written: set[bytes] = set()
    for path, seen in news.items():
        progress.advance()
        try:
            with camera.open(path, lease=True) as opened:
                if opened.seen == seen:
                    whole[path] = seen
                else:
                    written.add(path)
        except (NotSettledError, SourceChangedError):
            written.add(path)
        except RecordingUnreadableError:
            whole[path] = seen
    return whole, written


def tell_of_listing(alerts: AlertBoard, subject: str, listing: Listing, written: set[bytes]) -> None:
    """Raise, or take down, the alerts that follow from a listing; `written`: what somebody has open for writing."""
    alerts.put("camera_unlistable", subject, "; ".join(list(listing.problems)[:3]) or None)
    names = ", ".join(display_name(path) for path in sorted(written)[:3])
    alerts.put("recording_not_settled", subject, f"open for writing: {names}" if written else None)
    text = ", ".join(f"{count} {why}" for why, count in sorted(listing.left_alone.items()))
    alerts.put("entries_left_alone", subject, f"left alone: {text}" if text else None)

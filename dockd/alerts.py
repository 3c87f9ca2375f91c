"""What needs a person: the codes, and the board on which present alerts stand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from dockd.custody.chain import rfc3339

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class AlertKind:
    """One code: how bad it is, and what to do about it."""

    severity: Severity
    hint: str
    public: str | None = None
    """Said instead of the alert's own text where names of files must not be told: over MQTT."""


ALERTS: dict[str, AlertKind] = {
    "audit_failed": AlertKind(
        "warning",
        "The dock could not audit its store; nothing is claimed of what was not read. See why with: dockd audit",
    ),
    "camera_refused": AlertKind(
        "critical",
        "The folder holds, or is, the spool or the store. Nothing is taken from it. Correct the paths.",
    ),
    "camera_not_mounted": AlertKind(
        "critical",
        "Nothing is taken from this camera before it can be mounted. See what dockd check says of usb.",
    ),
    "camera_stalled": AlertKind(
        "warning", "Reads from this camera hang. Its footage stays on it. Dock it again, or look at its card."
    ),
    "camera_unlistable": AlertKind(
        "warning",
        "A folder on this camera cannot be read; what lies in it is not taken in. Look at its card.",
        "a folder on the camera cannot be read",
    ),
    "chain_broken": AlertKind(
        "critical",
        "A record of the custody log was altered or is missing. Footage is taken in and stored; nothing is wiped. Keep "
        "the state directory as it is, and find out who changed it; then run: dockd custody acknowledge",
    ),
    "chain_not_acknowledged": AlertKind(
        "critical",
        "This chain begins without a proven predecessor, so nothing is wiped. Find out why (a restored or "
        "cloned dock), then run: dockd custody acknowledge",
    ),
    "counts_disagree": AlertKind(
        "critical",
        "The last audit counted the recordings from the custody log, and the journal counts otherwise: one of them was "
        "altered, or dockd has a defect. Keep the state directory as it is; dockd audit names the figures.",
    ),
    "custody_at_fault": AlertKind(
        "critical",
        "The store has lost signed custody records of this dock, or holds others. What is missing is brought there "
        "again; what is altered stays as it is. Find out who did that, and see which with: dockd audit",
    ),
    "custody_conflict": AlertKind(
        "critical",
        "Something else lies in the store where this dock's signed custody records belong. Footage is taken in and "
        "stored; nothing is wiped. Find out who writes in this dock's name.",
    ),
    "device_refused": AlertKind(
        "critical",
        "Only storage and still-image devices are read. Nothing is taken from this one. Take it out and look at it: "
        "a camera that is also a keyboard may have been tampered with.",
    ),
    "entries_left_alone": AlertKind(
        "info", "The camera holds entries that are no recordings. They stay on it. See: dockd explain CAMERA"
    ),
    "hold_lift_refused": AlertKind(
        "critical",
        "In the store lies the lifting of a legal hold that no approver of this dock signed, or not for that hold. The "
        "hold stays in force. Find out who put it there, move it away. See: dockd hold list.",
        "the lifting of a legal hold in the store is not obeyed",
    ),
    "identity_clash": AlertKind(
        "critical", "Two cameras claim one identity, or two folders are one. Neither is wiped. Take one out."
    ),
    "internal_error": AlertKind(
        "critical",
        "A defect in dockd stopped this work; it is tried again. Nothing is lost. Report it with the log.",
        "a defect in dockd stopped this work; it is tried again",
    ),
    "journal_rolled_back": AlertKind(
        "critical",
        "The journal is older than this dock's custody log: it was restored from a backup. Footage is taken in, "
        "nothing is wiped. Find out why, then run: dockd custody acknowledge",
    ),
    "manifest_conflict": AlertKind(
        "warning",
        "Something else lies in the store where a docking's manifest belongs. The recordings are stored and safe, "
        "but not listed. Find out who put it there, and move it away; the manifest follows by itself.",
    ),
    "mqtt_refused": AlertKind(
        "warning",
        "The broker does not let this dock say everything; dashboards lack it. Footage is not touched by this. "
        "Look at the broker's access list: a dock publishes below its own root and reads its own command/#.",
    ),
    "mqtt_unavailable": AlertKind(
        "warning",
        "Dashboards do not hear of this dock; it goes on without, and tells all later. Footage is not touched by "
        "this. Look at the broker, at [mqtt], and at the network.",
    ),
    "no_medium": AlertKind(
        "warning", "Nothing can be read from this device. Take it out, look at its card, and dock it again."
    ),
    "paused": AlertKind(
        "warning", "Nothing is taken from cameras in a paused bay, and nothing is wiped. Run: dockd resume"
    ),
    "port_not_listed": AlertKind(
        "warning",
        "Nothing is taken from a camera on a port that is no bay. Dock it in a bay, or make the port one; dockd bays "
        "prints it.",
    ),
    "recording_changed": AlertKind(
        "warning",
        "A file changed on the camera after it was copied. Both versions are kept; the new one is taken in.",
        "a file changed on the camera after it was copied; both versions are kept",
    ),
    "recording_not_settled": AlertKind(
        "warning",
        "Somebody keeps a file open for writing. It is taken in as soon as it is closed.",
        "somebody keeps a file open for writing",
    ),
    "recording_unreadable": AlertKind(
        "critical",
        "A recording cannot be read. It stays on the camera. Keep the camera back and look at its card.",
        "a recording cannot be read; it stays on the camera",
    ),
    "signing_key": AlertKind(
        "critical",
        "The custody log cannot be signed, so nothing is wiped; footage is taken in and stored. Put the dock's key "
        "back; if it is lost, stop dockd and run: dockd key init",
    ),
    "sole_copy": AlertKind(
        "warning",
        "The dock holds the only copy of recordings whose camera left. It is uploaded first. Keep the dock on.",
    ),
    "spool_corrupt": AlertKind(
        "critical",
        "The dock's disk gave back wrong bytes. The copy is made again from the camera. Replace the disk.",
        "the dock's disk gave back wrong bytes; the copy is made again",
    ),
    "spool_full": AlertKind(
        "warning",
        "Footage waits on the cameras. Intake resumes by itself when the store has taken what is spooled.",
    ),
    "spool_orphans": AlertKind(
        "warning",
        "The spool holds files that the journal does not know (a restored journal). They are kept and never "
        "removed by dockd. Their footage is taken in anew if its camera is docked; else copy them away by hand.",
    ),
    "store_conflict": AlertKind(
        "critical",
        "The store holds other bytes under a recording's key. The recording is kept and not wiped. Find out who "
        "changed the object, move it away, and run: dockd retry",
        "the store holds other bytes under a recording's key",
    ),
    "store_fault": AlertKind(
        "critical",
        "A confirmed recording is missing from the store, or altered there. It is not wiped. Run: dockd audit",
    ),
    "store_full": AlertKind("critical", "Footage waits on the dock and the cameras. Make room in the store."),
    "store_not_initialised": AlertKind(
        "critical",
        "Nothing is sent there. Mount the right store, or make a new one known with: dockd store init",
    ),
    "store_stalled": AlertKind(
        "critical",
        "Calls to the store hang. Footage waits on the dock and the cameras. Look at its host and network.",
    ),
    "store_unavailable": AlertKind(
        "critical",
        "Footage waits on the dock and the cameras; nothing is wiped. Check that the store is mounted.",
    ),
    "survivors_damaged": AlertKind(
        "critical",
        "The card's file system was damaged: files that were to stay are not as they were before the wipe. What was "
        "wiped is in the store. Keep the camera back and look at its card.",
        "files that were to stay on the camera are not as they were before the wipe",
    ),
    "timestamp_unavailable": AlertKind(
        "warning",
        "The time stamping authority gives no stamp that can be used. Footage is not touched by this. Look at "
        "[custody] tsa_url and tsa_ca_file; it is asked again.",
    ),
    "unaccounted": AlertKind(
        "critical",
        "Recordings are not where they should be: they left their camera before they were whole here, or their copy "
        "in the store is missing or altered. Run: dockd explain CAMERA",
    ),
    "wipe_blocked": AlertKind("warning", "Confirmed recordings stay on the camera. See: dockd explain CAMERA"),
}


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that needs a person, or will if it lasts."""

    code: str
    subject: str
    since: str
    what: str
    about: str
    """Whose attention it is a matter of: `dock`, or a camera's subject; many recordings' alerts are one there."""

    hint: str
    """What to do: the failure's own word for it, or the code's."""

    def payload(self) -> dict[str, Any]:
        """The alert for JSON."""
        kind = ALERTS[self.code]
        return {
            "code": self.code,
            "subject": self.subject,
            "about": self.about,
            "severity": kind.severity,
            "since": self.since,
            "what": self.what,
            "hint": self.hint,
        }


class AlertBoard:
    """The alerts that stand now; thread-safe. Raising a standing one again keeps its `since`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._standing: dict[tuple[str, str], Alert] = {}
        self._lock = threading.Lock()
        self.on_change: Callable[[Alert, bool], None] | None = None

    def put(
        self, code: str, subject: str, what: str | None, *, about: str | None = None, hint: str | None = None
    ) -> None:
        """Raise the alert with its text `what`, or take it down if that is None or empty.

        `about` names whom the subject belongs to, if it is neither the dock nor a camera itself. `hint` is what to do
        where the failure knows better than its code; it is told over MQTT too, and names no files of recordings.
        """
        assert code in ALERTS, code
        changed: tuple[Alert, bool] | None = None
        with self._lock:
            standing = self._standing.get((code, subject))
            if what:
                since = standing.since if standing is not None else rfc3339(self._now())
                alert = Alert(code, subject, since, what, about or subject, hint or ALERTS[code].hint)
                self._standing[code, subject] = alert
                if standing is None:
                    changed = (alert, True)
            elif standing is not None:
                del self._standing[code, subject]
                changed = (standing, False)
        if changed is not None and self.on_change is not None:
            self.on_change(*changed)

    def drop_subject(self, subject: str) -> None:
        """Take down all alerts of a subject that is not there any more."""
        for code, name in self._keys_of(subject):
            self.put(code, name, None)

    def codes_of(self, subject: str) -> set[str]:
        """The codes that stand for a subject."""
        return {code for code, _ in self._keys_of(subject)}

    def _keys_of(self, subject: str) -> list[tuple[str, str]]:
        with self._lock:
            return [key for key in self._standing if key[1] == subject]

    def standing(self) -> list[Alert]:
        """All standing alerts, the worst first."""
        order = {"critical": 0, "warning": 1, "info": 2}
        with self._lock:
            found = list(self._standing.values())
        return sorted(found, key=lambda alert: (order[ALERTS[alert.code].severity], alert.since, alert.code))

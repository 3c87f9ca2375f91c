"""Every error that dockd raises on purpose.

DockdError                      has a hint: what it means for the evidence, and what to do
├── TransientError              may go away by itself: tried again, nothing is lost meanwhile
│   ├── CameraGoneError         the camera left its bay
│   ├── StoreUnavailableError   the store does not answer, or is not mounted
│   ├── StoreFullError          the store has no room
│   ├── SpoolFullError          the dock's own disk has no room
│   ├── NotSettledError         somebody may still be writing the file
│   ├── JournalBusyError        another program holds the journal's lock, or it was closed
│   ├── DeviceServiceError      a system service that cameras need is absent, refuses or fails
│   ├── BrokerLostError         no connection to the MQTT broker; reports follow later
│   └── StoppedError            the daemon is stopping; the work is taken up again later
├── PermanentError              needs a person, or another docking
│   ├── ConfigError             the configuration cannot be used (exit 78)
│   ├── UsageError              the command line cannot be used (exit 64)
│   ├── ServiceMissingError     a needed service is not there (exit 69)
│   ├── AccessError             not permitted (exit 77)
│   ├── SigningKeyError         the dock's signing key is lost, spoilt, or readable by others
│   ├── RecordingUnreadableError   one file cannot be read; the others go on
│   ├── StoreUnknownError       not the store that this dock knows; nothing is sent to it
│   ├── NotDisjointError        spool, store and cameras share a place
│   ├── NotApprovedError        a hold's lifting that no second person approved (exit 1)
│   ├── PublishRefusedError     the MQTT broker does not let this dock publish or subscribe
│   └── CommandError            a command that cannot be carried out as given; nothing was changed
└── IntegrityError              bytes are not what they were proven to be: nothing is wiped
    ├── SourceChangedError      the file on the camera is another one than was recorded
    ├── SpoolCorruptError       the spool gave back other bytes than were written
    ├── StoreConflictError      the store holds other bytes under the key
    ├── JournalDamagedError     the journal cannot be trusted (exit 74)
    ├── JournalTooNewError      the journal was made by a later version (exit 74)
    └── IllegalMoveError        a state change that the table of moves does not know: a defect
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_FOUND_WRONG = 1
EXIT_USAGE = 64
EXIT_SERVICE_MISSING = 69
EXIT_IO = 74
EXIT_PERMISSION = 77
EXIT_CONFIG = 78


class DockdError(Exception):
    """Something that the operator can be told about, with a hint on what to do.

    `hint` says what the failure means for the evidence and what to do about it.
    """

    exit_code = EXIT_IO
    default_hint = "The footage stays where it is. See the log for the cause."

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.default_hint

    def told(self) -> str:
        """What a person who started dockd is told."""
        return f"dockd: {self.message}\n  {self.hint}"


class TransientError(DockdError):
    """May go away by itself; the work is tried again."""

    default_hint = "Nothing is lost: the footage stays where it is, and dockd tries again by itself."


class CameraGoneError(TransientError):
    """The camera left its bay while it was being used."""

    default_hint = "What was copied is kept. Dock the camera again and the copy goes on."


class StoreUnavailableError(TransientError):
    """The evidence store does not answer, or is not mounted."""

    exit_code = EXIT_SERVICE_MISSING
    default_hint = (
        "Footage is taken in and kept on the dock and on the cameras; nothing is wiped. "
        "Check that the store is mounted and reachable; dockd goes on by itself."
    )


class StoreFullError(TransientError):
    """The evidence store has no room."""

    default_hint = "Footage waits on the dock and the cameras; nothing is wiped. Make room in the store."


class SpoolFullError(TransientError):
    """The dock's own disk has no room for more footage."""

    default_hint = (
        "Footage stays on the cameras; nothing is lost. Intake resumes by itself when the store "
        "has taken what is spooled, or when room is made on the disk that holds state_dir."
    )


class NotSettledError(TransientError):
    """A file may still be written by somebody."""

    default_hint = "The file is taken in as soon as nobody has it open for writing any more."


class JournalBusyError(TransientError):
    """Another program holds the journal's lock, or the journal was closed."""

    default_hint = "Nothing was claimed. End the program that has journal.db open; dockd tries again by itself."


class DeviceServiceError(TransientError):
    """A system service that USB cameras need (udisks2, dockd-block) is absent, refuses, or fails."""

    default_hint = (
        "The footage stays on the camera and nothing is wiped; dockd tries again by itself. See what dockd check says "
        "of usb, and: journalctl -u udisks2 -u 'dockd-block@*'"
    )


class BrokerLostError(TransientError):
    """There is no connection to the MQTT broker, or it was lost."""

    default_hint = (
        "Footage is not touched by this; only reports stay away, and follow by themselves. Look at the broker, its "
        "address in [mqtt] url, and the network."
    )


class StoppedError(TransientError):
    """The daemon is stopping."""

    default_hint = "The work goes on after the next start."


class PermanentError(DockdError):
    """Needs a person, or another docking."""


class ConfigError(PermanentError):
    """The configuration cannot be used."""

    exit_code = EXIT_CONFIG
    default_hint = "Correct the configuration, then run: dockd check"


class UsageError(PermanentError):
    """The command line cannot be used."""

    exit_code = EXIT_USAGE
    default_hint = "See: dockd --help"


class ServiceMissingError(PermanentError):
    """A needed service is not there."""

    exit_code = EXIT_SERVICE_MISSING


class AccessError(PermanentError):
    """The process may not do this."""

    exit_code = EXIT_PERMISSION


class SigningKeyError(PermanentError):
    """The dock's signing key cannot be used."""

    default_hint = (
        "Footage is taken in and stored; nothing is wiped while the custody log cannot be signed. Put the key "
        "back; if it is lost, stop dockd and run: dockd key init"
    )


class RecordingUnreadableError(PermanentError):
    """One recording on a camera cannot be read."""

    default_hint = "It stays on the camera, and nothing of it is wiped. Keep the camera back and look at its card."


class StoreUnknownError(PermanentError):
    """What is mounted where the store should be is not the store that this dock knows."""

    exit_code = EXIT_SERVICE_MISSING
    default_hint = (
        "Nothing is sent to it and nothing is wiped. Mount the right store; "
        "a new, empty store is made known with: dockd store init"
    )


class NotDisjointError(PermanentError):
    """Spool, store and camera folders share a place."""

    exit_code = EXIT_CONFIG
    default_hint = "A camera folder must lie outside of the spool and the store, or evidence is taken for a camera."


class NotApprovedError(PermanentError):
    """The lifting of a hold is not approved by a second person; the hold stays in force."""

    exit_code = EXIT_FOUND_WRONG
    default_hint = "The hold stays in force. See: dockd hold remove --help"


class PublishRefusedError(PermanentError):
    """The MQTT broker does not let this dock publish or subscribe."""

    default_hint = (
        "Footage is not touched by this. Look at the broker's access list: a dock publishes below its own root and "
        "reads its own command/#."
    )


class CommandError(PermanentError):
    """A command that cannot be carried out as it was given; nothing was changed."""

    exit_code = EXIT_USAGE
    default_hint = "Nothing was changed."


class IntegrityError(DockdError):
    """Bytes are not what they were proven to be; nothing that depends on them is wiped."""


class SourceChangedError(IntegrityError):
    """The file on the camera is another one than was recorded."""

    default_hint = "It stays on the camera and is taken in as a recording of its own."


class SpoolCorruptError(IntegrityError):
    """The spool gave back other bytes than were written to it."""

    default_hint = "The recording is copied again from the camera. Check the disk that holds state_dir."


class StoreConflictError(IntegrityError):
    """The store holds other bytes under a key than the key says."""

    default_hint = (
        "The recording stays in the spool and on the camera; it is not wiped and the store's object is "
        "not touched. Find out who changed the object in the store, move it away, then run: dockd retry"
    )


class JournalDamagedError(IntegrityError):
    """The journal cannot be trusted."""

    default_hint = (
        "Nothing was changed and no camera is touched. Keep journal.db* and the spool folder as they are, "
        "restore the journal from a backup or move it aside, and start again: footage still on cameras is "
        "taken in anew, and spooled files that no journal knows are kept and reported."
    )


class JournalTooNewError(IntegrityError):
    """The journal was made by a later version of dockd."""

    default_hint = "Nothing was changed. Install the version of dockd that made it, or a later one."


class IllegalMoveError(IntegrityError):
    """A state change that the table of moves does not know."""

    default_hint = "This is a defect in dockd; nothing was changed. Please report it with the log."

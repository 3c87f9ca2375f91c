"""A second person's word for the lifting of a hold: what is signed, and whether it was signed.

The request is made of the hold's own file and of who asks for what reason, so that every dock of the store makes
the same bytes of it. Pure functions; `holds.py` says what becomes of a lift.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dockd.custody.sshsig import APPROVAL, BadSignatureError, PublicKey, Signers, verify
from dockd.errors import NotApprovedError, UsageError
from dockd.identity import encode_part, plain_text
from dockd.wipe.holds import Hold, Lift, Lifted

_TEXT_LIMIT: Final = 500
_NO_APPROVAL: Final = "it carries nobody's approval"


@dataclass(frozen=True, slots=True)
class Approver:
    """Who signed: the name in this dock's configuration, and the key."""

    name: str
    key: PublicKey


class Approvals:
    """Makes requests, and judges lifts, for the holds of one agency in one store."""

    def __init__(self, store_id: str, agency: str, approvers: Sequence[str]) -> None:
        self._store_id = store_id
        self._agency = agency
        self._signers = Signers(approvers)
        self._names = [line.split(" ", 1)[0] for line in approvers]

    def others(self, by: str) -> list[str]:
        """The approvers who are another person than `by`."""
        return [name for name in self._names if not same_person(name, by)]

    def request(self, hold_text: str, reason: str, by: str) -> str:
        """What is to be signed so that the hold of this file is lifted; raises UsageError for more than one line.

        Canonical: one line each, in this order. The digest binds it to what the hold says, whoever rewrites the file.
        """
        hold = Hold.model_validate_json(hold_text)
        lines = {
            "store": self._store_id,
            "agency": self._agency,
            "hold": plain_text(hold.hold),
            "covers": _cover(hold),
            "placed": plain_text(f"{hold.created} by {hold.by}: {hold.reason}"),
            "sha256": hashlib.sha256(hold_text.encode()).hexdigest(),
            "reason": _one_line("reason", reason),
            "by": _one_line("name", by),
        }
        return "\n".join(["dockd hold removal", *(f"{name}: {value}" for name, value in lines.items()), ""])

    def approver(self, request: str, signature: str, by: str) -> Approver:
        """Who approved the request; raises NotApprovedError unless it is an approver, and another person than `by`."""
        try:
            key = verify(signature, APPROVAL, request.encode())
        except (BadSignatureError, UnicodeEncodeError) as error:
            raise NotApprovedError(f"its signature does not hold: {str(error)[:200]}") from error
        names = [name for name in self._signers.names_of(key) if self._signers.vouch(key, name, APPROVAL)]
        if not names:
            raise NotApprovedError(f"the key {key.fingerprint} that signed it is none of the approvers'")
        if any(same_person(name, by) for name in names):
            raise NotApprovedError("who approved it is who asked for it; it takes a second person")
        return Approver(names[0], key)

    def lifted(self, name: str, lift: Lift, hold_text: str | None) -> Lifted:
        """The lift of the hold `name`, found good; raises NotApprovedError.

        `hold_text` is the hold's file in the store, if it is there; the journal's is held against it later.
        """
        if lift.hold != name:
            raise NotApprovedError("it is the lifting of another hold")
        if lift.request is None or lift.signature is None or lift.approver_key is None:
            raise NotApprovedError(_NO_APPROVAL)
        approver = self.approver(lift.request, lift.signature, lift.by)
        if lift.approver_key != approver.key.line:
            raise NotApprovedError("it names another key than the one that signed it")
        found = Lifted(lift, approver.name, approver.key.fingerprint, lambda text: self._is_for(lift, text))
        if hold_text is not None and not found.is_for(hold_text):
            raise NotApprovedError("what was approved is not the lifting of this hold, for this reason, by this person")
        return found

    def _is_for(self, lift: Lift, hold_text: str) -> bool:
        try:
            return self.request(hold_text, lift.reason, lift.by) == lift.request
        except (UsageError, ValueError):
            return False


def same_person(one: str, other: str) -> bool:
    """Whether two names are one but for case, blanks and punctuation."""
    return _letters(one) == _letters(other)


def _letters(name: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKC", name).casefold() if char.isalnum())


def _one_line(what: str, text: str) -> str:
    """A line break within it could pass for a line of the request."""
    if not text.isprintable() or text != text.strip() or not 0 < len(text) <= _TEXT_LIMIT:
        wanted = f"one line of 1 to {_TEXT_LIMIT} printable characters"
        raise UsageError(f"the {what} has to be {wanted}", "The hold stays in force.")
    return text


def _cover(hold: Hold) -> str:
    """What counts, that is the bytes and not their display, written so that two things never look alike."""
    camera = f"camera {_encoded(bytes.fromhex(hold.camera_hex))}"
    if hold.scope == "camera":
        return camera
    parts = [f"recording {plain_text(str(hold.recording))} of {camera}"]
    if hold.path_hex is not None:
        parts.append(f"path {_encoded(bytes.fromhex(hold.path_hex))}")
    if hold.blake3 is not None:
        parts.append(f"blake3 {plain_text(hold.blake3)}")
    return ", ".join(parts)


def _encoded(raw: bytes) -> str:
    return "/".join(encode_part(part) if part else "" for part in raw.split(b"/"))

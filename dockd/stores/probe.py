"""What a store was found to enforce, by doing to it what must not work: the result, and what it means for dockd."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

Verdict = Literal["enforced", "not enforced", "not supported", "cannot tell"]

PUT_IF_NONE_MATCH: Final = "if-none-match on a PUT"
COMPLETE_IF_NONE_MATCH: Final = "if-none-match on completing"
LIST_PARTS: Final = "list parts"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was asked of the store, what it answered, and what dockd therefore does.

    `wrong`: nobody should keep evidence there before that is put right.
    """

    name: str
    asked: str
    verdict: Verdict
    answer: str
    so: str
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """All that was found; `at` is RFC 3339, `left` names what lies in the store now for having been asked."""

    store_id: str
    place: str
    at: str
    findings: tuple[Finding, ...]
    left: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.wrong for finding in self.findings)

    def verdict(self, name: str) -> Verdict:
        """What was found of one thing; "cannot tell" if it was not asked."""
        return next((finding.verdict for finding in self.findings if finding.name == name), "cannot tell")

    def payload(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.good, **asdict(self)}

    def keep(self, path: Path) -> None:
        """Keep it for the daemon, whole and durable."""
        fresh = path.with_suffix(".new")
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(json.dumps(self.payload(), indent=1))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)

    @classmethod
    def kept(cls, path: Path) -> Self | None:
        """What was kept, or None; what cannot be read is as good as none: the store is taken as not probed."""
        try:
            found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            findings = tuple(Finding(**finding) for finding in found["findings"])
            return cls(found["store_id"], found["place"], found["at"], findings, tuple(found["left"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class S3Knowledge:
    """What a probe found out that changes how dockd speaks to a bucket; the defaults are for one not probed.

    `store_id`: the store that this was found of; of any other nothing is known.
    """

    store_id: str | None = None
    put_if_none_match: bool = True
    complete_if_none_match: bool = True
    list_parts: bool = True

    @classmethod
    def of(cls, result: ProbeResult | None, place: str) -> Self:
        """Of a kept result, if it was found at this place."""
        if result is None or result.place != place:
            return cls()
        # What was refused outright, or was not looked at, is not sent: it protects nothing.
        bad = ("not enforced", "not supported")
        return cls(
            result.store_id,
            result.verdict(PUT_IF_NONE_MATCH) not in bad,
            result.verdict(COMPLETE_IF_NONE_MATCH) not in bad,
            result.verdict(LIST_PARTS) not in bad,
        )


NOTHING_KNOWN: Final = S3Knowledge()

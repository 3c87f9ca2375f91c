"""What an audit found, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from dockd.audit.segments import SegmentsFound


@dataclass(slots=True)
class Finding:
    """One recording whose copy in the store is not what the journal says.

    `proven`: the last read-back that found it good, as the journal knew it; a later one outweighs this finding.
    """

    recording: str
    key: str
    fault: str
    detail: str
    proven: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """The counts that the journal kept at one moment, and those that its records gave; see `dockd.custody.recount`."""

    journal: dict[str, int]
    recount: dict[str, int]
    strange: str | None

    @property
    def agree(self) -> bool:
        """Whether they are the same, and every record followed from those before."""
        return self.strange is None and self.journal == self.recount

    def told(self) -> list[str]:
        """What is wrong, a sentence each."""
        found = [
            f"{name}: the journal counts {kept}, its records give {self.recount[name]}"
            for name, kept in self.journal.items()
            if kept != self.recount[name]
        ]
        return (
            found if self.strange is None else [*found, f"it does not follow from what was told before: {self.strange}"]
        )


@dataclass(slots=True)
class AuditReport:
    """What an audit found."""

    counts: dict[str, int]
    compared: Compared
    checked: int = 0
    sample: int | None = None
    findings: list[Finding] = field(default_factory=list)
    chains: list[dict[str, Any]] = field(default_factory=list)
    good_again: list[str] = field(default_factory=list)
    """Recordings that a former audit found at fault, and this one does not."""

    segments: SegmentsFound = field(default_factory=SegmentsFound)

    @property
    def missing(self) -> int:
        """Confirmed recordings that the store does not hold."""
        return sum(finding.fault == "missing" for finding in self.findings)

    @property
    def altered(self) -> int:
        """Confirmed recordings that the store holds with other bytes."""
        return sum(finding.fault == "altered" for finding in self.findings)

    @property
    def chain_ok(self) -> bool:
        """Whether every chain of this journal is whole."""
        return all(chain["ok"] for chain in self.chains)

    @property
    def chain_break(self) -> str | None:
        """Which chain breaks at which record, and how; None if all are whole."""
        return next((f"chain {chain['chain']}: {chain['what']}" for chain in self.chains if not chain["ok"]), None)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        recordings = not (self.unaccounted or self.missing or self.altered)
        return recordings and self.chain_ok and self.compared.agree and not self.segments.faults

    @property
    def unaccounted(self) -> int:
        """Recordings that are not where they should be, what was just found included."""
        return self.counts["unaccounted"]

    def hand_over(self) -> dict[str, Any]:
        """What the daemon has to record."""
        return {
            **{name: getattr(self, name) for name in ("checked", "sample", "unaccounted", "missing", "altered")},
            "chain_ok": self.chain_ok,
            "chain_break": self.chain_break,
            "segments_ok": not self.segments.faults,
            "lost_segments": self.segments.lost,
            "counts_agree": self.compared.agree,
            "chain": self.chains[-1]["chain"] if self.chains else None,
            "findings": [[found.recording, found.fault, found.detail, found.proven] for found in self.findings],
            "good_again": self.good_again,
        }

    def payload(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "ok": self.good,
            "checked": self.checked,
            "sample": self.sample,
            "unaccounted": self.unaccounted,
            "missing": self.missing,
            "altered": self.altered,
            "sole_copy": self.counts["sole_copy"],
            "awaiting_return": self.counts["awaiting_return"],
            "chain": self.chains[-1] if self.chains else None,
            "chains": self.chains,
            "recount": self.compared.recount,
            "counts": self.compared.journal,
            "counts_agree": self.compared.agree,
            "strange_record": self.compared.strange,
            "segments": {"checked": self.segments.checked, "faults": self.segments.faults},
            "findings": [
                {"recording": found.recording, "key": found.key, "fault": found.fault, "detail": found.detail}
                for found in self.findings
            ],
        }


@dataclass(slots=True)
class AuditProgress:
    """How far an audit has come, so that another run of the daemon can go on with it.

    `ids`: the rows of a sample in order, None for all; `upper_id`: the last row that there was when it began.
    """

    chain: str
    sample: int | None
    ids: list[int] | None
    upper_id: int
    total: int
    last_id: int = 0
    checked: int = 0
    findings: list[Finding] = field(default_factory=list)
    good_again: list[str] = field(default_factory=list)

    def payload(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """From JSON; raises KeyError, TypeError or ValueError for what is none."""
        made = cls(**{**stored, "findings": [Finding(**found) for found in stored["findings"]]})
        numbers: tuple[object, ...] = (made.upper_id, made.total, made.last_id, made.checked, *(made.ids or ()))
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError("that is no audit's progress")
        return made

"""Audit: the store, the journal and the chain held against each other, by a command or by the daemon itself.

It re-reads what the store holds and never repairs. What was found becomes a record and a recording's fault; a
recording that is missing, and still on its camera, is afterwards taken in anew like any other.
"""

from dockd.audit.reading import audit
from dockd.audit.report import AuditReport, Finding
from dockd.audit.taking_up import hand_over, record_audit

__all__ = ["AuditReport", "Finding", "audit", "hand_over", "record_audit"]

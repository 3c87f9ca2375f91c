"""`dockd audit`."""

from __future__ import annotations

import sys
from pathlib import Path

from dockd.audit import AuditReport, hand_over
from dockd.audit import audit as run_audit
from dockd.commands.common import journal_read_only, known_store, print_json
from dockd.config import load_config
from dockd.errors import EXIT_DONE, EXIT_FOUND_WRONG, ServiceMissingError
from dockd.identity import plain_text
from dockd.journal.transaction import Transaction
from dockd.paths import StatePaths
from dockd.runtime.workers import Control
from dockd.stores.base import EvidenceStore


def audit(config_path: Path, *, sample: int | None, as_json: bool) -> int:
    """Read the store again and compare; 1 if anything is not as the journal says."""
    config = load_config(config_path)
    store = known_store(config)
    with journal_read_only(config) as tx:
        if tx is None:
            raise ServiceMissingError("there is no journal yet", "Start dockd once.")
        # Progress is for a person who waits; a pipe gets the result alone.
        if sys.stderr.isatty():
            report = _with_progress(tx, store, sample)
        else:
            report = run_audit(tx, store, Control(), sample=sample)
    hand_over(StatePaths(config.dock.state_dir), report)
    if as_json:
        print_json(report.payload())
    else:
        _print(report)
    return EXIT_DONE if report.good else EXIT_FOUND_WRONG


def _with_progress(tx: Transaction, store: EvidenceStore, sample: int | None) -> AuditReport:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    with Progress(
        SpinnerColumn(),
        BarColumn(bar_width=20),
        TextColumn("{task.completed} of {task.total} recordings read back  {task.description}"),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task("", total=None)
        return run_audit(
            tx,
            store,
            Control(),
            sample=sample,
            on_recording=lambda row, come: progress.update(
                task, completed=come.checked, total=come.total, description=row.store_key or ""
            ),
        )


def _print(report: AuditReport) -> None:
    found = report.payload()
    print(f"{found['checked']} recordings were read back from the store")
    for name in ("unaccounted", "missing", "altered", "sole_copy", "awaiting_return"):
        print(f"  {name:<16} {found[name]}")
    for chain in found["chains"]:
        state = "whole" if chain["ok"] else f"BROKEN at {chain['what']}"
        print(f"  chain {chain['chain']}: {chain['records']} records, {state}")
    print(f"  counts, again from the records: {'the same' if report.compared.agree else 'NOT the same'}")
    for sentence in report.compared.told():
        print(f"    {plain_text(sentence)}")
    print(f"  {found['segments']['checked']} signed segments were looked at in the store")
    for key, fault in found["segments"]["faults"].items():
        print(f"  {fault}: {key}")
    for finding in report.findings:
        print(f"  {finding.fault}: {finding.key} ({finding.detail})")

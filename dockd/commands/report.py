"""`dockd report`: what came in on one day."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from dockd.commands.common import journal_read_only, print_json
from dockd.config import load_config
from dockd.errors import EXIT_DONE
from dockd.parts import dock_name
from dockd.report.day import arrivals, write_csv


def report(config_path: Path, day: date, *, as_csv: bool, as_json: bool) -> int:
    """A table on a terminal, CSV into a pipe or if it is asked for, or JSON."""
    config = load_config(config_path)
    with journal_read_only(config) as tx:
        found = [] if tx is None else list(arrivals(tx, day))
    if as_json:
        dock = dock_name(config)
        print_json({"dock": dock, "date": day.isoformat(), "recordings": [row.payload() for row in found]})
    elif as_csv or not sys.stdout.isatty():
        write_csv(found, sys.stdout)
    else:
        from dockd.report.tables import print_day

        print_day(dock_name(config), day, found)
    return EXIT_DONE

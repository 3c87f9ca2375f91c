"""What of a changed configuration a running dock takes over."""

from __future__ import annotations

from pathlib import Path

import structlog

from dockd.config import Config, load_config
from dockd.errors import ConfigError

log = structlog.get_logger()


def reloaded(config: Config, path: Path) -> Config:
    """The configuration that is in force after a reload: `[wipe]` anew, the rest as it was until a restart."""
    try:
        fresh = load_config(path)
    except ConfigError as error:
        log.error(
            "configuration_not_reloaded",
            error=error.message,
            hint="The former configuration stays in force.",
        )
        return config
    waits = [name for name in type(fresh).model_fields if getattr(fresh, name) != getattr(config, name)]
    if "wipe" in waits:
        waits.remove("wipe")
    if waits:
        log.warning("configuration_needs_restart", tables=waits, hint="Only [wipe] is taken over while running.")
    return config.model_copy(update={"wipe": fresh.wipe})

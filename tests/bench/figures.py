"""From the runs to the figures: medians, ratios pair by pair, and the physical bound."""

from __future__ import annotations

from statistics import median
from typing import Any

from measure import Cost

GB = 1e9
BASES = ("rclone", "cp")
Runs = dict[str, list[Cost]]


def ratios(runs: list[Cost], base: list[Cost]) -> dict[str, float]:
    """Wall times against those of another contender: the ratio of medians, and the median of the rounds' ratios."""
    pairs = [run.wall_s / other.wall_s for run, other in zip(runs, base, strict=True)]
    of_medians = median(run.wall_s for run in runs) / median(other.wall_s for other in base)
    return {"of_medians": of_medians, "of_pairs": median(pairs), "lowest": min(pairs), "highest": max(pairs)}


def bound(disk: list[Cost], total_bytes: int, cores: int, cache: str) -> dict[str, float]:
    """How fast it could go on this machine, by what was measured in the same run.

    `disk_s`: every byte written and read back once, past the page cache. `disk_and_source_s`: the sources lie on
    the same disk here and have to be read from it too, unless they are in memory. `hash_s`: BLAKE3 and SHA-256 on
    the way, BLAKE3 of the read-back, spread over all cores.
    """
    write_rate = median(run.extra["write_bytes_per_s"] for run in disk)
    read_rate = median(run.extra["read_bytes_per_s"] for run in disk)
    blake3_rate = median(run.extra["blake3_bytes_per_s"] for run in disk)
    sha256_rate = median(run.extra["sha256_bytes_per_s"] for run in disk)
    write_s, read_s = total_bytes / write_rate, total_bytes / read_rate
    hash_cpu_s = total_bytes * (2 / blake3_rate + 1 / sha256_rate)
    source_s = read_s if cache == "cold" else 0.0
    hash_s = hash_cpu_s / cores
    return {
        "write_bytes_per_s": write_rate,
        "read_bytes_per_s": read_rate,
        "blake3_bytes_per_s": blake3_rate,
        "sha256_bytes_per_s": sha256_rate,
        "disk_s": write_s + read_s,
        "source_s": source_s,
        "hash_cpu_s": hash_cpu_s,
        "hash_s": hash_s,
        "bound_s": max(write_s + read_s, hash_s),
        "bound_with_source_s": max(write_s + read_s + source_s, hash_s),
    }


def row(runs: list[Cost], total_bytes: int) -> dict[str, Any]:
    """One contender's medians."""
    gigabytes = total_bytes / GB
    numbers = {key for run in runs for key, value in run.extra.items() if isinstance(value, int | float)}
    return {
        "wall_s": median(run.wall_s for run in runs),
        "wall_lowest_s": min(run.wall_s for run in runs),
        "wall_highest_s": max(run.wall_s for run in runs),
        "cpu_s_per_gb": median(run.cpu_s for run in runs) / gigabytes,
        "machine_cpu_s_per_gb": median(run.machine_cpu_s for run in runs) / gigabytes,
        "peak_rss_bytes": max(run.peak_rss_bytes for run in runs),
        "read_bytes": median(run.read_bytes for run in runs),
        "written_bytes": median(run.written_bytes for run in runs),
        "extra": {key: median(run.extra[key] for run in runs) for key in sorted(numbers)},
    }


def summarise(runs: Runs, total_bytes: int, cores: int, cache: str) -> dict[str, Any]:
    """A scenario's rows by contender, with ratios, and the bound."""
    physical = bound(runs["disk"], total_bytes, cores, cache) if runs.get("disk") else None
    rows: dict[str, Any] = {}
    for key, found in runs.items():
        if not found or key == "disk":
            continue
        rows[key] = row(found, total_bytes)
        rows[key]["ratios"] = {base: ratios(found, runs[base]) for base in BASES if runs.get(base)}
        if physical is not None:
            rows[key]["to_bound"] = rows[key]["wall_s"] / physical["bound_s"]
            rows[key]["to_bound_with_source"] = rows[key]["wall_s"] / physical["bound_with_source_s"]
    return {"rows": rows, "bound": physical}

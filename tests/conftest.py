"""What all tests share: the order in which they run."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that wait long go first, so that the others run beside them and not before them."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.get_closest_marker("long") is not None:
        return 0
    if item.get_closest_marker("slow") is not None:
        return 1
    return 2 if "e2e" in item.path.parts else 3

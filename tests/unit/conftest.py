"""A configuration whose places are the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from config_samples import MINIMAL
from custody_desk import CustodyDesk, custody_desk
from passport_desk import config_file

from dockd.cli import main


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def config(tmp_path: Path, state: Path) -> str:
    """A configuration whose places are in a folder of the test's; the store is not there yet."""
    text = MINIMAL.replace('"/srv/evidence"', f'"{tmp_path / "store"}"')
    file = tmp_path / "config.toml"
    file.write_text(text.replace("[store]", f'state_dir = "{state}"\n\n[store]'), encoding="utf-8")
    return str(file)


@pytest.fixture
def store(tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]) -> Path:
    """The same with a store that was made known."""
    (tmp_path / "store").mkdir()
    assert main(["store", "init", "--config", config]) == 0
    capsys.readouterr()
    return tmp_path / "store"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[CustodyDesk]:
    """A journal that signs; of no use to who has a desk of his own."""
    with custody_desk(tmp_path / "state") as made:
        yield made


@pytest.fixture
def desk_config(desk: CustodyDesk, tmp_path: Path) -> str:
    """A configuration for that desk; its store is not there yet."""
    return str(config_file(desk.root, tmp_path / "store"))

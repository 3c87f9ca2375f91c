"""config.example.toml: every key, with its true default, and a file that loads."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import BaseModel

from dockd.config import (
    BaySettings,
    CameraMatch,
    CameraProfile,
    CustodySettings,
    DockSettings,
    FilesystemStoreSettings,
    FolderCameraSettings,
    MqttSettings,
    S3StoreSettings,
    SpoolSettings,
    WipeSettings,
    load_config,
)

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
MAIN, S3 = TEXT.split("# --- [store] for S3")
COMMENTED_LINE = re.compile(r"^#(?=\[|[a-z0-9_]+ = )", re.MULTILINE)

MODELS: list[tuple[str, type[BaseModel]]] = [
    ("dock", DockSettings),
    ("spool", SpoolSettings),
    ("store", FilesystemStoreSettings),
    ("wipe", WipeSettings),
    ("custody", CustodySettings),
    ("folder_cameras", FolderCameraSettings),
    ("mqtt", MqttSettings),
    ("bay", BaySettings),
    ("camera", CameraProfile),
]


def uncommented(text: str) -> str:
    return COMMENTED_LINE.sub("", text)


def s3_text() -> str:
    without_store = re.sub(r"^\[store\].*?(?=^\[)", "", MAIN, flags=re.MULTILINE | re.DOTALL)
    return without_store + uncommented("# " + S3)


def keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def without_beside(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_it_loads_as_it_is():
    config = load_config(EXAMPLE)
    assert (config.dock.name, config.wipe.mode, config.mqtt) == ("dock-07", "off", None)


def test_it_loads_with_every_line_in_use(tmp_path):
    config = load_config(without_beside(tmp_path, uncommented(MAIN)))
    assert config.mqtt is not None
    assert config.folder_cameras is not None
    assert len(config.bays) == len(config.cameras) == 1


def test_it_loads_with_the_s3_store(tmp_path):
    config = load_config(without_beside(tmp_path, s3_text()))
    assert config.store.kind == "s3"


@pytest.mark.parametrize(("table", "model"), MODELS)
def test_every_key_is_in_it(table, model):
    tables = tomllib.loads(uncommented(MAIN))
    entry = tables[table][0] if isinstance(tables[table], list) else tables[table]
    assert set(entry) == keys(model)
    if table == "camera":
        assert set(entry["match"]) == keys(CameraMatch)


def test_every_s3_key_is_in_it():
    assert set(tomllib.loads(s3_text())["store"]) == keys(S3StoreSettings)


def test_the_defaults_that_it_shows_are_the_true_ones(tmp_path):
    shown = load_config(without_beside(tmp_path, uncommented(MAIN)))
    s3 = load_config(without_beside(tmp_path, s3_text())).store
    tables = [shown.dock, shown.spool, shown.store, shown.wipe, shown.folder_cameras, *shown.cameras, s3]
    for table in tables:
        for name, field in type(table).model_fields.items():
            if not field.is_required() and field.default is not None:
                assert getattr(table, name) == field.default, name


def test_every_key_has_a_line_of_help():
    lines = TEXT.splitlines()
    for before, line in pairwise(lines):
        if re.match(r"#?[a-z0-9_]+ = ", line):
            assert before.startswith("# "), line

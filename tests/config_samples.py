"""Configurations that load, and what comes of those that do not."""

from pathlib import Path

import pytest

from dockd.config import Config, load_config
from dockd.errors import EXIT_CONFIG, ConfigError

MINIMAL = """\
[dock]
agency = "calgary"
site = "district-4"
name = "dock-07"

[store]
path = "/srv/evidence"
"""
S3 = """
[dock]
agency = "a"
site = "s"
name = "d"
[store]
kind = "s3"
bucket = "evidence"
access_key_credential = "access"
secret_key_credential = "secret"
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "config.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def load(tmp_path: Path, text: str) -> Config:
    return load_config(written(tmp_path, text))


def refusal(tmp_path: Path, text: str | bytes) -> list[str]:
    """The lines of the refusal, without the folder's name."""
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert caught.value.exit_code == EXIT_CONFIG
    assert caught.value.hint
    return caught.value.message.replace(f"{tmp_path}/", "").splitlines()

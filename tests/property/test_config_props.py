"""Whatever stands in a file, it is a configuration or a ConfigError that says where."""

import json
import re
import tomllib
from datetime import date, datetime, time

from hypothesis import example, given
from hypothesis import strategies as st

from dockd.config import Config, config_digest, config_from, load_config
from dockd.config.places import key_lines
from dockd.errors import ConfigError

KEYS = st.one_of(
    st.sampled_from(
        [
            *(
                "dock",
                "spool",
                "store",
                "mqtt",
                "wipe",
                "bay",
                "folder_cameras",
                "camera",
                "agency",
                "site",
                "name",
            ),
            *(
                "state_dir",
                "min_free",
                "kind",
                "path",
                "accept",
                "url",
                "mode",
                "grace",
                "number",
                "usb_port",
            ),
            *("settle", "recordings", "match", "vendor", "product", "serial", "filesystem", "s3", "bucket"),
            *("password_credential", "part_size", "object_lock_days", "endpoint_url"),
        ]
    ),
    st.text(max_size=8),
)
TEXTS = st.one_of(
    st.sampled_from(
        [
            "filesystem",
            "s3",
            "on",
            "/srv",
            "/run/dockd",
            "**",
            "5GiB",
            "2s",
            "mqtt://h:1",
            "mqtt://[",
            "1-1",
            "46f4",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
SCALARS = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(),
    st.floats(),
    st.datetimes(),
    st.dates(),
    st.times(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)


def toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{quoted(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[\n" + "".join(f"{toml(inner)}, # ]\n" for inner in value) + "]"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)


def quoted(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(c if ord(c) >= 32 and ord(c) != 127 else f"\\u{ord(c):04x}" for c in escaped)


def written(document: dict[str, object]) -> str:
    return "".join(f"{quoted(key)} = {toml(value)}\n" for key, value in document.items())


def check_message(error: ConfigError) -> None:
    for line in error.message.split("\n"):
        assert line.isprintable()
        assert re.search(r": found .+; expected .+", line)


@given(DOCUMENTS)
@example({"dock": [], "store": {"kind": []}})
@example({"store": {"filesystem": 1, "kind": "filesystem"}})
def test_any_tables_give_a_configuration_or_a_refusal(document):
    try:
        assert isinstance(config_from(document), Config)
    except ConfigError as error:
        check_message(error)


@given(DOCUMENTS.map(written))
def test_any_file_gives_a_refusal_with_lines(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text(text, encoding="utf-8")
    try:
        load_config(path)
    except ConfigError as error:
        check_message(error)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_refusal(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_bytes(content)
    try:
        load_config(path)
    except ConfigError as error:
        check_message(error)


@given(DOCUMENTS)
def test_every_key_of_a_file_has_its_line(document):
    text = written(document)
    lines = key_lines(text)
    read = tomllib.loads(text)
    assert {where[0] for where in lines} == set(read)
    for key in read:
        assert text.split("\n")[lines[(key,)] - 1].startswith(f"{quoted(key)} = ")


@given(
    st.fixed_dictionaries(
        {
            "dock": st.fixed_dictionaries(
                dict.fromkeys(("agency", "site", "name"), st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True))
            ),
            "store": st.just({"path": "/srv/evidence"}),
            "wipe": st.fixed_dictionaries({"grace": st.integers(0, 3650 * 24).map("{}h".format)}),
            "spool": st.fixed_dictionaries({"min_free": st.integers(0, 2**20).map("{}MiB".format)}),
        }
    )
)
def test_good_values_are_taken(document):
    config = config_from(document)
    assert config.dock.model_dump(include={"agency", "site", "name"}) == document["dock"]
    assert config.wipe.grace_s == int(document["wipe"]["grace"][:-1]) * 3600
    assert config.spool.min_free_bytes == int(document["spool"]["min_free"][:-3]) * 2**20
    assert config_digest(config) == config_digest(config_from(document))

"""What a configuration gives, and what of it is refused with which words."""

from pathlib import Path

import pytest
from config_samples import MINIMAL, S3, load, refusal

from dockd.config import MqttSettings, config_digest, config_from
from dockd.errors import ConfigError

CONTRACT = """\
[dock]
agency = "calgary"
site = "district-4"
name = "dock-07"
state_dir = "/var/lib/dockd"
[spool]
min_free = "5GiB"
[store]
kind = "filesystem"
path = "/srv/evidence"
accept = ["same-disk"]
[mqtt]
url = "mqtt://127.0.0.1:1883"
[wipe]
mode = "observe"
grace = "72h"
[[bay]]
number = 1
usb_port = "1-1.1"
[folder_cameras]
path = "/run/dockd/cameras"
settle = "500ms"
recordings = ["**"]
[[camera]]
match = { vendor = "46f4", product = "00AB" }
recordings = ["DCIM/**"]
serial = "filesystem"
"""


def test_the_least_configuration_and_its_defaults(tmp_path):
    config = load(tmp_path, MINIMAL)
    assert config.dock.state_dir == Path("/var/lib/dockd")
    assert config.dock.stall_timeout_s == 120
    assert config.spool.min_free_bytes == 5 * 2**30
    assert config.store.kind == "filesystem"
    assert (config.store.path, config.store.accept) == (Path("/srv/evidence"), ())
    assert (config.wipe.mode, config.wipe.grace_s) == ("off", 0)
    assert (config.mqtt, config.folder_cameras, config.bays, config.cameras) == (None, None, (), ())


def test_a_whole_configuration(tmp_path):
    config = load(tmp_path, CONTRACT)
    assert config.store.kind == "filesystem"
    assert config.store.accept == ("same-disk",)
    assert config.mqtt is not None
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.tls) == ("127.0.0.1", 1883, False)
    assert (config.wipe.mode, config.wipe.grace_s) == ("observe", 72 * 3600)
    assert [(bay.number, bay.usb_port) for bay in config.bays] == [(1, "1-1.1")]
    assert config.folder_cameras is not None
    assert (config.folder_cameras.settle_s, config.folder_cameras.rescan_s) == (0.5, 10)
    [profile] = config.cameras
    assert (profile.match.vendor, profile.match.product) == ("46f4", "00ab")
    assert (profile.recordings, profile.serial) == (("DCIM/**",), "filesystem")


def test_an_empty_folder_table_has_all_defaults(tmp_path):
    cameras = load(tmp_path, MINIMAL + "[folder_cameras]\n").folder_cameras
    assert cameras is not None
    assert (cameras.path, cameras.settle_s, cameras.recordings) == (Path("/run/dockd/cameras"), 2, ("**",))


def test_an_s3_store(tmp_path):
    store = load(tmp_path, S3).store
    assert store.kind == "s3"
    assert (store.bucket, store.part_size_bytes, store.addressing) == ("evidence", 16 * 2**20, "path")
    assert (store.endpoint_url, store.region, store.object_lock_days) == (None, None, 0)


def test_a_configuration_cannot_be_changed(tmp_path):
    config = load(tmp_path, CONTRACT)
    with pytest.raises(ValueError, match="frozen"):
        config.wipe.mode = "on"
    assert isinstance(hash(config), int)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0B", 0),
        ("512MiB", 512 * 2**20),
        ("5 GiB", 5 * 2**30),
        ("1.5KiB", 1536),
        ("2TiB", 2**41),
        ("3GB", 3 * 10**9),
    ],
)
def test_sizes(tmp_path, text, size_bytes):
    assert load(tmp_path, MINIMAL + f'[spool]\nmin_free = "{text}"').spool.min_free_bytes == size_bytes


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [("0s", 0), ("90s", 90), ("15m", 900), ("72h", 259200), ("2d", 172800), ("1500ms", 1.5)],
)
def test_durations(tmp_path, text, duration_s):
    assert load(tmp_path, MINIMAL + f'[wipe]\ngrace = "{text}"').wipe.grace_s == duration_s


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://broker", "broker", 1883, False),
        ("mqtts://broker.example/", "broker.example", 8883, True),
        ("mqtts://[::1]:9999", "::1", 9999, True),
    ],
)
def test_broker_urls(tmp_path, url, host, port, tls):
    mqtt = load(tmp_path, MINIMAL + f'[mqtt]\nurl = "{url}"').mqtt
    assert isinstance(mqtt, MqttSettings)
    assert (mqtt.host, mqtt.port, mqtt.tls) == (host, port, tls)


def test_everything_is_said_at_once_and_in_order(tmp_path):
    lines = refusal(
        tmp_path,
        '[wipe]\ngrace = 3\n\n[mqtt]\nurl = "x"\n\n[store]\npath = "/run/dockd"\n'
        "[folder_cameras]\n[[bay]]\nnumbr = 1\n",
    )
    told = [(place, key) for place, key, _ in (line.split(": ", 2) for line in lines)]
    assert told == [
        ("config.toml", "dock.agency"),
        ("config.toml", "dock.site"),
        ("config.toml", "dock.name"),
        ("config.toml:2", "wipe.grace"),
        ("config.toml:5", "mqtt.url"),
        ("config.toml:9", "folder_cameras.path"),
        ("config.toml:10", "bay[0].number"),
        ("config.toml:10", "bay[0].usb_port"),
        ("config.toml:11", "bay[0].numbr"),
    ]


def test_long_and_odd_values_stay_on_one_short_line(tmp_path):
    [line] = refusal(tmp_path, MINIMAL.replace('"district-4"', '"""' + "a\\u001b[31m\n" + "x" * 5000 + '"""'))
    assert line.isprintable()
    assert len(line) < 200


def test_the_digest_follows_the_settings_and_not_the_spelling(tmp_path):
    plain = config_digest(load(tmp_path, MINIMAL))
    assert config_digest(load(tmp_path, MINIMAL + '[wipe]\ngrace = "0m" # none\n')) == plain
    assert config_digest(load(tmp_path, MINIMAL + '[wipe]\ngrace = "1s"\n')) != plain
    assert len(plain) == 64
    config_digest(load(tmp_path, S3))
    config_digest(load(tmp_path, CONTRACT))


def test_tables_that_were_read_elsewhere():
    raw = {"dock": {"agency": "a", "site": "s", "name": "d"}, "store": {"path": "/s"}}
    assert config_from(raw).dock.name == "d"
    with pytest.raises(ConfigError, match=r"^flags: dock\.agency: found nothing"):
        config_from({"store": {"path": "/s"}}, "flags")

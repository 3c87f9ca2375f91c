"""What of a configuration is refused, and with which words."""

import pytest
from config_samples import MINIMAL, S3, refusal

# --- refusals: what is added to MINIMAL (from line 8 on), and the one line that must come of it ---

NAME = "1 to 20 of a-z, 0-9 and -"
DURATION = 'a duration such as "90s", "15m" or "72h"'
SIZE = 'a size such as "512MiB" or "5GiB"'
PATH = "an absolute path without .., other than /"
PATTERN = 'a pattern below the camera\'s root such as "DCIM/**": not empty, no leading or doubled /, no ..'
BROKER = 'a URL such as "mqtts://broker.example:8883"'

ADDED = {
    "unknown table": (
        '[wype]\nmode = "on"',
        (
            "8: wype: found an unknown table; expected one of audit, bay, camera, custody, dock, folder_cameras, mqtt, "
            "spool, store, wipe; did you mean wipe?"
        ),
    ),
    "unknown key": (
        '[wipe]\nmod = "on"',
        "9: wipe.mod: found an unknown key; expected one of grace, mode; did you mean wipe.mode?",
    ),
    "key of another table": (
        '[spool]\ngrace = "1h"',
        "9: spool.grace: found an unknown key; expected one of min_free; did you mean wipe.grace?",
    ),
    "python's name of a key": (
        "[spool]\nmin_free_bytes = 1",
        ("9: spool.min_free_bytes: found an unknown key; expected one of min_free; did you mean spool.min_free?"),
    ),
    "odd key": (
        '[wipe]\n"a \\u001b b" = 1',
        '9: wipe."a \\u001b b": found an unknown key; expected one of grace, mode',
    ),
    "size as a number": ("[spool]\nmin_free = 5", f"9: spool.min_free: found 5; expected {SIZE}"),
    "size with a loose unit": (
        '[spool]\nmin_free = "5g"',
        f'9: spool.min_free: found "5g"; expected {SIZE}; did you mean "5GiB"?',
    ),
    "negative size": (
        '[spool]\nmin_free = "-1GiB"',
        f'9: spool.min_free: found "-1GiB"; expected {SIZE}',
    ),
    "absurd size": (
        '[spool]\nmin_free = "99999999TiB"',
        f'9: spool.min_free: found "99999999TiB"; expected {SIZE}',
    ),
    "negative grace": (
        '[wipe]\ngrace = "-1s"',
        f'9: wipe.grace: found "-1s"; expected {DURATION} from 0s to 3650d',
    ),
    "grace in words": (
        '[wipe]\ngrace = "3 days"',
        f'9: wipe.grace: found "3 days"; expected {DURATION} from 0s to 3650d; did you mean "3d"?',
    ),
    "mode as a truth": (
        "[wipe]\nmode = true",
        '9: wipe.mode: found true; expected "on", "observe" or "off"; did you mean "on"?',
    ),
    "mode in capitals": (
        '[wipe]\nmode = "Observe"',
        '9: wipe.mode: found "Observe"; expected "on", "observe" or "off"; did you mean "observe"?',
    ),
    "table as a value": ("[[wipe]]", "8: wipe: found an array; expected a table"),
    "no settling": (
        '[folder_cameras]\nsettle = "0s"',
        f'9: folder_cameras.settle: found "0s"; expected {DURATION} from 10ms to 1h',
    ),
    "no pattern": (
        "[folder_cameras]\nrecordings = []",
        (
            "9: folder_cameras.recordings: found an empty array; "
            'expected an array of at least one pattern such as ["DCIM/**"]'
        ),
    ),
    "climbing pattern": (
        '[folder_cameras]\nrecordings = [\n  "**",\n  "../x",\n]',
        f'11: folder_cameras.recordings[1]: found "../x"; expected {PATTERN}',
    ),
    "absolute pattern": (
        '[folder_cameras]\nrecordings = ["/DCIM"]',
        f'9: folder_cameras.recordings[0]: found "/DCIM"; expected {PATTERN}',
    ),
    "cameras within the store": (
        '[folder_cameras]\npath = "/srv/evidence/cameras"',
        (
            '9: folder_cameras.path: found "/srv/evidence/cameras", which lies in store.path '
            '("/srv/evidence"); expected folders that lie apart from each other'
        ),
    ),
    "cameras above the store": (
        '[folder_cameras]\npath = "/srv"',
        (
            '9: folder_cameras.path: found "/srv", which holds store.path ("/srv/evidence"); '
            "expected folders that lie apart from each other"
        ),
    ),
    "broker's scheme": (
        '[mqtt]\nurl = "tcp://h:1"',
        f'9: mqtt.url: found "tcp://h:1"; expected {BROKER}; did you mean "mqtt://h:1"?',
    ),
    "broker's port": (
        '[mqtt]\nurl = "mqtt://h:99999"',
        f'9: mqtt.url: found "mqtt://h:99999"; expected {BROKER}',
    ),
    "broker's password in the URL": (
        '[mqtt]\nurl = "mqtt://u:hunter2@h"',
        (
            f"9: mqtt.url: found a value that is not shown here; expected {BROKER}, "
            "without user and password: these have keys of their own"
        ),
    ),
    "no broker": (
        "[mqtt]",
        '8: mqtt.url: found nothing; expected a URL such as "mqtt://127.0.0.1:1883"',
    ),
    "certificate without TLS": (
        '[mqtt]\nurl = "mqtt://h"\nca_file = "/x"',
        (
            "10: mqtt.ca_file: found a key for TLS; expected none with an mqtt:// URL; "
            "did you mean mqtts:// in mqtt.url?"
        ),
    ),
    "certificate without its key": (
        '[mqtt]\nurl = "mqtts://h"\ncert_credential = "c"',
        "8: mqtt.key_credential: found nothing; expected a value, because mqtt.cert_credential is there",
    ),
    "a secret in place of its name": (
        '[mqtt]\nurl = "mqtts://h"\nusername = "u"\npassword_credential = "correct horse/"',
        (
            "11: mqtt.password_credential: found a value that is not shown here; "
            "expected the plain name of a file in the credentials folder, not the secret itself"
        ),
    ),
    "bay's number": (
        '[[bay]]\nnumber = 0\nusb_port = "1-1"',
        "9: bay[0].number: found 0; expected a whole number from 1 to 999",
    ),
    "bay's number as a truth": (
        '[[bay]]\nnumber = true\nusb_port = "1-1"',
        "9: bay[0].number: found true; expected a whole number from 1 to 999",
    ),
    "bay's port": (
        '[[bay]]\nnumber = 1\nusb_port = "usb1"',
        '10: bay[0].usb_port: found "usb1"; expected a port such as "1-1.4"',
    ),
    "bay twice": (
        '[[bay]]\nnumber = 1\nusb_port = "1-1"\n[[bay]]\nnumber = 1\nusb_port = "1-2"',
        "12: bay[1].number: found 1 a second time; expected each number once: bay[0] has it",
    ),
    "port twice": (
        '[[bay]]\nnumber = 1\nusb_port = "1-1"\n[[bay]]\nnumber = 2\nusb_port = "1-1"',
        '13: bay[1].usb_port: found "1-1" a second time; expected each usb_port once: bay[0] has it',
    ),
    "bay as one table": (
        "[bay]\nnumber = 1",
        "8: bay: found a table; expected an array of tables: [[bay]]",
    ),
    "match as a number": (
        '[[camera]]\nmatch = { vendor = "46f4", product = 1 }',
        ('9: camera[0].match.product: found 1; expected 4 hex digits in quotes such as "46f4"; did you mean "0001"?'),
    ),
    "match too long": (
        '[[camera]]\nmatch = { vendor = "46f45", product = "0001" }',
        '9: camera[0].match.vendor: found "46f45"; expected 4 hex digits such as "46f4"',
    ),
    "match twice": (
        (
            '[[camera]]\nmatch = { vendor = "46f4", product = "00ab" }\n'
            '[[camera]]\nmatch = { vendor = "46F4", product = "00AB" }'
        ),
        "11: camera[1].match: found 46f4 00ab a second time; expected each match once: camera[0] has it",
    ),
    "camera's serial": (
        '[[camera]]\nmatch = { vendor = "46f4", product = "0001" }\nserial = "file-system"',
        ('10: camera[0].serial: found "file-system"; expected "usb" or "filesystem"; did you mean "filesystem"?'),
    ),
}


@pytest.mark.parametrize(("added", "line"), ADDED.values(), ids=ADDED.keys())
def test_refusals(tmp_path, added, line):
    assert refusal(tmp_path, f"{MINIMAL}{added}\n") == [f"config.toml:{line}"]


REPLACED = {
    "name with capitals": (
        '"district-4"',
        '"District 4"',
        f'3: dock.site: found "District 4"; expected {NAME}; did you mean "district-4"?',
    ),
    "name too long": (
        '"district-4"',
        f'"{"x" * 21}"',
        f'3: dock.site: found "{"x" * 21}"; expected {NAME}; did you mean "{"x" * 20}"?',
    ),
    "empty name": ('"district-4"', '""', f'3: dock.site: found ""; expected {NAME}'),
    "name as a time": (
        '"district-4"',
        "07:30:00",
        f"3: dock.site: found the time 07:30:00; expected {NAME}",
    ),
    "relative path": ('"/srv/evidence"', '"srv"', f'7: store.path: found "srv"; expected {PATH}'),
    "climbing path": (
        '"/srv/evidence"',
        '"/srv/../x"',
        f'7: store.path: found "/srv/../x"; expected {PATH}',
    ),
    "root": ('"/srv/evidence"', '"/"', f'7: store.path: found "/"; expected {PATH}'),
    "store within state": (
        '"/srv/evidence"',
        '"/var/lib/dockd/store"',
        (
            '7: store.path: found "/var/lib/dockd/store", which lies in dock.state_dir ("/var/lib/dockd"); '
            "expected folders that lie apart from each other"
        ),
    ),
    "store above state": (
        '"/srv/evidence"',
        '"/var//lib/"',
        (
            '7: store.path: found "/var/lib", which holds dock.state_dir ("/var/lib/dockd"); '
            "expected folders that lie apart from each other"
        ),
    ),
    "unknown weakness": (
        'path = "/srv/evidence"',
        'path = "/srv/evidence"\naccept = ["samedisk"]',
        (
            '8: store.accept[0]: found "samedisk"; expected an array of "same-disk" and "cached-readback"; '
            'did you mean "same-disk"?'
        ),
    ),
    "unknown kind": (
        'path = "/srv/evidence"',
        'kind = "S3"',
        '7: store.kind: found "S3"; expected "filesystem" or "s3"; did you mean "s3"?',
    ),
    "kind as a number": (
        'path = "/srv/evidence"',
        "kind = 3",
        '7: store.kind: found 3; expected "filesystem" or "s3"',
    ),
    "missing path": (
        'path = "/srv/evidence"',
        "",
        "6: store.path: found nothing; expected the store's folder as an absolute path",
    ),
    "store as a value": (
        '[store]\npath = "/srv/evidence"',
        "[[store]]",
        "6: store: found an array; expected a table: [store]",
    ),
}


@pytest.mark.parametrize(("old", "new", "line"), REPLACED.values(), ids=REPLACED.keys())
def test_refusals_of_what_must_be_there(tmp_path, old, new, line):
    assert old in MINIMAL
    assert refusal(tmp_path, MINIMAL.replace(old, new)) == [f"config.toml:{line}"]


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ('part_size = "1MiB"', f'part_size: found "1MiB"; expected {SIZE} from 5MiB to 5120MiB'),
        ('addressing = "host"', 'addressing: found "host"; expected "path" or "virtual"'),
        (
            "object_lock_days = -1",
            "object_lock_days: found -1; expected a whole number of days from 0 to 36500",
        ),
        (
            "object_lock_days = 1.0",
            "object_lock_days: found 1.0; expected a whole number of days from 0 to 36500",
        ),
        (
            'endpoint_url = "ftp://x"',
            'endpoint_url: found "ftp://x"; expected a URL such as "https://s3.example"',
        ),
        ('path = "/x"', "path: found an unknown key; expected one of"),
        (
            'payload_signing = "unsigned"\nendpoint_url = "http://x"',
            'payload_signing: found "unsigned"; expected "signed" with an http:// URL',
        ),
        (
            'ca_file = "/x"\nendpoint_url = "http://x"',
            (
                "ca_file: found a key for TLS; expected none with an http:// URL; "
                "did you mean https:// in store.endpoint_url?"
            ),
        ),
    ],
)
def test_refusals_of_an_s3_store(tmp_path, key, line):
    [found] = refusal(tmp_path, f"{S3}{key}\n")
    assert found.startswith(f"config.toml:11: store.{line}")

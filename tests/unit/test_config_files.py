"""Which files make a configuration, what of them cannot be read, and on which lines keys stand."""

import os
from pathlib import Path

import pytest

from dockd.config import load_config
from dockd.config.load import FILE_LIMIT_BYTES, FILES_LIMIT
from dockd.config.places import key_lines
from dockd.errors import ConfigError

MAIN = """\
[dock]
agency = "calgary"
site = "district-4"
name = "dock-07"
[store]
path = "/srv/evidence"
"""


def files(tmp_path: Path, **additions: str) -> Path:
    """The main file, and one in conf.d for each of `additions`."""
    (tmp_path / "config.toml").write_text(MAIN, encoding="utf-8")
    (tmp_path / "conf.d").mkdir()
    for name, text in additions.items():
        (tmp_path / "conf.d" / f"{name}.toml").write_text(text, encoding="utf-8")
    return tmp_path / "config.toml"


def refusal(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return caught.value.message.replace(f"{path.parent}/", "").splitlines()


def test_additions_are_laid_over_in_name_order(tmp_path):
    path = files(
        tmp_path,
        b='[wipe]\ngrace = "2h"',
        a='[wipe]\nmode = "observe"\ngrace = "1h"\n[store]\naccept = ["same-disk"]',
        c='[store]\naccept = ["cached-readback"]',
    )
    config = load_config(path)
    assert (config.wipe.mode, config.wipe.grace_s) == ("observe", 7200)
    assert config.store.kind == "filesystem"
    assert config.store.accept == ("cached-readback",)
    assert config.dock.name == "dock-07"


def test_arrays_of_tables_are_joined(tmp_path):
    path = files(
        tmp_path,
        a='[[bay]]\nnumber = 1\nusb_port = "1-1"\n[[bay]]\nnumber = 2\nusb_port = "1-2"',
        b='[[bay]]\nnumber = 3\nusb_port = "1-3"',
    )
    assert [bay.number for bay in load_config(path).bays] == [1, 2, 3]


def test_problems_name_the_file_and_line_that_they_stand_in(tmp_path):
    path = files(
        tmp_path,
        a='[[bay]]\nnumber = 1\nusb_port = "1-1"\n\n[[bay]]\nnumber = 2\nusb_port = "x"',
        b='\n[[bay]]\nnumber = 1\nusb_port = "1-3"\n[dock]\nname = "X"',
    )
    assert [line.split(": ")[:2] for line in refusal(path)] == [
        ["conf.d/a.toml:7", "bay[1].usb_port"],
        ["conf.d/b.toml:3", "bay[2].number"],
        ["conf.d/b.toml:6", "dock.name"],
    ]


def test_other_files_beside_are_left_alone(tmp_path):
    path = files(tmp_path)
    for name in ("notes.txt", ".hidden.toml", "a.toml~", "a.toml.dpkg-old"):
        (tmp_path / "conf.d" / name).write_text("not TOML", encoding="utf-8")
    load_config(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.toml")
    assert caught.value.message == f"{tmp_path}/none.toml: found no file; expected a TOML file"
    assert "config.example.toml" in caught.value.hint


def test_all_unusable_files_are_named_at_once(tmp_path):
    path = files(tmp_path, a="x = ", b="y = yes")
    (tmp_path / "conf.d" / "c.toml").write_bytes(b'\n\n[dock]\nname = "\xff"')
    (tmp_path / "conf.d" / "d.toml").mkdir()
    os.mkfifo(tmp_path / "conf.d" / "e.toml")
    (tmp_path / "conf.d" / "f.toml").symlink_to("nowhere")
    (tmp_path / "conf.d" / "g.toml").write_text("#" * FILE_LIMIT_BYTES + "\n", encoding="utf-8")
    (tmp_path / "conf.d" / "h.toml").write_text("x = " + "[" * 50_000, encoding="utf-8")
    (tmp_path / "conf.d" / "i.toml").write_text("x = " + "9" * 5000, encoding="utf-8")
    lines = refusal(path)
    starts = [
        "conf.d/a.toml:1: found text that is not TOML (Invalid value",
        "conf.d/b.toml:1: found text that is not TOML (Invalid value, column 5)",
        "conf.d/c.toml:4: found the byte 0xff, which is not UTF-8",
        "conf.d/d.toml: found something that cannot be read (Is a directory)",
        "conf.d/e.toml: found no regular file",
        "conf.d/f.toml: found no file",
        "conf.d/g.toml: found a file above 256 KiB",
        "conf.d/h.toml: found brackets nested too deeply",
        "conf.d/i.toml: found a number of too many digits",
    ]
    assert [line[: len(start)] for line, start in zip(lines, starts, strict=True)] == starts


def test_a_permission_refused_by_the_system(tmp_path, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    path = files(tmp_path)
    monkeypatch.setattr("dockd.config.load.os.open", denied)
    assert "may not be read (permission denied)" in refusal(path)[0]


def test_additions_that_are_no_folder_or_too_many(tmp_path):
    path = files(tmp_path, **{f"n{number}": "" for number in range(FILES_LIMIT + 1)})
    assert refusal(path) == [f"conf.d: found {FILES_LIMIT + 1} files; expected at most {FILES_LIMIT}"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.toml").write_text(MAIN, encoding="utf-8")
    (other / "conf.d").write_text("", encoding="utf-8")
    assert "expected a folder of TOML files" in refusal(other / "config.toml")[0]


def test_a_byte_order_mark_and_windows_lines(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MAIN.replace("\n", "\r\n").encode())
    assert load_config(path).dock.name == "dock-07"
    path.write_bytes(MAIN.replace("\n", "\r\n").replace("dock-07", "X").encode())
    assert refusal(path)[0].startswith("config.toml:4: dock.name")


def test_a_file_name_that_is_not_text(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\n"
    os.mkdir(folder)
    path = Path(os.fsdecode(folder)) / "config.toml"
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "\\xff?/config.toml" in caught.value.message
    assert caught.value.message.isprintable()


def test_where_keys_stand():
    text = """\
# comment = 1
top."a.b" = 1
[dock] # x = 2
text = \"\"\"
fake = 1 \\\"\"\" [no]
\"\"\"\"
raw = '''
fake = 2 # '''
when = 1979-05-27 07:32:00 # [x]
list = [ # [
  "]", 'a#',
  [1, 2], { k = 1 },
]
[[bay]]
number = 1
[bay.inner]
x = { y.z = [
  1] }
[[bay]]
'number' = 2
"""
    lines = key_lines(text)
    expected = {
        ("top",): 2,
        ("top", "a.b"): 2,
        ("dock",): 3,
        ("dock", "text"): 4,
        ("dock", "raw"): 7,
        ("dock", "when"): 9,
        ("dock", "list"): 10,
        ("dock", "list", 0): 11,
        ("dock", "list", 1): 11,
        ("dock", "list", 2): 12,
        ("dock", "list", 2, 1): 12,
        ("dock", "list", 3, "k"): 12,
        ("bay",): 14,
        ("bay", 0): 14,
        ("bay", 0, "number"): 15,
        ("bay", 0, "inner", "x", "y", "z", 0): 18,
        ("bay", 1): 19,
        ("bay", 1, "number"): 20,
    }
    assert {where: lines.get(where) for where in expected} == expected
    assert not [where for where in lines if "fake" in where]

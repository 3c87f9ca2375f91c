"""`dockd setup`: the first configuration of a dock, by flags or asked for."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic_core import PydanticCustomError

from dockd.commands.service_user import service_user
from dockd.config import config_from, load_config, values
from dockd.durable import fsync_dir, publish_noreplace
from dockd.errors import EXIT_DONE, EXIT_SERVICE_MISSING, ConfigError, UsageError
from dockd.runtime.randomness import Randomness, SystemRandomness

Ask = Callable[[str], str]

DEFAULT_PLACE: Final = Path("/etc/dockd/config.toml")
HEADER: Final = """\
# Made by dockd setup; yours to change. Then: dockd check, systemctl restart dockd
# Every key, its default and a line of help: /usr/share/doc/dockd/config.example.toml
"""
_BAY = re.compile(r"(\d{1,3})=(\S+)")
_CAMERA = re.compile(r"([^:=]+):([^:=]+)(?:=(.+))?")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was given on the command line; None and empty stand for what was not."""

    agency: str | None = None
    site: str | None = None
    name: str | None = None
    store: str | None = None
    mqtt: str | None = None
    wipe: str | None = None
    folder_cameras: str | None = None
    bays: Sequence[str] = ()
    cameras: Sequence[str] = ()
    accept: Sequence[str] = ()
    make_store: bool = False
    store_init: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that is asked for; `default` is None where there is no guessing without a person."""

    key: str
    sentence: str
    proposal: str
    default: str | None
    check: Callable[[str], object] = field(default=str)


def setup(config: Path, wishes: Wishes, ask: Ask | None = None, randomness: Randomness | None = None) -> int:
    """Write a dock's first configuration, and make its store known; `ask` is there on a terminal only.

    Raises UsageError if something is missing or there is a configuration already, ConfigError if it could not be used.
    """
    if os.path.lexists(config):
        raise _there_already(config)
    questions = _questions()
    given = {question.key: getattr(wishes, question.key) for question in questions}
    if all(given[question.key] is not None for question in questions if question.default is None):
        # Nothing is asked of who has said what there is no default for.
        ask = None
    answers = {question.key: _answer(question, given[question.key], ask) for question in questions}
    missing = [f"--{key.replace('_', '-')}" for key, value in answers.items() if value is None]
    if missing:
        raise UsageError(f"not given: {', '.join(missing)}", "Give them, or run it on a terminal to be asked for them.")
    told = {key: value for key, value in answers.items() if value}
    bays = wishes.bays or _words(ask, _BAYS_SENTENCE)
    cameras = wishes.cameras or (_words(ask, _CAMERAS_SENTENCE) if bays else ())
    tables = _tables(told, [_bay(text) for text in bays], [_camera(text) for text in cameras], wishes.accept)
    try:
        config_from(tables, "setup")
    except ConfigError as error:
        raise ConfigError(error.message, "Nothing was written.") from None
    _publish(config, _text(tables), randomness or SystemRandomness())
    print(f"{config} is written.")
    code = EXIT_DONE
    if wishes.store_init:
        code = _init_store(config, Path(told["store"]), wishes, ask)
    _tell_next(config, tables, done=code == EXIT_DONE and wishes.store_init)
    return code


def on_terminal() -> Ask | None:
    """A way to ask the person at the terminal, if there is one."""
    return input if sys.stdin.isatty() and sys.stdout.isatty() else None


# --- what is asked ------------------------------------------------------------------------------------

_BAYS_SENTENCE: Final = (
    "Which USB ports are bays? NUMBER=PORT with blanks between, such as 1=1-1.1 2=1-1.2; "
    "what is plugged in now: ls /sys/bus/usb/devices"
)
_CAMERAS_SENTENCE: Final = (
    "Which cameras may be wiped? VENDOR:PRODUCT=PATTERN with blanks between, such as 46f4:0001=DCIM/**; "
    "lsusb shows the numbers. All others are only read"
)


def _questions() -> tuple[Question, ...]:
    host = re.sub(r"[^a-z0-9]+", "-", platform.node().split(".")[0].lower()).strip("-")[:20]
    return (
        Question("agency", "Who owns the evidence? a-z, 0-9 and -", "police", None, values.name),
        Question("site", "Where does the dock stand?", "main", None, values.name),
        Question("name", "What is the dock called? No two of a site alike", host or "dock-1", None, values.name),
        Question("store", "Which folder is the evidence store? Often a share", "/srv/evidence", None, values.path),
        Question("mqtt", "Where is the broker, such as mqtts://broker.example? Empty for none", "", "", _broker),
        Question("wipe", "Are cameras emptied: off, observe (only says what it would do), on?", "off", "off", _mode),
        Question("folder_cameras", "Which folder holds folders that act as cameras? Empty for none", "", "", _folder),
    )


def _broker(text: str) -> object:
    return text and values.mqtt_url(text)


def _folder(text: str) -> object:
    return text and values.path(text)


def _mode(text: str) -> object:
    if text not in ("off", "observe", "on"):
        raise values.refused("off, observe or on")
    return text


def _answer(question: Question, given: str | None, ask: Ask | None) -> str | None:
    """What was given, or answered until it can be used, or else the default."""
    if given is not None:
        return given
    if ask is None:
        return question.default
    while True:
        answer = _asked(ask, f"{question.sentence} [{question.proposal or 'none'}]: ") or question.proposal
        try:
            question.check(answer)
        except PydanticCustomError as error:
            print(f"  That cannot be used; expected {(error.context or {}).get('expected', 'something else')}.")
        else:
            return answer


def _words(ask: Ask | None, sentence: str) -> list[str]:
    return [] if ask is None else _asked(ask, f"{sentence} [none]: ").split()


def _asked(ask: Ask, prompt: str) -> str:
    try:
        return ask(prompt).strip()
    except EOFError:
        print()
        raise UsageError("there came no answer", "Nothing was written.") from None


def _bay(text: str) -> dict[str, Any]:
    found = _BAY.fullmatch(text)
    if found is None:
        raise UsageError(f"a bay is NUMBER=PORT, such as 4=1-1.4, not {text!r}", "Nothing was written.")
    return {"number": int(found[1]), "usb_port": found[2]}


def _camera(text: str) -> dict[str, Any]:
    found = _CAMERA.fullmatch(text)
    if found is None:
        hint = "Nothing was written."
        raise UsageError(f"a camera is VENDOR:PRODUCT=PATTERN,PATTERN, such as 46f4:0001=DCIM/**, not {text!r}", hint)
    table: dict[str, Any] = {"match": {"vendor": found[1], "product": found[2]}}
    if found[3]:
        table["recordings"] = found[3].split(",")
    return table


# --- what is written ----------------------------------------------------------------------------------


def _tables(
    told: Mapping[str, str], bays: list[dict[str, Any]], cameras: list[dict[str, Any]], accept: Sequence[str]
) -> dict[str, Any]:
    tables: dict[str, Any] = {
        "dock": {key: told[key] for key in ("agency", "site", "name")},
        "store": {"path": told["store"]} | ({"accept": list(accept)} if accept else {}),
        "wipe": {"mode": told["wipe"]},
    }
    if "mqtt" in told:
        tables["mqtt"] = {"url": told["mqtt"]}
    if "folder_cameras" in told:
        tables["folder_cameras"] = {"path": told["folder_cameras"]}
    if bays:
        tables["bay"] = bays
    if cameras:
        tables["camera"] = cameras
    return tables


def _text(tables: Mapping[str, Any]) -> str:
    lines = [HEADER]
    for name, table in tables.items():
        several = isinstance(table, list)
        for entry in table if several else [table]:
            lines.append(f"[[{name}]]" if several else f"[{name}]")
            lines += [f"{key} = {_value(value)}" for key, value in entry.items()]
            lines.append("")
    return "\n".join(lines)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_value(entry)}' for key, entry in value.items())} }}"
    # What JSON and TOML write alike: texts, whole numbers, and arrays of texts.
    return json.dumps(value, ensure_ascii=False)


def _publish(config: Path, text: str, randomness: Randomness) -> None:
    """Give it its name once dockd's own loader has taken it, together with what lies in conf.d; never over another."""
    config.parent.mkdir(parents=True, exist_ok=True)
    hidden = config.with_name(f".{randomness.token()}.partial")
    fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, 0o644)
            file.write(text)
            file.flush()
            os.fsync(fd)
        try:
            load_config(hidden)
        except ConfigError as error:
            raise ConfigError(error.message.replace(str(hidden), "setup"), "Nothing was written.") from None
        publish_noreplace(hidden, config)
    except FileExistsError:
        raise _there_already(config) from None
    finally:
        if os.path.lexists(hidden):
            os.unlink(hidden)
    fsync_dir(config.parent)


def _there_already(config: Path) -> UsageError:
    hint = f"Change it with an editor, then: dockd check. To begin anew, move it aside first: mv {config} {config}.old"
    return UsageError(f"{config} is there already, and is never overwritten", hint)


# --- what comes then ----------------------------------------------------------------------------------


def _init_store(config: Path, store: Path, wishes: Wishes, ask: Ask | None) -> int:
    """Make the store known, as the user that the service runs as; the exit code."""
    user = service_user()
    if not store.exists():
        make = wishes.make_store
        if not make and ask is not None:
            sentence = f"There is no folder {store}. Make it? Not if a share is to be mounted there. yes or no [no]: "
            make = _asked(ask, sentence).lower() in ("y", "yes")
        if not make:
            owner = f" -o {user.pw_name} -g {user.pw_name}" if user else ""
            print(f"There is no folder {store}. Mount it, or make it: install -d{owner} -m 0750 {store}")
            return EXIT_SERVICE_MISSING
        store.mkdir(mode=0o750, parents=True)
        if user is not None:
            os.chown(store, user.pw_uid, user.pw_gid)
    command = [sys.executable, "-I", "-m", "dockd", "store", "init", "--config", str(config)]
    sys.stdout.flush()
    rights: dict[str, Any] = {}
    if user is not None:
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
        rights = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}
    code = subprocess.run(command, check=False, **rights).returncode  # noqa: S603  dockd itself, and no shell
    if code != EXIT_DONE and user is not None and store.stat().st_uid != user.pw_uid:
        print(f"{store} does not belong to {user.pw_name}. If it should: chown {user.pw_name}:{user.pw_name} {store}")
    return code


def _tell_next(config: Path, tables: Mapping[str, Any], *, done: bool) -> None:
    which = "" if config == DEFAULT_PLACE else f" --config {config}"
    # As root it would make a file that the service may not read.
    user = service_user()
    who = f"runuser -u {user.pw_name} -- " if user else ""
    steps = [] if done else [(f"{who}dockd store init{which}", "makes the store known; once for each store")]
    steps += [
        (f"dockd check{which}", "probes all that the configuration names"),
        ("systemctl enable --now dockd", "starts it, now and at each boot"),
        (f"dockd key show{which}", "prints its public key, for the registry of keys"),
    ]
    width = max(len(command) for command, _ in steps)
    print("\nNext:")
    for command, what in steps:
        print(f"  {command:<{width}}  {what}")
    if "bay" in tables:
        print("Cameras that are in a bay already: dock them again. They are write-protected as they come.")
    if tables["wipe"]["mode"] != "on":
        print('Nothing is wiped before wipe.mode is "on".')

"""The command line: one function per command, no logic of its own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dockd.commands.arguments import day, filled, positive
from dockd.errors import EXIT_IO, EXIT_PERMISSION, EXIT_USAGE, DockdError
from dockd.version import version

DEFAULT_CONFIG = Path("/etc/dockd/config.toml")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def _run(args: argparse.Namespace) -> int:
    from dockd.commands.run import run

    return run(args.config, print_messages=args.print_messages)


def _setup(args: argparse.Namespace) -> int:
    from dockd.commands.setup import Wishes, on_terminal, setup

    wishes = Wishes(
        agency=args.agency,
        site=args.site,
        name=args.name,
        store=args.store,
        mqtt=args.mqtt,
        wipe=args.wipe,
        folder_cameras=args.folder_cameras,
        bays=args.bay,
        cameras=args.camera,
        accept=args.accept,
        make_store=args.make_store,
        store_init=not args.no_store_init,
    )
    return setup(args.config, wishes, on_terminal())


def _check(args: argparse.Namespace) -> int:
    from dockd.commands.look import check

    return check(args.config, as_json=args.json)


def _status(args: argparse.Namespace) -> int:
    from dockd.commands.look import status

    return status(args.config, as_json=args.json, watch=args.watch)


def _explain(args: argparse.Namespace) -> int:
    from dockd.commands.look import explain

    return explain(args.config, args.camera)


def _audit(args: argparse.Namespace) -> int:
    from dockd.commands.audit import audit

    return audit(args.config, sample=args.sample, as_json=args.json)


def _report(args: argparse.Namespace) -> int:
    from dockd.commands.report import report

    return report(args.config, args.date, as_csv=args.csv, as_json=args.json)


def _demo(args: argparse.Namespace) -> int:
    from dockd.commands.demo import demo

    return demo(args.dir, serve=args.serve, megabytes=args.megabytes, broker=not args.no_broker)


def _bays(args: argparse.Namespace) -> int:
    from dockd.commands.bays import bays

    return bays(args.config)


def _control(args: argparse.Namespace) -> int:
    from dockd.commands.control import control

    return control(args.config, args.command, args.bay)


def _store_init(args: argparse.Namespace) -> int:
    from dockd.commands.store import init

    return init(args.config)


def _store_probe(args: argparse.Namespace) -> int:
    from dockd.commands.store import probe

    return probe(args.config, as_json=args.json)


def _hold_add(args: argparse.Namespace) -> int:
    from dockd.commands.hold import add

    return add(args.config, camera=args.camera, recording=args.recording, reason=args.reason, by=args.by)


def _hold_remove(args: argparse.Namespace) -> int:
    from dockd.commands.hold import remove

    return remove(args.config, args.hold, reason=args.reason, by=args.by, approval=args.approval)


def _hold_list(args: argparse.Namespace) -> int:
    from dockd.commands.hold import show

    return show(args.config, as_json=args.json)


def _key_init(args: argparse.Namespace) -> int:
    from dockd.commands.key import init

    return init(args.config)


def _key_show(args: argparse.Namespace) -> int:
    from dockd.commands.key import show

    return show(args.config)


def _key_rotate(args: argparse.Namespace) -> int:
    from dockd.commands.key import rotate

    return rotate(args.config)


def _custody_export(args: argparse.Namespace) -> int:
    from dockd.commands.custody import export

    return export(args.config)


def _custody_verify(args: argparse.Namespace) -> int:
    from dockd.commands.verify import verify

    return verify(args.path, signers=args.allowed_signers, head=args.head, as_json=args.json)


def _passport(args: argparse.Namespace) -> int:
    from dockd.commands.passport import Wanted, passport

    wanted = Wanted(args.recording, args.camera, args.since, args.until, args.key)
    return passport(args.config, wanted, args.out, with_recordings=args.with_recordings)


def _custody_acknowledge(args: argparse.Namespace) -> int:
    from dockd.commands.custody import acknowledge

    return acknowledge(args.config, by=args.by)


def _command(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    does: str,
    function: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = _by_itself(commands, name, does, function)
    parser.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"default: {DEFAULT_CONFIG}"
    )
    parser.set_defaults(function=function, as_service=True)
    return parser


def _by_itself(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    does: str,
    function: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """A command that needs no configuration."""
    parser = commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
    parser.set_defaults(function=function)
    return parser


def _group(commands: argparse._SubParsersAction[_Parser], name: str, does: str) -> argparse._SubParsersAction[_Parser]:
    parser = commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
    return parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)


def _add_setup(commands: argparse._SubParsersAction[_Parser]) -> None:
    does = "write a dock's first configuration, and make its store known; asks on a terminal for what is not given"
    setup = _command(commands, "setup", does, _setup)
    setup.set_defaults(as_service=False)
    setup.add_argument("--agency", metavar="NAME", help="who owns the evidence")
    setup.add_argument("--site", metavar="NAME", help="where the dock stands")
    setup.add_argument("--name", metavar="NAME", help="the dock's name, unique within the site")
    setup.add_argument("--store", metavar="PATH", help="the evidence store's folder")
    setup.add_argument("--mqtt", metavar="URL", help="the broker; default: none")
    setup.add_argument("--wipe", choices=("off", "observe", "on"), help="whether cameras are emptied; default: off")
    setup.add_argument("--bay", action="append", default=[], metavar="N=PORT", help="a bay and its USB port: 4=1-1.4")
    setup.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="VENDOR:PRODUCT[=PATTERN,...]",
        help="a model that may be wiped, and which of its files are recordings: 46f4:0001=DCIM/**",
    )
    setup.add_argument("--folder-cameras", metavar="PATH", help="a folder whose folders act as cameras; default: none")
    setup.add_argument(
        "--accept", action="append", default=[], metavar="WEAKNESS", help="same-disk or cached-readback: see the manual"
    )
    setup.add_argument("--make-store", action="store_true", help="make the store's folder if it is not there")
    setup.add_argument("--no-store-init", action="store_true", help="leave the store as it is")


def _add_custody(commands: argparse._SubParsersAction[_Parser]) -> None:
    key = _group(commands, "key", "look after the dock's signing key")
    _command(key, "init", "make the key, or one in place of a key that is lost; dockd must not run then", _key_init)
    _command(key, "show", "print the public key, as a line for the registry of keys (allowed_signers)", _key_show)
    _command(key, "rotate", "put a new key in its place; dockd must not run", _key_rotate)

    custody = _group(commands, "custody", "look after the custody chain")
    does = "verify chains, signatures and passports with public keys alone; needs no configuration and no network"
    verify = _by_itself(custody, "verify", does, _custody_verify)
    verify.add_argument(
        "path", nargs="+", type=Path, metavar="PATH", help="a passport, a chain's folder, a store, or exported records"
    )
    verify.add_argument(
        "--allowed-signers", type=Path, metavar="FILE", help="who may sign; default: /etc/dockd/allowed_signers"
    )
    verify.add_argument("--head", type=Path, metavar="FILE", help="a head known from elsewhere: MQTT or status --json")
    verify.add_argument("--json", action="store_true", help="print JSON")
    _command(custody, "export", "print the present chain, one record a line", _custody_export)
    acknowledge = _command(
        custody, "acknowledge", "let wiping go on after a new chain had to be begun", _custody_acknowledge
    )
    acknowledge.add_argument("--by", type=filled, required=True, help="who; it is recorded")


def _add_hold(commands: argparse._SubParsersAction[_Parser]) -> None:
    hold = _group(commands, "hold", "look after legal holds; what is held is never wiped")
    add = _command(hold, "add", "bring a legal hold into force", _hold_add)
    subject = add.add_mutually_exclusive_group(required=True)
    subject.add_argument("--camera", type=filled, metavar="SERIAL", help="hold everything of this camera")
    subject.add_argument("--recording", type=filled, metavar="ID", help="hold one recording: its id or its BLAKE3")
    does = "lift a legal hold, with a second person's signature; without it, print what is to be signed"
    remove = _command(hold, "remove", does, _hold_remove)
    remove.add_argument("hold", metavar="HOLD", help="the hold's id, from: dockd hold list")
    does = "the approver's signature of what is printed without it: ssh-keygen -Y sign -f KEY -n dockd-approval …"
    remove.add_argument("--approval", type=Path, metavar="FILE", help=does)
    for parser_ in (add, remove):
        parser_.add_argument("--reason", type=filled, required=True, help="why; it is recorded")
        parser_.add_argument("--by", type=filled, required=True, help="who; it is recorded")
    listing = _command(hold, "list", "list the legal holds in force", _hold_list)
    listing.add_argument("--json", action="store_true", help="print JSON")


def _add_report(commands: argparse._SubParsersAction[_Parser]) -> None:
    does = "list what came in on one day, a row for each recording: a table, or CSV into a pipe"
    report = _command(commands, "report", does, _report)
    report.add_argument("--date", type=day, required=True, metavar="YYYY-MM-DD", help="the day, UTC")
    how = report.add_mutually_exclusive_group()
    how.add_argument("--csv", action="store_true", help="print CSV on a terminal, too")
    how.add_argument("--json", action="store_true", help="print JSON")


_CONTROLS = (
    ("pause", "begin nothing new: nothing is taken from cameras, nothing is wiped", False),
    ("resume", "go on after a pause", False),
    ("rescan", "look now which cameras are there, and what is on them", False),
    ("retry", "try now what waits for a later attempt", False),
    ("identify", "show where a bay is", True),
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(prog="dockd", description="Takes evidence off body-worn cameras, provably.")
    parser.add_argument("--version", action="version", version=f"dockd {version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    json_help = "print JSON"

    run = _command(commands, "run", "run the daemon", _run)
    run.set_defaults(as_service=False)
    run.add_argument(
        "--print-messages", action="store_true", help="print what would be said over MQTT, instead of a broker"
    )
    does = "show a whole dock at work, in a folder, with sample cameras; needs no root and no USB"
    demo = _by_itself(commands, "demo", does, _demo)
    demo.add_argument("--dir", type=Path, metavar="DIR", help="a new or empty folder to play in; default: a fresh one")
    demo.add_argument("--serve", action="store_true", help="keep the dock running until Ctrl-C")
    demo.add_argument("--megabytes", type=positive, default=600, metavar="N", help="how much sample footage to make")
    demo.add_argument("--no-broker", action="store_true", help="print what would be said over MQTT, without a broker")
    _add_setup(commands)
    check = _command(commands, "check", "validate the configuration and probe all that it names", _check)
    check.add_argument("--json", action="store_true", help=json_help)
    status = _command(commands, "status", "show bays, cameras, counts, and what waits for what", _status)
    status.add_argument("--json", action="store_true", help=json_help)
    status.add_argument("--watch", action="store_true", help="show it again and again, until interrupted")
    explain = _command(commands, "explain", "say why each recording of a camera is (not) wiped yet", _explain)
    explain.add_argument("camera", metavar="CAMERA", help="the camera's serial")
    bays = _command(commands, "bays", "print the USB ports of this machine, as TOML to paste", _bays)
    bays.set_defaults(as_service=False)
    audit = _command(commands, "audit", "read the store again and compare it with the journal", _audit)
    audit.add_argument("--sample", type=positive, metavar="N", help="read only N recordings, chosen at random")
    audit.add_argument("--json", action="store_true", help=json_help)
    _add_report(commands)

    for name, does, bay in _CONTROLS:
        parser_ = _command(commands, name, does, _control)
        parser_.add_argument(
            "--bay", type=filled, required=bay, metavar="BAY", help="one bay, as `dockd status` names it"
        )
        parser_.set_defaults(command=name)

    store = _group(commands, "store", "look after the evidence store")
    _command(store, "init", "make the store known (.dockd-store); harmless on a store that is", _store_init)

    does = "ask the store what it really enforces, by sending it what must not work, below {agency}/probe/"
    probe = _command(store, "probe", does, _store_probe)
    probe.add_argument("--json", action="store_true", help=json_help)

    _add_hold(commands)
    _add_passport(commands)
    _add_custody(commands)
    return parser


def _add_passport(commands: argparse._SubParsersAction[_Parser]) -> None:
    does = "make the folder with which a court can check recordings, and see no others"
    passport = _command(commands, "passport", does, _passport)
    passport.add_argument("recording", nargs="*", type=filled, metavar="RECORDING", help="a recording's id")
    passport.add_argument("--camera", type=filled, metavar="SERIAL", help="all recordings of this camera")
    for name, which in (("from", "since"), ("to", "until")):
        passport.add_argument(
            f"--{name}", dest=which, type=filled, metavar="TIME", help=f"of --camera: dockings {which} then (RFC 3339)"
        )
    passport.add_argument("--key", action="append", default=[], type=filled, help="a recording by its key in the store")
    passport.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder, which must not be there")
    passport.add_argument("--with-recordings", action="store_true", help="copy the recordings out of the store into it")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code (see docs/operations.md)."""
    args = build_parser().parse_args(argv)
    function: Callable[[argparse.Namespace], int] = args.function
    try:
        if os.geteuid() == 0 and getattr(args, "as_service", False):
            from dockd.commands.service_user import become_service

            become_service(args.config)
        return function(args)
    except DockdError as error:
        print(error.told(), file=sys.stderr)
        return error.exit_code
    except PermissionError as error:
        print(
            f"dockd: not permitted: {error}\n  Run it as root, or as the user that dockd runs as.",
            file=sys.stderr,
        )
        return EXIT_PERMISSION
    except BrokenPipeError:
        return EXIT_IO
    except OSError as error:
        print(f"dockd: {error}\n  Nothing was changed.", file=sys.stderr)
        return EXIT_IO
    except KeyboardInterrupt:
        return 130

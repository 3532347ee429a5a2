"""The commands of `python -m pandaq`.

    verify DATA      read everything and say what is damaged; change nothing
    repair DATA      set damaged bytes aside and leave a directory that starts
    bench            measure what a broker does on this machine

Exit codes: 0 where all is well, or was repaired; 1 where something is damaged; 2 where it could not
be done.
"""

import argparse
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from pandaq.errors import PandaqError
from pandaq.storage.disk import LocalDisk
from pandaq.storage.inspection import Inspection, inspect, repair

EXIT_OK: Final = 0
EXIT_DAMAGED: Final = 1
EXIT_NOT_DONE: Final = 2
BENCH_S: Final = 4.0
LONGEST_BENCH_S: Final = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level="INFO", format="%(message)s")
    try:
        code = _bench(options) if options.command == "bench" else _look(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has heard enough. Closed, it is not tried again when the program ends.
        with suppress(BrokenPipeError):
            sys.stdout.close()
        return EXIT_NOT_DONE
    return code


def _look(options: argparse.Namespace) -> int:
    """Verify or repair."""
    place = LocalDisk(), options.data, options.ingress_log, _clock
    try:
        found = left = inspect(*place)
        if options.command == "repair" and not found.is_sound:
            repair(*place)
            left = inspect(*place)
    except PandaqError as error:
        print(f"pandaq: {error}", file=sys.stderr)
        return EXIT_NOT_DONE
    for line in _report(found, left, options.data):
        print(line)
    return EXIT_OK if left.is_sound else EXIT_DAMAGED


def _bench(options: argparse.Namespace) -> int:
    # The SDK is needed here alone.
    from pandaq.benchmark.command import bench  # noqa: PLC0415
    from pandaq_sdk import PandaqSdkError  # noqa: PLC0415

    try:
        bench(options.dir, options.seconds, as_json=options.json)
    except (PandaqError, PandaqSdkError, OSError) as error:
        print(f"pandaq: {error}", file=sys.stderr)
        return EXIT_NOT_DONE
    return EXIT_OK


def _report(found: Inspection, left: Inspection, root: Path) -> Iterable[str]:
    for label, each in (
        ("note", found.notes),
        ("known", found.known),
        ("damage", found.damage),
        ("lost", found.lost),
    ):
        yield from (f"{label}: {item}" for item in each)
    yield f"{root}: {left.messages} message{'s' * (left.messages != 1)} can be read"
    if left.waiting:
        wait = "wait" if left.waiting > 1 else "waits"
        yield f"{root}: {left.waiting} message{'s' * (left.waiting != 1)} {wait} to be due"
    if found.is_sound:
        yield f"{root}: sound"
    elif left.is_sound:
        yield f"{root}: repaired; what was damaged is kept in {root / 'damaged'}"
    else:
        yield f"{root}: damaged; `python -m pandaq repair {root}` leaves a directory that is sound"


def _clock() -> int:
    return time.time_ns() // 1_000_000


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pandaq",
        description="Look at the data directory of a Panda-Q broker that is not running, or "
        "measure what a broker does on this machine.",
        epilog="Exit codes: 0 all is well or repaired, 1 something is damaged, 2 it could not be "
        "done. "
        "A broker is run by `python -m pandaq.web`.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in (
        ("verify", "read everything and say what is damaged; change nothing"),
        ("repair", "set damaged bytes aside in DATA/damaged and leave a directory that starts"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("data", type=Path, metavar="DATA", help="the data directory")
        command.add_argument(
            "--ingress-log",
            type=Path,
            metavar="FILE",
            help="the write-ahead log, where INGRESS_LOG_FILE puts it elsewhere",
        )
    what = "measure what a broker does on this machine"
    command = commands.add_parser(
        "bench",
        help=what,
        description=f"{what.capitalize()}, in a temporary folder that is removed afterwards.",
    )
    command.add_argument(
        "--dir", type=Path, help="a folder on the disk to be measured (default: the system's temp)"
    )
    command.add_argument(
        "--seconds",
        type=_seconds,
        default=BENCH_S,
        metavar="N",
        help=f"for each thing that is measured (default: {BENCH_S:g})",
    )
    command.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= LONGEST_BENCH_S:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and up to {LONGEST_BENCH_S:g}")
    return value

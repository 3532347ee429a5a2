"""`python -m bench`: measure what is claimed, and print it; see README.md beside this file."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.parts import PARTS
from bench.record import write
from bench.row import Row, Skipped
from bench.setting import BACKLOG_MESSAGES, RUNS, SUSTAINED_MINUTES, Setting
from bench.table import block, summary
from pandaq.benchmark.disk_rate import file_system
from pandaq.errors import PandaqError

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
EXIT_OK: Final = 0
EXIT_NOT_DONE: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return the exit code: 2 where something could not be measured to its end."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.write and options.quick:
        parser.error("figures of a --quick run mean nothing: leave out --quick, or --write")
    if not options.dir.is_dir():
        parser.error(f"{options.dir} is no folder; name one on the disk to be measured")
    logging.basicConfig(level="WARNING", format="%(message)s")
    setting = Setting(
        folder=options.dir,
        runs=options.runs or (1 if options.quick else RUNS),
        quick=options.quick,
        messages=options.messages,
        minutes=options.minutes,
    )
    _warn_of_memory(setting)
    rows: list[Row] = []
    code = EXIT_OK
    for name in options.parts or PARTS:
        try:
            rows += _measured(setting, name)
        except PandaqError as error:
            setting.progress.say(f"{name}: not measured: {error}")
            code = EXIT_NOT_DONE
    if len(rows) > 1:
        print(summary(rows))
    if options.write and rows:
        for skipped in write(options.docs, rows):
            setting.progress.say(str(skipped))
    return code


def _measured(setting: Setting, name: str) -> list[Row]:
    setting.progress.say(f"{name}: {PARTS[name].says}")
    rows = []
    for found in PARTS[name].measure(setting):
        if isinstance(found, Skipped):
            setting.progress.say(f"  {found}")
        else:
            print(block(found), flush=True)
            rows.append(found)
    return rows


def _warn_of_memory(setting: Setting) -> None:
    if file_system(setting.folder) == "tmpfs":
        setting.progress.say(
            f"{setting.folder} is in memory, not on a disk; name another folder with --dir"
        )


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:10} {part.says}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"Measure Panda-Q beside others. The parts, by default all:\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", type=_part, help="which parts")
    parser.add_argument("--runs", type=_count, metavar="N", help=f"of each (default: {RUNS})")
    parser.add_argument("--quick", action="store_true", help="only show that it runs: tiny sizes")
    parser.add_argument(
        "--write", action="store_true", help="merge the rows into docs/benchmarks.json, .md, .svg"
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="a folder on the disk to be measured (default: the system's temp)",
    )
    parser.add_argument(
        "--docs", type=Path, default=DOCS, metavar="DIR", help="where --write writes instead"
    )
    parser.add_argument(
        "--messages",
        type=_count,
        default=BACKLOG_MESSAGES,
        metavar="N",
        help=f"waiting in `backlog` (default: {BACKLOG_MESSAGES:,})",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=SUSTAINED_MINUTES,
        metavar="N",
        help=f"of `sustained` (default: {SUSTAINED_MINUTES:g})",
    )
    return parser


def _part(text: str) -> str:
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"there is no part {text!r}; there are {', '.join(PARTS)}")
    return text


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


if __name__ == "__main__":
    sys.exit(main())

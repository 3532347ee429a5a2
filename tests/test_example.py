import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "sdk" / "examples"


def run(example: str, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / example, file],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk")])},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_the_example_brings_a_file_of_json_lines_through_two_kills(tmp_path: Path) -> None:
    values: list[object] = [
        None,
        False,
        0,
        "",
        "x|y\nz",
        {"a": [1, {"é|": 2.5}]},
        [],
        "\u2028 and more",
    ] * 15
    file = tmp_path / "lines.ndjson"
    lines = (json.dumps(value, ensure_ascii=False) for value in values)
    file.write_text("\n\n".join(lines), encoding="utf-8")
    done = run("ndjson_round_trip.py", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "120 sent, 120 came back; equal=True, once=True, in_order=True" in done.stdout


def test_the_example_shares_partitions_among_processes_that_are_killed_and_join(
    tmp_path: Path,
) -> None:
    file = tmp_path / "lines.ndjson"
    file.write_text("\n".join(map(str, range(200))), encoding="utf-8")
    done = run("shared_partitions.py", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 sent, 200 handled" in done.stdout
    assert done.stdout.count("kills ") >= 2
    assert "has got [" in done.stdout

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "sdk" / "examples" / "ndjson_round_trip.py"


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
    done = subprocess.run(
        [sys.executable, EXAMPLE, file],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk")])},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "120 sent, 120 came back; equal=True, once=True, in_order=True" in done.stdout

"""Run the installed package in an empty folder: start it, produce, consume, commit, stop it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pandaq
from pandaq_sdk import Consumer, Producer


def main() -> None:
    """Fail where anything does."""
    installed = Path(pandaq.__file__).parent
    assert "site-packages" in installed.parts, f"{installed} is not what was installed"
    assert (installed / "py.typed").exists()
    with tempfile.TemporaryDirectory() as folder:
        broker = subprocess.Popen(
            [sys.executable, "-m", "pandaq.web", "--port", "0"],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )
        assert broker.stderr
        try:
            url = next(found[0] for line in broker.stderr if (found := re.search("http:.*", line)))
            with Producer("broker_1", url, "events") as producer:
                producer.produce({"messageId": "1", "content": {"from": "the wheel"}})
            seen = []
            for name in ("a", "b"):
                with Consumer(url, "broker_1", name, "events") as consumer:
                    batch = consumer.batch_consume(wait_ms=500)
                    seen += [message.content for message in batch.messages]
                    consumer.commit_offset(batch.end_offset)
            assert seen == [{"from": "the wheel"}], seen
            broker.send_signal(signal.SIGTERM)
            assert broker.wait(timeout=10) == 0, "it did not stop cleanly"
        finally:
            broker.kill()
    print("the wheel works where the source is not")


if __name__ == "__main__":
    main()

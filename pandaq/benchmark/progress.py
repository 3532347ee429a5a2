"""How far a long measurement is, on stderr: one line that changes, or a few lines in a pipe."""

import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

EVERY_S: Final = 15.0
"""Between two lines in a pipe."""
LINE_LENGTH: Final = 79


class Progress:
    """Says what is being done; `show` as often as you like.

    On a terminal each text takes the place of the one before, and `done` clears the line.
    Elsewhere a text is written when the last one is `EVERY_S` old.
    """

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._changes = self._stream.isatty()
        self._last_s = clock()

    def show(self, text: str) -> None:
        """Say how far it is."""
        if self._changes:
            self._write(f"\r{text[:LINE_LENGTH]:{LINE_LENGTH}}")
        elif self._clock() - self._last_s >= EVERY_S:
            self._last_s = self._clock()
            self._write(f"  {text}\n")

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self.done()
        self._write(f"{text}\n")

    def done(self) -> None:
        """Clear the line that changes."""
        if self._changes:
            self._write(f"\r{'':{LINE_LENGTH}}\r")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

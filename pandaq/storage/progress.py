"""How far a long piece of a start is, said now and then."""

import logging
import time
from typing import Final

logger = logging.getLogger(__name__)

FIRST_S: Final = 1.0
"""What is done within this time is not spoken of."""
INTERVAL_S: Final = 5.0
"""So long it is between two words."""


class Progress:
    """Logs how far `what` is: after `FIRST_S`, then at most every `INTERVAL_S`."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._say_at = time.monotonic() + FIRST_S

    def at(self, done: int) -> None:
        """Tell that `done` of the total is done, in the same unit."""
        now = time.monotonic()
        if now >= self._say_at:
            self._say_at = now + INTERVAL_S
            percent = 100 * done // max(self._total, 1)
            logger.info("%s: %d of %d (%d %%)", self._what, done, self._total, percent)

"""No test of the web may have the broker log a defect without saying so."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_defect_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [
        record.getMessage()
        for record in caplog.get_records("call")
        if record.levelno >= logging.ERROR and record.name.startswith(("pandaq.web", "waitress"))
    ] == []

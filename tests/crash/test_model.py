"""Whatever callers, the disk and its ends do, the HTTP API answers as a plain model does."""

import logging

import pytest

from tests.crash import model

# Shrinking a sequence that fails takes longer than a run in which none does.
pytestmark = pytest.mark.timeout(400)


def test_every_answer_is_that_of_a_plain_model_whatever_ends_the_broker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "pandaq")
    before = model.counts.copy()
    model.run(examples=100)
    done = model.counts - before
    # Were rules never run, or all requests refused, all would pass with nothing looked at.
    writes = ("produce", "batch", "commit", "register")
    troubles = {status: sum(done[f"{kind} {status}"] for kind in writes) for status in (503, 507)}
    assert min(troubles.values()) >= 3, troubles
    ends = {"restarts": 40, "kills": 30, "crashes": 30}
    answers = {"produce 200": 50, "batch 200": 50, "consume 200": 1_000, "commit 200": 20}
    refusals = {"wrong 400": 20, "wrong 404": 3, "commit 400": 10, "commit 409": 3}
    for kind, least in (ends | answers | refusals | {"register 200": 15, "health 503": 1}).items():
        assert done[kind] >= least, f"{kind}: {done[kind]} of at least {least}; {model.summary()}"

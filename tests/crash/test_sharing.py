"""Groups, delays, refusals and dedupe, ended or failing at calls of the disk."""

import logging

import pytest

from tests.crash import group_model, sharing


@pytest.mark.timeout(200)
def test_what_was_answered_holds_whatever_call_ends_the_life_or_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "pandaq")
    done = sharing.run(seed=3, every=5)
    assert min(done.values()) > 50, done


@pytest.mark.timeout(400)
def test_every_answer_is_that_of_a_plain_model_of_groups(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "pandaq")
    before = group_model.counts.copy()
    group_model.run(examples=100, seed=1)
    done = group_model.counts - before
    # Were rules never run, or all requests refused, all would pass with nothing looked at.
    least = {
        "restarts": 30,
        "kills": 30,
        "crashes": 30,
        "produce 200": 200,
        "register 200": 90,
        "commit 200": 25,
        "commit 409": 2,
        "consume 409": 10,
        "nack 200": 20,
        "seek 200": 20,
        "heartbeat 200": 2,
        "unregister 200": 2,
        "redrive 200": 2,
        "delete 200": 1,
    }
    for kind, count in least.items():
        assert done[kind] >= count, f"{kind}: {done[kind]} of at least {count}; {done}"

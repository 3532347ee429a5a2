"""What can be configured: defaults, limits and the sentences about wrong values."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.config import EMBEDDED_TOPICS, Config, Retention, TopicConfig
from pandaq.errors import ConfigError

WEEK_MS = 7 * 24 * 60 * 60 * 1000


def test_the_defaults_are_those_of_the_contract() -> None:
    assert Config() == Config(
        broker_id="broker_1",
        reboot=False,
        topics=[TopicConfig("orders", 3), TopicConfig("events", 2)],
        host="127.0.0.1",
        port=3000,
        data_dir=Path("./pandaq-data"),
        ingress_log_file=None,
        durability="fsync",
        sync_interval_ms=100,
        interval_ms=100,
        cycle_gap_ms=3,
        batch_size=20_000,
        checkpoint_interval_ms=1000,
        checkpoint_bytes=8388608,
        segment_bytes=67108864,
        tail_bytes=67108864,
        max_message_bytes=1048576,
        max_body_bytes=16777216,
        max_batch_messages=10000,
        max_backlog_bytes=268435456,
        max_consume_messages=10000,
        max_consume_bytes=16777216,
        max_wait_ms=30000,
        threads=8,
        max_waiting=800,
        max_connections=1000,
        ask_timeout_ms=10000,
        stop_timeout_ms=8000,
        retention=Retention(
            max_age_ms=WEEK_MS, max_bytes=None, keep_committed=True, delete_uncommitted=False
        ),
        log_level="info",
    )


def test_a_config_keeps_paths_as_paths_and_topics_as_a_tuple(tmp_path: Path) -> None:
    values: dict[str, Any] = {"data_dir": str(tmp_path), "ingress_log_file": "other.log"}
    config = Config(topics=[TopicConfig("orders", 3)], **values)
    assert config.data_dir == tmp_path
    assert config.ingress_log_file == Path("other.log")
    assert config.topics == (TopicConfig("orders", 3),)
    assert isinstance(hash(config), int)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Config().port = 1  # type: ignore[misc]


def test_the_ingress_log_is_in_the_data_directory_unless_it_is_named() -> None:
    assert Config(data_dir=Path("d")).ingress_log == Path("d", "ingress.log")
    assert Config(ingress_log_file=Path("w.log")).ingress_log == Path("w.log")


def test_a_topic_has_the_retention_of_its_config_unless_it_has_its_own() -> None:
    short, own = Retention(max_age_ms=1), Retention()
    config = Config(
        topics=[TopicConfig("orders", 1), TopicConfig("events", 1, own)], retention=short
    )
    assert [topic.retention for topic in config.topics] == [short, own]


def test_topics_given_to_two_configs_take_the_retention_of_each() -> None:
    for age in (1, 2):
        config = Config(topics=EMBEDDED_TOPICS, retention=Retention(max_age_ms=age))
        assert [topic.retention.max_age_ms for topic in config.topics] == [age, age]


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("port", 0, 65_535),
        ("sync_interval_ms", 1, 600_000),
        ("interval_ms", 1, 600_000),
        ("cycle_gap_ms", 0, 600_000),
        ("batch_size", 1, 1_000_000),
        ("checkpoint_interval_ms", 1, 600_000),
        ("checkpoint_bytes", 1, 1 << 30),
        ("segment_bytes", 256, 1 << 30),
        ("tail_bytes", 0, 1 << 50),
        ("max_message_bytes", 1, 16 << 20),
        ("max_body_bytes", 1 << 20, 1 << 30),
        ("max_batch_messages", 1, 1_000_000),
        ("max_backlog_bytes", 1, 1 << 50),
        ("max_consume_messages", 1, 1_000_000),
        ("max_consume_bytes", 1, 1 << 30),
        ("max_wait_ms", 0, 600_000),
        ("threads", 1, 1_000),
        ("max_waiting", 1, 100_000),
        ("max_connections", 1, 100_000),
        ("ask_timeout_ms", 1, 600_000),
        ("stop_timeout_ms", 1, 600_000),
    ],
)
def test_a_number_is_taken_up_to_its_limits_and_not_beyond(field: str, low: int, high: int) -> None:
    def config(value: object) -> Config:
        values: dict[str, Any] = {field: value}
        return Config(**values)

    assert getattr(config(low), field) == low
    assert getattr(config(high), field) == high
    for wrong in (low - 1, high + 1, -1, 1 << 100_000, str(low), float(high), True, None):
        with pytest.raises(ConfigError):
            config(wrong)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Config(port=70_000),
            "Config(...): port is 70000; it must be a whole number from 0 to 65535",
        ),
        (
            lambda: Config(reboot=0),  # type: ignore[arg-type]
            "Config(...): reboot is 0; it must be true or false",
        ),
        (
            lambda: Config(durability="always"),  # type: ignore[arg-type]
            "Config(...): durability is 'always'; it must be one of fsync, interval, os",
        ),
        (
            lambda: Config(log_level="warn"),  # type: ignore[arg-type]
            "Config(...): logLevel is 'warn'; it must be one of debug, error, info, warning",
        ),
        (
            lambda: Config(broker_id="a|b"),
            (
                "Config(...): brokerId is 'a|b'; it must be 1 to 200 of the characters "
                "A-Z a-z 0-9 . _ - that do not end in '.' "
                "and are no name that Windows reserves (such as con or nul.txt)"
            ),
        ),
        (
            lambda: Config(host="two words"),
            (
                "Config(...): host is 'two words'; it must be a host or an address, "
                "such as '127.0.0.1'"
            ),
        ),
        (
            lambda: Config(ingress_log_file=5),  # type: ignore[arg-type]
            (
                "Config(...): ingressLogFile is 5; "
                "it must be null or a path in quotes, such as './data'"
            ),
        ),
        (
            lambda: Config(max_message_bytes=11, max_body_bytes=10),
            "Config(...): maxMessageBytes is 11; it must be at most maxBodyBytes, which is 10",
        ),
        (
            lambda: Config(topics=[TopicConfig("Orders", 1), TopicConfig("orders", 1)]),
            (
                "Config(...): topics[1].id is 'orders'; "
                "it must be different from topics[0].id, also in lower case"
            ),
        ),
        (
            lambda: Config(topics=[]),
            (
                "Config(...): topics is []; "
                "it must be a list of 1 to 1000, each an object with id, partitions"
            ),
        ),
        (
            lambda: Config(retention=None),  # type: ignore[arg-type]
            (
                "Config(...): retention is null; it must be an object with "
                "maxAgeMs, maxBytes, keepCommitted, deleteUncommitted"
            ),
        ),
        (
            lambda: TopicConfig("orders", 0),
            "TopicConfig(...): partitions is 0; it must be a whole number from 1 to 1000",
        ),
        (
            lambda: TopicConfig("orders", 1001),
            "TopicConfig(...): partitions is 1001; it must be a whole number from 1 to 1000",
        ),
        (
            lambda: TopicConfig(7, 1),  # type: ignore[arg-type]
            "TopicConfig(...): id is 7; it must be text in quotes",
        ),
        (
            lambda: Retention(max_age_ms=0),
            (
                "Retention(...): maxAgeMs is 0; "
                "it must be null or a whole number from 1 to 3153600000000"
            ),
        ),
        (
            lambda: Retention(max_bytes=0),
            (
                "Retention(...): maxBytes is 0; "
                "it must be null or a whole number from 1 to 1125899906842624"
            ),
        ),
    ],
)
def test_a_wrong_value_is_told_in_one_sentence(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == sentence


@pytest.mark.parametrize("path", ["", "  ", "a\0b", b"a", 1])
def test_what_is_no_path_is_refused(path: object) -> None:
    values: dict[str, Any] = {"data_dir": path}
    with pytest.raises(ConfigError, match="dataDir is"):
        Config(**values)


@pytest.mark.parametrize(
    "field", sorted({*Config.__struct_fields__} - {"data_dir", "ingress_log_file"})
)
def test_a_lone_surrogate_is_refused_by_every_setting(field: str) -> None:
    values: dict[str, Any] = {field: "\ud800"}
    with pytest.raises(ConfigError, match=r" is '\\ud800'; it must be "):
        Config(**values)


@pytest.mark.skipif(sys.platform == "win32", reason="a lone surrogate is a file name there")
def test_a_path_that_the_system_cannot_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dataDir is '\\ud800'; it must be "):
        Config(data_dir=Path("\ud800"))


@pytest.mark.parametrize("name", ["", "..", "a/b", "nul", "COM1.txt", "a.", "a\n"])
def test_a_topic_id_that_may_not_name_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^TopicConfig\(\.\.\.\): id is "):
        TopicConfig(name, 1)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(field=st.sampled_from(Config.__struct_fields__), value=ANYTHING)
def test_any_value_of_any_setting_is_taken_or_told(field: str, value: object) -> None:
    said = refusal({field: value})
    assert said is None or said.startswith("Config(...): ")
    assert (said or "").isprintable()
    assert len(said or "") < 500


def refusal(values: dict[str, Any]) -> str | None:
    try:
        config = Config(**values)
    except ConfigError as error:
        return str(error)
    assert msgspec.structs.replace(config) == config
    return None


@pytest.mark.parametrize("name", ["wal.index", "wal.TMP", "wal.lock", "config.log", "tpc.log"])
def test_the_ingress_log_may_not_be_called_as_a_file_beside_it(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"ingressLogFile is '.*{name}'; it must be the path"):
        Config(ingress_log_file=Path("fast") / name)

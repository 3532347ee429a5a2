"""Where settings come from: files, `.env`, the environment and the command line."""

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pandaq.config import Config, Retention, Retry, TopicConfig
from pandaq.config_file import MAX_FILE_BYTES, load_config
from pandaq.errors import ConfigError

PROJECT = Path(__file__).parent.parent
GIVEN = {
    "brokerId": "broker_1",
    "reboot": False,
    "topics": [{"id": "orders", "partitions": 3}, {"id": "events", "partitions": 2}],
}
TOPIC_FIELDS = "id, partitions, retention, retry, dedupeWindowMs"
TOPICS = '"topics": [{"id": "orders", "partitions": 3}]'


def load(
    folder: Path,
    content: str | bytes | None = None,
    name: str = "c.json",
    options: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Load with `content` as the config file, or with none."""
    if content is not None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    file = None if content is None else folder / name
    return load_config(file, options, environ=environ or {}, working_dir=folder)


def refusal(folder: Path, content: str | bytes, name: str = "c.json") -> str:
    """Return what is said of a config file, after the file's path."""
    with pytest.raises(ConfigError) as error:
        load(folder, content, name)
    source = f"{folder / name}: "
    assert str(error.value).startswith(source)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(source)


# Files that are right


@pytest.mark.parametrize("name", ["c.json", "c.conf", "c.yaml", "c.yml", "C.YAML"])
def test_the_existing_format_is_read_as_json_and_as_yaml(tmp_path: Path, name: str) -> None:
    is_yaml = name.lower().endswith(("yaml", "yml"))
    config = load(tmp_path, yaml.safe_dump(GIVEN) if is_yaml else json.dumps(GIVEN), name)
    assert config == Config(data_dir=tmp_path / "pandaq-data")


@pytest.mark.parametrize("name", ["c.json", "c.yaml"])
def test_a_byte_order_mark_is_accepted(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + json.dumps(GIVEN).encode(), name).port == 3000


def test_every_setting_can_be_named_in_a_file(tmp_path: Path) -> None:
    config = Config(
        broker_id="b2",
        reboot=True,
        topics=[TopicConfig("a", 1), TopicConfig("b", 1000, Retention(max_bytes=7))],
        host="::1",
        port=0,
        data_dir=tmp_path / "d",
        ingress_log_file=tmp_path / "i.log",
        durability="interval",
        sync_interval_ms=1,
        interval_ms=2,
        cycle_gap_ms=0,
        batch_size=4,
        checkpoint_interval_ms=5,
        checkpoint_bytes=6,
        segment_bytes=256,
        tail_bytes=0,
        max_message_bytes=9,
        max_body_bytes=10,
        max_batch_messages=11,
        max_backlog_bytes=12,
        max_consume_messages=13,
        max_consume_bytes=14,
        max_wait_ms=15,
        max_header_bytes=23,
        max_delay_ms=24,
        max_delayed=25,
        max_dedupe_ids=26,
        max_lease_ms=27,
        max_groups=28,
        max_members=29,
        threads=18,
        max_waiting=17,
        max_connections=19,
        ask_timeout_ms=20,
        stop_timeout_ms=21,
        retention=Retention(
            max_age_ms=None, max_bytes=22, keep_committed=False, delete_uncommitted=True
        ),
        retry=Retry(max_attempts=30, delay_ms=31, max_delay_ms=32),
        log_level="debug",
    )
    for field in Config.__struct_fields__:
        assert getattr(config, field) != getattr(Config(), field)
    text = msgspec.json.encode(config, enc_hook=str)
    assert load(tmp_path, text) == config
    assert load(tmp_path, text, "c.yaml") == config


def test_a_topic_overrides_the_retention_field_by_field(tmp_path: Path) -> None:
    own = {"id": "a", "partitions": 1, "retention": {"maxBytes": 5, "maxAgeMs": None}}
    content = {
        "topics": [own, {"id": "b", "partitions": 1}],
        "retention": {"maxAgeMs": 9, "keepCommitted": False},
    }
    config = load(tmp_path, json.dumps(content))
    assert config.topics[0].retention == Retention(
        max_age_ms=None, max_bytes=5, keep_committed=False
    )
    assert config.topics[1].retention == Retention(max_age_ms=9, keep_committed=False)
    assert config.retention == config.topics[1].retention


def test_relative_paths_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    content = f'{{{TOPICS}, "dataDir": "./d", "ingressLogFile": "w/i.log"}}'
    config = load(tmp_path, content, "sub/c.json")
    assert config.data_dir == tmp_path / "d"
    assert config.ingress_log == tmp_path / "w" / "i.log"


def test_the_default_file_is_read_where_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "pandaq-config.json").write_text(f'{{{TOPICS}, "port": 1234}}')
    assert load(tmp_path).port == 1234


def test_without_any_file_the_embedded_topics_hold(tmp_path: Path) -> None:
    assert load(tmp_path) == Config(data_dir=tmp_path / "pandaq-data")


# Sources and their order


def test_each_source_outranks_those_below_it(tmp_path: Path) -> None:
    content = f'{{{TOPICS}, "port": 1}}'
    assert load(tmp_path, content).port == 1
    (tmp_path / ".env").write_text("PORT=2\n")
    assert load(tmp_path, content).port == 2
    assert load(tmp_path, content, environ={"PORT": "3"}).port == 3
    assert load(tmp_path, content, environ={"PORT": "3"}, options={"--port": "4"}).port == 4
    assert load(tmp_path, content, environ={"PORT": "3"}, options={"--port": None}).port == 3


def test_the_variables_set_what_they_are_named_for(tmp_path: Path) -> None:
    environ = {
        "BROKER_ID": "b2",
        "DATA_STORAGE_VOLUME": "volume",
        "INGRESS_LOG_FILE": str(tmp_path / "i.log"),
        "PORT": " 0 ",  # as `set PORT=0 && python ...` leaves it on Windows
        "HOST": "not ours",
    }
    wanted = Config(
        broker_id="b2",
        data_dir=tmp_path / "volume",
        ingress_log_file=tmp_path / "i.log",
        port=0,
    )
    assert load(tmp_path, environ=environ) == wanted
    (tmp_path / ".env").write_text("".join(f"{name}='{environ[name]}'\n" for name in environ))
    assert load(tmp_path) == wanted


def test_the_options_set_what_they_are_named_for(tmp_path: Path) -> None:
    options = {"--host": "0.0.0.0", "--port": 0, "--data": Path("d")}
    config = load(tmp_path, options=options)
    assert (config.host, config.port, config.data_dir) == ("0.0.0.0", 0, tmp_path / "d")


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_counts_as_not_set(tmp_path: Path, empty: str) -> None:
    (tmp_path / ".env").write_text("PORT=5\nBROKER_ID=\nDATA_STORAGE_VOLUME\n")
    config = load(tmp_path, environ={"PORT": empty, "INGRESS_LOG_FILE": empty})
    assert config == Config(port=5, data_dir=tmp_path / "pandaq-data")


def test_the_environment_of_the_process_is_neither_read_nor_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "99")
    (tmp_path / ".env").write_text("BROKER_ID=b2\nDATA_STORAGE_VOLUME=${PORT}\n")
    before = dict(os.environ)
    config = load(tmp_path)
    assert (config.broker_id, config.port) == ("b2", 3000)
    assert config.data_dir == tmp_path / "${PORT}"
    assert dict(os.environ) == before


def test_a_virtual_environment_called_dot_env_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert load(tmp_path).port == 3000


@pytest.mark.parametrize("value", ["abc", "-1", "65536", "3_000", "\u0663", "+1", "9" * 5000])
def test_a_wrong_port_is_told_with_its_source(tmp_path: Path, value: str) -> None:
    rule = "it must be a whole number from 0 to 65535"
    with pytest.raises(ConfigError, match=f"^environment variable PORT: port is .*; {rule}$"):
        load(tmp_path, environ={"PORT": value})
    with pytest.raises(ConfigError, match=f"^--port: port is .*; {rule}$"):
        load(tmp_path, options={"--port": value})
    (tmp_path / ".env").write_text(f"PORT={value}\n", encoding="utf-8")
    source = re.escape(f".env file {tmp_path / '.env'}, PORT")
    with pytest.raises(ConfigError, match=f"^{source}: port is .*; {rule}$"):
        load(tmp_path)


def test_a_wrong_broker_id_and_an_empty_option_are_told_with_their_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^environment variable BROKER_ID: brokerId is 'a/b'; "):
        load(tmp_path, environ={"BROKER_ID": "a/b"})
    with pytest.raises(ConfigError, match=r"^--host: host is ''; it must be "):
        load(tmp_path, options={"--host": ""})
    with pytest.raises(ConfigError, match=r"^--data: dataDir is ''; it must be "):
        load(tmp_path, options={"--data": ""})


def test_a_dot_env_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff")
    with pytest.raises(ConfigError, match=r"\.env: byte 5 is not valid UTF-8"):
        load(tmp_path)


# Files that are wrong


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "the content is []; it must be an object with topics"),
        ("null", "the content is null; it must be an object with topics"),
        ("{}", "topics is missing; it has no default, so a file must have it"),
        ('{"topic": []}', "topic is not a setting; did you mean topics?"),
        (f'{{{TOPICS}, "broker_id": "b"}}', "broker_id is not a setting; did you mean brokerId?"),
        (f'{{{TOPICS}, "PORT": 1}}', "PORT is not a setting; did you mean port?"),
        (
            f'{{{TOPICS}, "port": "3000"}}',
            "port is '3000'; it must be a whole number from 0 to 65535",
        ),
        (f'{{{TOPICS}, "reboot": "no"}}', "reboot is 'no'; it must be true or false"),
        (
            '{"topics": []}',
            "topics is []; it must be a list of 1 to 1000, each an object with id, partitions",
        ),
        (
            '{"topics": {"orders": 3}}',
            (
                "topics is {'orders': 3}; "
                "it must be a list of 1 to 1000, each an object with id, partitions"
            ),
        ),
        (
            '{"topics": ["orders"]}',
            "topics[0] is 'orders'; it must be an object with id, partitions",
        ),
        (
            '{"topics": [{"id": "a"}]}',
            "topics[0].partitions is missing; it has no default, so a file must have it",
        ),
        (
            '{"topics": [{"id": "a", "partitions": 1}, {"id": "b", "partitions": 0}]}',
            "topics[1].partitions is 0; it must be a whole number from 1 to 1000",
        ),
        (
            '{"topics": [{"id": "a", "partitons": 1}]}',
            "topics[0].partitons is not a setting; did you mean partitions?",
        ),
        (
            '{"topics": [{"id": "a", "partitions": 1, "x": 1}]}',
            f"topics[0].x is not a setting; there are {TOPIC_FIELDS}",
        ),
        (
            '{"topics": [{"id": "a", "partitions": 1, "a\\nb": 1}]}',
            f"topics[0].'a\\nb' is not a setting; there are {TOPIC_FIELDS}",
        ),
        (
            '{"topics": [{"id": "Aa", "partitions": 1}, {"id": "aA", "partitions": 1}]}',
            "topics[1].id is 'aA'; it must be different from topics[0].id, also in lower case",
        ),
        (
            '{"topics": [{"id": "a", "partitions": 1, "retention": {"maxBytes": -1}}]}',
            (
                "topics[0].retention.maxBytes is -1; "
                "it must be null or a whole number from 1 to 1125899906842624"
            ),
        ),
        (
            '{"topics": [{"id": "a", "partitions": 1, "retention": {"maxAge": 1}}]}',
            "topics[0].retention.maxAge is not a setting; did you mean maxAgeMs?",
        ),
        (
            f'{{{TOPICS}, "retention": {{"keepCommitted": 1}}}}',
            "retention.keepCommitted is 1; it must be true or false",
        ),
        (
            f'{{{TOPICS}, "retention": null}}',
            (
                "retention is null; it must be an object with "
                "maxAgeMs, maxBytes, keepCommitted, deleteUncommitted"
            ),
        ),
    ],
)
@pytest.mark.parametrize("name", ["c.json", "c.yaml"])
def test_a_wrong_setting_is_told_in_one_sentence(
    tmp_path: Path, content: str, sentence: str, name: str
) -> None:
    assert refusal(tmp_path, content, name) == sentence


def test_a_topic_id_by_the_rule_of_names_only(tmp_path: Path) -> None:
    said = refusal(tmp_path, '{"topics": [{"id": "../x", "partitions": 1}]}')
    assert said.startswith("topics[0].id is '../x'; it must be 1 to 200 of the characters")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("c.json", "", "the file is not valid JSON at line 1, column 1: Expecting value"),
        ("c.json", '{\n "a" 1}', "the file is not valid JSON at line 2, column 6: "),
        ("c.json", "{} {}", "the file is not valid JSON at line 1, column 4: Extra data"),
        ("c.json", "[" * 100_000, "the file is not valid JSON: it is nested too deeply"),
        ("c.json", '{"port": ' + "9" * 5000 + "}", "the file is not valid JSON: a number in it"),
        (
            "c.json",
            '{"topics": ' + "[" * 400 + "]" * 400 + "}",
            "topics[0] is [[[[...]]]]; it must",
        ),
        ("c.yaml", "", "the content is null; it must be an object with topics"),
        ("c.yaml", "a: b\nc: d: e", "the file is not valid YAML at line 2, column 5: "),
        ("c.yaml", "port: [1", "the file is not valid YAML at line 1, column 9: "),
        ("c.yaml", "a: 1\n--- \nb: 2", "the file is not valid YAML at line 2, column 1: "),
        ("c.yaml", "a:\n  \x01", "the file is not valid YAML at line 2, column 3: special char"),
        ("c.yaml", "port: *a", "the file is not valid YAML at line 1, column 7: found undefined"),
        (
            "c.yaml",
            "a: !!python/name:os.system",
            "the file is not valid YAML at line 1, column 4: ",
        ),
        ("c.yaml", "[a]: 1\n? [b]\n: 1", "the file is not valid YAML at line"),
        ("c.yaml", "[" * 1_000, "the file is not valid YAML: it is nested too deeply"),
        ("c.yaml", "- " * 5_000, "the file is not valid YAML: it is nested too deeply"),
        ("c.yaml", "port: 2024-13-45", "the file is not valid YAML: a value in it is not what it"),
        ("c.yaml", "port: !!bool x", "the file is not valid YAML: a value in it is not what it"),
        ("c.yaml", "port: !!int ''", "the file is not valid YAML: a value in it is not what it"),
        ("c.yaml", "port: !!timestamp x", "the file is not valid YAML: a value in it is not what"),
        ("c.yaml", "port: " + "9" * 5000, "the file is not valid YAML: a value in it is not what"),
        (
            "c.yaml",
            "{" + TOPICS + ", port: 0x" + "f" * 9000 + "}",
            "port is an integer of thousands",
        ),
        (
            "c.yaml",
            "{" + TOPICS + ", brokerId: 2024-01-01}",
            "brokerId is '2024-01-01'; it must be",
        ),
        ("c.yaml", "topics: &a [*a]", "topics[0] is [[[[...]]]]; it must be an object with"),
        ("c.yaml", "1: 2", "1 is not a setting; there are brokerId, reboot, topics"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_told_with_its_place(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    assert refusal(tmp_path, content, name).startswith(sentence)


@pytest.mark.parametrize("name", ["c.json", "c.yaml"])
def test_a_file_that_is_no_text_is_told(tmp_path: Path, name: str) -> None:
    said = "is not valid UTF-8; save the file as UTF-8"
    assert refusal(tmp_path, json.dumps(GIVEN).encode("utf-16"), name) == f"byte 0 {said}"
    assert refusal(tmp_path, b'{"\xff": 1}', name) == f"byte 2 {said}"


def test_a_file_that_is_too_long_is_told(tmp_path: Path) -> None:
    padding = " " * (MAX_FILE_BYTES - len(TOPICS) - 2)
    assert load(tmp_path, f"{{{TOPICS}{padding}}}").port == 3000
    said = refusal(tmp_path, f"{{{TOPICS}{padding} }}")
    assert said == "the file is longer than 1048576 bytes; it must be a text file"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.json", "there is no such config file; name one that is there"),
        ("none/none.yaml", "there is no such config file; name one that is there"),
        (".", "the file cannot be read: it is a directory"),
        ("a\0b", "the file cannot be read: "),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(Path(name), environ={}, working_dir=tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name}: {said}")


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="needs a file that may not be read"
)
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.json").touch(mode=0o000)
    with pytest.raises(ConfigError, match="the file cannot be read: Permission denied"):
        load_config(tmp_path / "c.json", environ={}, working_dir=tmp_path)


def test_a_default_file_that_is_wrong_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "conf" / "pandaq-config.json").mkdir(parents=True)
    with pytest.raises(ConfigError, match="the file cannot be read: it is a directory"):
        load(tmp_path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
NAMES = st.sampled_from([field.encode_name for field in msgspec.structs.fields(Config)])
CONTENT: st.SearchStrategy[Any] = st.builds(
    lambda base, extra: {**base, **extra}, st.just(GIVEN), st.dictionaries(NAMES, VALUES)
)
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def taken_or_told(folder: Path, content: str | bytes, name: str) -> None:
    source = f"{folder / name}: "
    try:
        load(folder, content, name)
    except ConfigError as error:
        said = str(error)
    else:
        said = source
    assert said.startswith(source)
    assert said.isprintable()
    assert len(said) < len(source) + 900


@in_one_folder
@given(content=CONTENT, name=st.sampled_from(["c.json", "c.yaml"]))
def test_any_settings_are_taken_or_told(tmp_path: Path, content: object, name: str) -> None:
    taken_or_told(tmp_path, json.dumps(content), name)


@in_one_folder
@given(
    content=st.binary()
    | st.text().map(str.encode)
    | st.text("{}[]:,-&*!?|>'\"%@\n a1").map(str.encode),
    name=st.sampled_from(["c.json", "c.yaml"]),
)
def test_any_bytes_are_taken_or_told(tmp_path: Path, content: bytes, name: str) -> None:
    taken_or_told(tmp_path, content, name)


@in_one_folder
@given(content=st.binary() | st.text("PORT=1'\"\\#$ \n{}x").map(str.encode))
def test_any_dot_env_file_is_taken_or_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".env").write_bytes(content)
    source = f".env file {tmp_path / '.env'}, PORT: port is "
    try:
        said = f"{source}{load(tmp_path).port}"
    except ConfigError as error:
        said = str(error)
    assert said.startswith((source, f"{tmp_path / '.env'}: byte "))


# The files that are shipped


def test_the_shipped_json_is_ready_to_run_with_the_given_content() -> None:
    path = PROJECT / "conf" / "pandaq-config.json"
    assert json.loads(path.read_text(encoding="utf-8")) == GIVEN
    assert load_config(environ={}, working_dir=PROJECT).topics == Config().topics


def test_the_shipped_yaml_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    text = (PROJECT / "conf" / "pandaq.yaml").read_text(encoding="utf-8")
    shown = yaml.safe_load(text)
    assert set(shown) == {field.encode_name for field in msgspec.structs.fields(Config)}
    assert set(shown["retention"]) == {
        field.encode_name for field in msgspec.structs.fields(Retention)
    }
    assert set(shown["retry"]) == {field.encode_name for field in msgspec.structs.fields(Retry)}
    assert load(tmp_path, text, "c.yaml") == Config(data_dir=tmp_path / "pandaq-data")


def test_every_line_of_the_shipped_yaml_is_explained() -> None:
    lines = (PROJECT / "conf" / "pandaq.yaml").read_text(encoding="utf-8").splitlines()
    for line in lines:
        assert len(line) <= 100
        if line and not line.startswith("#"):
            assert re.fullmatch(r" *(- )?\w+:( \S+)? +# \S.+", line), line
            name, comment = line.split("#")[0], line.split("#")[1]
            assert "Ms:" not in name or "milliseconds" in comment, line
            assert "Bytes:" not in name or "bytes" in comment, line

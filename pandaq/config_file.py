"""Where settings come from: a file, a `.env` file, the environment and the command line.

Each of them outranks those before it. What none of them names keeps the default that it has in
`pandaq.config`. Nothing is read but what the caller passes and the files in the working directory,
and nothing is written: `os.environ` stays as it is.
"""

import difflib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import dotenv
import yaml
from msgspec import Struct
from msgspec.structs import fields, replace

from pandaq.config import Config, Retention, Retry, TopicConfig
from pandaq.errors import ConfigError
from pandaq.ids import shown
from pandaq.settings import SettingError

P = TypeVar("P", Retention, Retry)

DEFAULT_FILE: Final = Path("conf", "pandaq-config.json")
"""Read where no file is named, if it is there; relative to the working directory."""

MAX_FILE_BYTES: Final = 1 << 20
"""Longest config file or `.env` file, in bytes."""

ENVIRONMENT: Final = {
    "BROKER_ID": "broker_id",
    "DATA_STORAGE_VOLUME": "data_dir",
    "INGRESS_LOG_FILE": "ingress_log_file",
    "PORT": "port",
}
"""Which variable sets which field of `Config`, in the environment and in a `.env` file."""

OPTIONS: Final = {"--host": "host", "--port": "port", "--data": "data_dir"}
"""Which option of the command line sets which field of `Config`."""


def load_config(
    config_file: Path | None = None,
    options: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str],
    working_dir: Path,
) -> Config:
    """Return the settings of all sources; relative paths are relative to `working_dir`.

    Without `config_file`, `conf/pandaq-config.json` is read where it is there. `options` holds what
    the command line says, by the names in `OPTIONS`; `None` stands for an option not given.

    Raises `ConfigError`, whose one sentence names the source, the field and the value.

    >>> load_config(options={"--port": "0"}, environ={"BROKER_ID": "b2"}, working_dir=Path("none"))
    Config(broker_id='b2', reboot=False, topics=(...), host='127.0.0.1', port=0, ...)
    """
    config = _file_settings(config_file, working_dir)
    for field, (source, value) in _outranking(options or {}, environ, working_dir).items():
        try:
            config = replace(config, **{field: _number(value) if field == "port" else value})
        except SettingError as error:
            raise error.found_in(source) from None
    log = config.ingress_log_file
    return replace(
        config,
        data_dir=working_dir / config.data_dir,
        ingress_log_file=log and working_dir / log,
    )


def _file_settings(config_file: Path | None, working_dir: Path) -> Config:
    path = working_dir / (config_file or DEFAULT_FILE)
    text = _text(path)
    if text is None and config_file is None:
        return Config()
    if text is None:
        msg = f"{path}: there is no such config file; name one that is there"
        raise ConfigError(msg)
    parse = _yaml if path.suffix.lower() in {".yaml", ".yml"} else _json
    try:
        return _config(parse(text, path))
    except SettingError as error:
        raise error.found_in(str(path)) from None


def _outranking(
    options: Mapping[str, object], environ: Mapping[str, str], working_dir: Path
) -> dict[str, tuple[str, object]]:
    """Return what outranks the file: by field, the first source that names it, and its value."""
    named: dict[str, tuple[str, object]] = {}
    for option, value in options.items():
        if value is not None:
            named.setdefault(OPTIONS[option], (option, value))
    dotenv_file = working_dir / ".env"
    for source, variables in (
        ("environment variable {}", environ),
        (f".env file {dotenv_file}, {{}}", _dotenv(dotenv_file)),
    ):
        for variable, field in ENVIRONMENT.items():
            if value := (variables.get(variable) or "").strip():
                named.setdefault(field, (source.format(variable), value))
    return named


def _number(value: object) -> object:
    """Return the number that a text is, or else the value as it is, for `Config` to refuse."""
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value


_DIGITS: Final = re.compile("[0-9]{1,9}")


# What a file holds


def _config(settings: object) -> Config:
    named = _named(Config, settings, needed=["topics"])
    retention, retry = Retention(), Retry()
    if "retention" in named:
        retention = named["retention"] = _part("retention", retention, named["retention"])
    if "retry" in named:
        retry = named["retry"] = _part("retry", retry, named["retry"])
    topics = named["topics"]
    if isinstance(topics, list):
        named["topics"] = [_topic(topic, i, retention, retry) for i, topic in enumerate(topics)]
    return Config(**named)  # type: ignore[arg-type]  # checked by Config itself


def _topic(settings: object, index: int, retention: Retention, retry: Retry) -> TopicConfig:
    with _inside(f"topics[{index}]"):
        named = _named(TopicConfig, settings, needed=["id", "partitions"])
        named["retention"] = _part("retention", retention, named.get("retention", {}))
        named["retry"] = _part("retry", retry, named.get("retry", {}))
        return TopicConfig(**named)  # type: ignore[arg-type]  # checked by TopicConfig itself


def _part(name: str, default: P, settings: object) -> P:
    with _inside(name):
        return replace(default, **_named(type(default), settings))


def _named(kind: type[Struct], settings: object, needed: Sequence[str] = ()) -> dict[str, object]:
    """Return the settings of an object by the names that they have in Python."""
    names = {field.encode_name: field.name for field in fields(kind)}
    if not isinstance(settings, dict):
        known = ", ".join(needed or names)
        problem = f"is {shown(settings)}; it must be an object with {known}"
        raise SettingError("", problem, "")
    for key in settings:
        if key not in names:
            name = key if isinstance(key, str) and key.isidentifier() else shown(key)
            raise SettingError(name, f"is not a setting; {_advice(str(key), names)}", "")
    for key in needed:
        if key not in settings:
            raise SettingError(key, "is missing; it has no default, so a file must have it", "")
    return {names[key]: value for key, value in settings.items()}


def _advice(key: str, names: Mapping[str, str]) -> str:
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(key[:80].lower(), by_lower, n=1)
    return f"did you mean {by_lower[near[0]]}?" if near else f"there are {', '.join(names)}"


@contextmanager
def _inside(outer: str) -> Iterator[None]:
    try:
        yield
    except SettingError as error:
        raise error.inside(outer) from None


# Files


def _text(path: Path) -> str | None:
    """Return what a file holds, with or without a byte order mark; `None` where it is missing."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            msg = f"{path}: the file is longer than {MAX_FILE_BYTES} bytes; it must be a text file"
            raise ConfigError(msg)
        return data.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        msg = f"{path}: byte {error.start} is not valid UTF-8; save the file as UTF-8"
        raise ConfigError(msg) from None
    except (OSError, ValueError) as error:
        reason = "it is a directory" if _is_dir(path) else getattr(error, "strerror", error)
        msg = f"{path}: the file cannot be read: {reason}"
        raise ConfigError(msg) from None


def _is_dir(path: Path) -> bool:
    with suppress(OSError):  # such as a parent that may not be read
        return path.is_dir()
    return False


def _json(text: str, path: Path) -> object:
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise _not_valid("JSON", path, error.msg, error.lineno, error.colno) from None
    except ValueError:
        raise _not_valid("JSON", path, "a number in it is too long") from None
    except RecursionError:
        raise _not_valid("JSON", path, "it is nested too deeply") from None
    return value


def _yaml(text: str, path: Path) -> object:
    try:
        value: object = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it cannot be read"
        if mark is None:
            raise _not_valid("YAML", path, problem) from None
        raise _not_valid("YAML", path, problem, mark.line + 1, mark.column + 1) from None
    except yaml.reader.ReaderError as error:
        lines = text[: error.position].split("\n")
        raise _not_valid("YAML", path, error.reason, len(lines), len(lines[-1]) + 1) from None
    # What PyYAML lets through where a value is not what its tag or its look makes of it.
    except (yaml.YAMLError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
        raise _not_valid("YAML", path, "a value in it is not what it looks like") from None
    except RecursionError:
        raise _not_valid("YAML", path, "it is nested too deeply") from None
    return value


def _not_valid(
    form: str, path: Path, problem: str, line: int | None = None, column: int | None = None
) -> ConfigError:
    where = f" at line {line}, column {column}" if line is not None else ""
    return ConfigError(f"{path}: the file is not valid {form}{where}: {problem}")


def _dotenv(path: Path) -> Mapping[str, str | None]:
    text = None if _is_dir(path) else _text(path)  # a virtual environment may be called .env
    return dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False) if text else {}

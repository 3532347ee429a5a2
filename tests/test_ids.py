"""Which names may travel."""

import string
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pandaq.errors import InvalidRequest
from pandaq.ids import check_broker_id, check_consumer_id, check_message_id, check_topic_id, shown

NAME_CHARACTERS = string.ascii_letters + string.digits + "._-"
DEVICES = [
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
]
NEARLY_DEVICES = [
    "console",
    "con-1",
    "xcon",
    "a.con",
    "com",
    "com10",
    "lpt",
    "nul_",
    "conin",
    ".con",
]
UNSAFE = [
    *("", ".", "..", "...", "a.", "a\n", "\na", "a b", "a/b", "a\\b", "../a", "C:", "a|b", "a@b"),
    *("a\0", "a%2e", "nul.", "nul..txt", "con.tar.gz", "CONIN$", "conout$", "x" * 201),
    *("ä", "\u212a", "\u017f", "\u0663", "\ud800"),  # Kelvin sign and long s fold to k and s
]
ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # lone surrogates included


def refusal(check: Callable[[str], None], text: str) -> str | None:
    """Return what is said of a name, or `None` where it passes."""
    try:
        check(text)
    except InvalidRequest as error:
        return str(error)
    return None


def passes(check: Callable[[str], None], text: str) -> bool:
    return refusal(check, text) is None


def utf8_length(text: str) -> int | None:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None


@pytest.mark.parametrize("check", [check_topic_id, check_broker_id])
@pytest.mark.parametrize(
    "name",
    [
        "orders",
        "A",
        "0",
        "_",
        "-",
        "-rf",
        ".hidden",
        "a.b",
        "a..b",
        "...a",
        "x" * 200,
        *NEARLY_DEVICES,
    ],
)
def test_a_plain_name_passes(check: Callable[[str], None], name: str) -> None:
    check(name)


@pytest.mark.parametrize("check", [check_topic_id, check_broker_id])
@pytest.mark.parametrize(
    "name",
    UNSAFE,
)
def test_a_name_that_could_leave_its_folder_is_refused(
    check: Callable[[str], None], name: str
) -> None:
    assert not passes(check, name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", ["{}", "{}.txt", "{}.a.b"])
def test_a_name_that_windows_reserves_is_refused_in_any_case(device: str, form: str) -> None:
    name = form.format(device)
    for spelling in (name, name.upper(), name.capitalize(), name.swapcase().title()):
        assert not passes(check_topic_id, spelling)


@given(ANY_TEXT | st.text(NAME_CHARACTERS, max_size=210) | st.sampled_from(DEVICES))
@example("con.")
def test_a_topic_id_passes_exactly_by_the_rule(name: str) -> None:
    allowed = (
        1 <= len(name) <= 200
        and set(name) <= set(NAME_CHARACTERS)
        and not name.endswith(".")
        and name.partition(".")[0].lower() not in DEVICES
    )
    assert passes(check_topic_id, name) == allowed


@given(ANY_TEXT | st.text("aé|\n", max_size=210))
@example("\x85")
@example("\x7f")
@example("\u2028")
@example("é" * 100)
@example("é" * 100 + "a")
@example("a" * 201)
@example("a\n")
def test_a_consumer_id_passes_exactly_by_the_rule(name: str) -> None:
    length = utf8_length(name)
    controls = any(unicodedata.category(character) == "Cc" for character in name)
    allowed = length is not None and 1 <= length <= 200 and not controls and "|" not in name
    assert passes(check_consumer_id, name) == allowed


@given(ANY_TEXT | st.text("aé", min_size=250, max_size=520))
@example("")
@example("a" * 512)
@example("a" * 513)
@example("é" * 256)
@example("é" * 256 + "a")
@example("\ud800")
@example("|\n\0")
def test_a_message_id_passes_exactly_by_the_rule(name: str) -> None:
    length = utf8_length(name)
    assert passes(check_message_id, name) == (length is not None and 1 <= length <= 512)


def test_the_sentence_names_the_field_and_the_value() -> None:
    with pytest.raises(InvalidRequest, match=r"^topicId is 'a/b'; it must be 1 to 200 of"):
        check_topic_id("a/b")
    with pytest.raises(InvalidRequest, match=r"^brokerId is 'a/b'; it must be 1 to 200 of"):
        check_broker_id("a/b")
    with pytest.raises(InvalidRequest, match=r"^consumerId is 'a\|b'; it must be 1 to 200 bytes"):
        check_consumer_id("a|b")
    with pytest.raises(InvalidRequest, match=r"^group is ''; it must be 1 to 200 bytes"):
        check_consumer_id("", "group")
    with pytest.raises(InvalidRequest, match=r"^messageId is ''; it must be 1 to 512 bytes"):
        check_message_id("")


@pytest.mark.parametrize(
    "check", [check_topic_id, check_broker_id, check_consumer_id, check_message_id]
)
@given(text=ANY_TEXT)
@example(text="\ud800\n" * 1000)
def test_the_sentence_is_one_short_printable_line(check: Callable[[str], None], text: str) -> None:
    said = refusal(check, text) or ""
    assert said.isprintable()
    assert len(said) < 400


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        ("a", "'a'"),
        ([1, "a"], "[1, 'a']"),
    ],
)
def test_a_value_is_shown_as_a_person_wrote_it(value: object, text: str) -> None:
    assert shown(value) == text


def test_an_integer_that_python_does_not_write_is_shown_in_words() -> None:
    assert shown(1 << 100_000) == "an integer of thousands of digits"
    assert shown([1 << 100_000]) == "an integer of thousands of digits"


def test_a_long_value_is_shown_short() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert len(shown(nested)) < 200
    assert len(shown(["x" * 1000] * 1000)) < 200
    assert len(shown("x" * 1_000_000)) < 200

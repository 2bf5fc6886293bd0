import time

import pytest

from mrct_train.yaml_table import TableError, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # what YAML 1.1 takes for text, octal, base sixty, truth or a date
        ("1e-4", 1e-4),
        ("1E+3", 1000.0),
        ("-2e3", -2000.0),
        ("010", 10.0),
        ("1:30", "1:30"),
        ("no", "no"),
        ("on", "on"),
        ("2026-01-31", "2026-01-31"),
        # what both agree on
        ("12", 12),
        ("-3", -3),
        ("10_000", 10000),
        ("0", 0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        (".inf", float("inf")),
        ("true", True),
        ("null", None),
        ("", None),
        ("'1e-4'", "1e-4"),
        ("T2w TSE", "T2w TSE"),
        ("e-4", "e-4"),
        ("[0.9, 999e-3]", [0.9, 0.999]),
        ("{base: 8}", {"base": 8}),
    ],
)
def test_words_and_numbers_are_those_of_yaml_1_2(text, value):
    found = read(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_a_text_without_content_is_an_empty_table(text):
    assert read(text) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [2", "line 2"),
        ("a: 1\nunet:\n  base: 8\n  base: 9", "'base' stands there twice, line 4, column 3"),
        ("- a", "a table"),
        ("just words", "a table"),
        ("1: 2", "a table"),
        ("a: !!python/object/apply:os.system [ls]", "constructor"),
        ("a: 1\n--- \nb: 2", "document"),
        ("? [a]\n: 1", "unhashable|list"),
        ("[" * 1500, "nested too deeply|line"),
        ("a: \x00", "special characters"),
        ("a: " + "9" * 5000, "a value that cannot be taken"),
        ("a: !!timestamp 2020-13-41", "a value that cannot be taken"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(text, message):
    with pytest.raises(TableError, match=message) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_a_table_of_many_keys_takes_no_longer_than_it_is_long():
    began = time.process_time()
    assert len(read("\n".join(f"k{number}: 1" for number in range(20_000)))) == 20_000
    assert time.process_time() - began < 20

import json
import time

import pytest

from mrct_runtime.structured_text import from_json, from_toml, shown


def test_values_are_those_of_the_text():
    assert from_json('{"a": [1, null]}') == {"a": [1, None]}
    assert from_toml("a.b.c = 1.25\n[d]\ne = ['x.y']") == {
        "a": {"b": {"c": 1.25}},
        "d": {"e": ["x.y"]},
    }


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 5000 + "]" * 5000])
def test_json_that_is_nested_too_deeply_is_a_wrong_value(text):
    with pytest.raises(ValueError, match="nested too deeply"):
        from_json(text)


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "{a=" * 100_000])
def test_toml_that_is_nested_too_deeply_is_a_wrong_value(text):
    with pytest.raises(ValueError, match="nested too deeply"):
        from_toml(text)


@pytest.mark.parametrize("key", ["x" + ".x" * 100_000, '"x"' + '."x"' * 100_000])
@pytest.mark.parametrize("text", ["{} = 1", "[{}]", "a = {{ b = 1, {} = 2 }}", "a = {{{} = 2}}"])
def test_a_key_of_many_parts_is_refused_before_it_takes_time(key, text):
    began = time.process_time()
    with pytest.raises(ValueError, match="nested too deeply"):
        from_toml(text.format(key))
    assert time.process_time() - began < 1


def test_of_a_value_its_beginning_is_shown():
    assert shown("x" * 1000).startswith("'xxxx")
    assert len(shown("x" * 1000)) < 110
    assert shown(10**5000) == "a number of thousands of digits"
    named = ["x"]
    for _ in range(100):
        named = [named] * 9
    assert len(shown(named)) < 1000
    assert shown(json.loads("[1, 2.5]")) == "[1, 2.5]"

"""Options and keep_alive of a request."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.errors import InvalidOptionError
from hyperllama_nb.service.options import Options, parse_keep_alive

NUMBERS = ["temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty"]
WHOLE = ["num_ctx", "num_keep", "num_predict", "seed", "top_k", "repeat_last_n"]


def merged(request, model=None):
    return Options.merge(model, request)


def test_defaults_are_ollamas():
    options = merged(None)
    assert options.values["temperature"] == 0.8
    assert options.values["top_k"] == 40
    assert options.values["top_p"] == 0.9
    assert options.values["repeat_penalty"] == 1.0
    assert options.num_ctx is None
    assert options.num_predict is None
    assert options.seed is None
    assert options.num_keep == 4
    assert options.stop == ()
    assert options.ignored == ()
    assert options.given == frozenset()


def test_the_request_wins_over_the_model_and_the_model_over_the_defaults():
    options = merged({"temperature": 0.1}, {"temperature": 0.5, "top_k": 7, "stop": ["</s>"]})
    assert options.values["temperature"] == 0.1
    assert options.values["top_k"] == 7
    assert options.stop == ("</s>",)
    assert options.given == {"temperature", "top_k", "stop"}


def test_null_counts_as_absent():
    assert merged({"temperature": None, "stop": None}, {"temperature": 0.5}).values[
        "temperature"
    ] == pytest.approx(0.5)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_take_floats(name):
    assert merged({name: 7.9}).values[name] == 7
    assert isinstance(merged({name: 7.0}).values[name], int)


def test_seed_zero_is_a_seed():
    assert merged({"seed": 0}).seed == 0
    assert merged({"seed": -1}).seed is None


def test_num_predict_is_unlimited_where_negative():
    assert merged({"num_predict": -2}).num_predict is None
    assert merged({"num_predict": 0}).num_predict == 0


def test_stop_takes_a_bare_string_and_drops_empty_and_repeated_ones():
    assert merged({"stop": "\n"}).stop == ("\n",)
    assert merged({"stop": ["a", "", "b", "a"]}).stop == ("a", "b")


def test_unknown_and_load_time_options_are_ignored_and_told():
    options = merged({"mirostat": 1, "num_gpu": 0, "temperature": 1}, {"tfs_z": 1})
    assert options.ignored == ("mirostat", "num_gpu")


def test_an_ignored_end_takes_the_models_own_stop_strings_with_it():
    assert merged({"ignore_eos": True}, {"stop": ["<|im_end|>"]}).stop == ()
    assert merged({"ignore_eos": True, "stop": "x"}, {"stop": ["<|im_end|>"]}).stop == ("x",)
    assert merged({"ignore_eos": False}, {"stop": ["<|im_end|>"]}).stop == ("<|im_end|>",)
    with pytest.raises(InvalidOptionError, match='"ignore_eos" must be of type boolean'):
        merged({"ignore_eos": 1})


@pytest.mark.parametrize("name", [*NUMBERS, *WHOLE])
@pytest.mark.parametrize("value", ["1", True, [1], {"a": 1}])
def test_a_wrong_type_is_said_in_ollamas_words(name, value):
    kind = "float32" if name in NUMBERS else "integer"
    with pytest.raises(InvalidOptionError, match=f'option "{name}" must be of type {kind}'):
        merged({name: value})


@pytest.mark.parametrize("value", [1, True, ["a", 1], {"a": "b"}])
def test_a_wrong_stop_is_said(value):
    with pytest.raises(InvalidOptionError, match='"stop" must be of an array of strings'):
        merged({"stop": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 1.1),
        ("min_p", -1),
        ("repeat_penalty", 0),
        ("presence_penalty", 2.1),
        ("frequency_penalty", -3),
        ("num_ctx", -1),
        ("num_keep", -2),
        ("top_k", -2),
        ("seed", 2**64),
        ("num_predict", 10**30),
        ("stop", ["x"] * 65),
        ("stop", "x" * 1025),
    ],
)
def test_out_of_range_is_refused(name, value):
    with pytest.raises(InvalidOptionError, match=f'"{name}"') as caught:
        merged({name: value})
    assert caught.value.status_code == 400


@pytest.mark.parametrize("value", [[], "x", 5, True])
def test_options_must_be_an_object(value):
    with pytest.raises(InvalidOptionError, match="must be an object"):
        merged(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from([*NUMBERS, *WHOLE, "stop", "use_mmap", "x"]), JSON))
def test_any_json_is_read_or_refused(request):
    try:
        options = merged(request)
    except InvalidOptionError:
        return
    assert all(math.isfinite(options.values[name]) for name in [*NUMBERS, *WHOLE])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (0, 0.0),
        (300, 300.0),
        (0.5, 0.5),
        (-1, math.inf),
        (-0.5, math.inf),
        (1e30, math.inf),
        ("0", 0.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("100ms", 0.1),
        ("+3s", 3.0),
        ("-1m", math.inf),
        ("-0", 0.0),
        ("0s", 0.0),
    ],
)
def test_keep_alive(value, seconds):
    assert parse_keep_alive(value) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("300", 'time: missing unit in duration "300"'),
        ("-1", 'time: missing unit in duration "-1"'),
        ("abc", 'time: invalid duration "abc"'),
        ("", 'time: invalid duration ""'),
        ("5d", 'time: unknown unit "d" in duration "5d"'),
        ("5m3", 'time: missing unit in duration "5m3"'),
        ("1m-2s", 'time: unknown unit "m-" in duration "1m-2s"'),
        ("99999999999h", 'time: invalid duration "99999999999h"'),
        (True, "Unsupported type: 'bool'"),
        ([], "Unsupported type: '[]interface {}'"),
        ({}, "Unsupported type: 'map[string]interface {}'"),
    ],
)
def test_a_wrong_keep_alive_is_said_in_gos_words(value, text):
    with pytest.raises(InvalidOptionError) as caught:
        parse_keep_alive(value)
    assert str(caught.value) == text


def test_a_variable_may_leave_the_unit_out():
    assert parse_keep_alive("3600", bare=True) == 3600
    assert parse_keep_alive("-1", bare=True) == math.inf
    assert parse_keep_alive("5m", bare=True) == 300


@given(JSON)
def test_any_keep_alive_is_read_or_refused(value):
    try:
        seconds = parse_keep_alive(value)
    except InvalidOptionError:
        return
    assert seconds is None or seconds >= 0

"""Who asks, and the header that says so."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.access.callers import LOCAL, SCOPES, Caller

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def header(content):
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=200),
    st.sets(st.sampled_from(SCOPES)),
)
def test_a_caller_survives_the_header(id_, scopes):
    caller = Caller(id_, frozenset(scopes))
    value = caller.to_header()
    assert value.isascii()
    assert Caller.from_header(value) == caller


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_garbage_is_a_value_error(value):
    with pytest.raises(ValueError):
        Caller.from_header(value)


@given(JSON)
def test_other_json_is_a_value_error(content):
    with pytest.raises(ValueError):
        Caller.from_header(header(content))


@pytest.mark.parametrize(
    "content",
    [
        {"id": "", "scopes": []},
        {"id": 1, "scopes": []},
        {"id": "a", "scopes": "infer"},
        {"id": "a", "scopes": [["infer"]]},
        {"id": "a"},
        {"scopes": []},
    ],
)
def test_a_caller_has_an_id_and_a_list_of_scopes(content):
    with pytest.raises(ValueError):
        Caller.from_header(header(content))


def test_an_id_is_bounded_and_fits_one_line():
    caller = Caller.from_header(header({"id": "a\nb\ud800" + "c" * 300, "scopes": []}))
    assert caller.id == "a?b?" + "c" * 196


def test_admin_may_everything_and_others_what_they_have():
    assert all(LOCAL.may(scope) for scope in SCOPES)
    some = Caller("x", frozenset({"models:read"}))
    assert [scope for scope in SCOPES if some.may(scope)] == ["models:read"]
    assert not any(Caller("x", frozenset()).may(scope) for scope in SCOPES)

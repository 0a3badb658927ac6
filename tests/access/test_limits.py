"""How much, how often and how much at once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.access import limits
from hyperllama_nb.access.limits import MAX_NESTING, Usage, nested_too_deeply
from hyperllama_nb.errors import RateLimitedError

VALUES = st.recursive(
    st.none() | st.integers() | st.text('"\\[]{}a\n', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('"\\[{', max_size=4), inner)
    ),
    max_leaves=40,
)


def depth(value):
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, st.integers(0, 4))
def test_the_depth_is_that_of_the_parsed_value(value, most):
    # A low bound, so that small values reach it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MAX_NESTING", most)
        assert nested_too_deeply(json.dumps(value).encode()) is (depth(value) > most)


@given(st.binary())
def test_any_bytes_have_a_depth(body):
    assert nested_too_deeply(body) in (True, False)


def test_width_is_no_depth():
    assert not nested_too_deeply(b"[" + b"[[]]," * 1000 + b"0]")
    assert not nested_too_deeply(b'{"prompt": "' + b"[" * 1000 + b'"}')
    assert nested_too_deeply(b'{"a":' * (MAX_NESTING + 1))


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_a_key_may_ask_so_often_in_any_minute():
    clock = Clock()
    usage = Usage(clock)

    def ask():
        with usage.counted("key:1", per_minute=2):
            pass

    ask()
    clock.now += 50
    ask()
    with pytest.raises(RateLimitedError, match="2 times a minute") as refused:
        ask()
    assert refused.value.retry_after == 10
    with usage.counted("key:2", per_minute=2):  # another one is not concerned
        pass
    clock.now += 10
    ask()
    with pytest.raises(RateLimitedError) as refused:
        ask()
    assert refused.value.retry_after == 50


def test_a_refused_request_counts_against_nothing():
    clock = Clock()
    usage = Usage(clock)
    for _ in range(3):
        with pytest.raises(RateLimitedError), usage.counted("k", concurrent=0, per_minute=1):
            pass
    with usage.counted("k", per_minute=1):
        pass


def test_a_key_may_have_so_many_running():
    usage = Usage()
    with usage.counted("k", concurrent=2), usage.counted("k", concurrent=2):
        with pytest.raises(RateLimitedError, match="2 requests running") as refused:
            usage.counted("k", concurrent=2).__enter__()
        assert refused.value.retry_after >= 1
        with usage.counted("other", concurrent=1):
            pass
    with pytest.raises(KeyError), usage.counted("k", concurrent=1):
        raise KeyError  # a failure gives the place back, too
    with usage.counted("k", concurrent=1):
        pass


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 4))
def test_no_minute_has_more_than_was_allowed(pauses, most):
    clock = Clock()
    usage = Usage(clock)
    passed, waits = [], []
    for pause in pauses:
        clock.now += pause
        try:
            with usage.counted("k", per_minute=most):
                passed.append(clock.now)
        except RateLimitedError as refused:
            waits.append(refused.retry_after)
    assert all(0 < wait <= 60 for wait in waits)
    for begin in passed:
        assert sum(begin <= when < begin + 60 for when in passed) <= most


def test_nothing_is_kept_of_those_who_are_gone():
    clock = Clock()
    usage = Usage(clock)
    for number in range(100):
        with usage.counted(f"k{number}", per_minute=5, concurrent=1):
            pass
    clock.now += 61
    with usage.counted("k", per_minute=5):
        pass
    assert list(usage._times) == ["k"]
    assert not usage._running

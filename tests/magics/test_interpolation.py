"""Values in prompts: what is replaced, and all that is not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.commands import UsageError
from hyperllama_nb.magics._interpolation import LONGEST, Values, interpolate


class Odd:
    plain = "p"

    def __init__(self):
        self.items = {"k": [1, 2]}
        self._private = "secret"
        self.called = 0

    @property
    def broken(self):
        raise KeyboardInterruptLikeError

    def method(self):
        self.called += 1

    def __str__(self):
        return "{odd.plain}"


class KeyboardInterruptLikeError(Exception):
    pass


class Silent:
    def __str__(self):
        raise ValueError


NAMES = {"odd": Odd(), "x": 1, "l": [10, 20], "d": {"a b": 3, "}": 4, 5: 6}, "ünï": "u"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{x}", "1"),
        ("{x}{x}", "11"),
        ("{odd.plain} {odd.items['k'][1]} {l[-1]}", "p 2 20"),
        ("""{d["a b"]} {d[5]} {d['}']}""", "3 6 4"),
        ("{ünï}", "u"),
        ("{odd}", "{odd.plain}"),
        ("({x}) [{x}] '{x}' file_{x}.txt", "(1) [1] '1' file_1.txt"),
        ('{"n": {x}}', '{"n": 1}'),
    ],
)
def test_a_path_that_resolves_is_replaced_once(text, found):
    assert interpolate(text, NAMES) == found


@pytest.mark.parametrize(
    "text",
    [
        "{odd._private} {odd.__class__} {odd.method} {odd.method()} {odd.broken} {odd.nothing}",
        "{__builtins__} {__name__} {True} {None} {print} {math} {kind}",
        "{l[2]} {l['a']} {l[x]} {l[0:1]} {l[0,]} {l[01]} {x[0]} {l[0.0]}",
        "{x!r} {x:d} {x=} { x } {x } {x\n} {x;y} {x,} {1} {'x'} {} {{}} {{x}} {x.} {.x} {[0]}",
        r"\frac{x}{x} \frac{1}{x} \sum_{i=1}^{x} \sqrt[3]{x} \mathbb{x}^{x} \{x\} \left\{x}",
        "{silent}",
        "lambda {if} {lambda} {class.x}",
    ],
)
def test_every_other_brace_stays(text):
    odd = Odd()
    names = {**NAMES, "odd": odd, "math": math, "print": print, "kind": Odd, "silent": Silent()}
    assert interpolate(text, {**names, "__name__": "m", "__builtins__": {}}) == text
    assert odd.called == 0


def test_what_was_replaced_is_told():
    used = []
    interpolate("{x} {y} {l[0]} {{x}}", NAMES, used.append)
    assert used == ["x", "l[0]"]


def test_a_value_has_an_end():
    assert interpolate("{v}", {"v": "a" * LONGEST}) == "a" * LONGEST
    with pytest.raises(UsageError, match=r"\{v\} has 100,001 characters.*--verbatim"):
        interpolate("{v}", {"v": "a" * (LONGEST + 1)})


@given(st.text(alphabet="{}xlod.[]\"'0\\ab-_^ \n"))
def test_nothing_makes_it_fail(text):
    interpolate(text, NAMES)


@given(st.text(alphabet="{}xyz.[]\"'01\\-_$ \n"))
def test_a_text_without_known_names_stays(text):
    assert interpolate(text, {"unknown": 1}) == text


@given(st.lists(st.sampled_from(["{x}", "{y}", "{{", "}}", " ", "a", '{"k": 1}', "\\b"])))
def test_values_are_not_looked_at_again(parts):
    text = "".join(parts)
    secret = interpolate(text, {"x": "{y}", "y": "SECRET"})
    harmless = interpolate(text, {"x": "{y}", "y": "{y}"})
    # each SECRET stands for a {y} that the text itself has
    assert secret.count("SECRET") <= text.count("{y}")
    assert harmless == interpolate(text, {"x": "{y}"})


def test_the_names_of_ipython_are_words():
    user = {"exit": "leave", "In": ["", "1 + 1"], "Out": {1: 2}, "_": 2, "quit": "mine"}
    hidden = {"exit": user["exit"], "In": user["In"], "Out": user["Out"], "quit": "ipython's"}
    values = Values(user, hidden, {7: "Traceback"}.get)
    text = "{exit} {quit} {In[1]} {Out[1]} {_} {Err[7]} {Err[8]} {Err} {Out[9]}"
    assert interpolate(text, values) == "{exit} mine 1 + 1 2 2 Traceback {Err[8]} {Err} {Out[9]}"


def test_a_variable_named_err_is_the_users():
    values = Values({"Err": {1: "mine"}}, {}, {}.get)
    assert interpolate("{Err[1]}", values) == "mine"

"""What failed in the cells of a shell, without IPython's own part of the story."""

import sys

import pytest

from hyperllama_nb.magics import _last_error
from tests.magics.test_kernel import Notebook


@pytest.fixture
def run(bare_shell, capsys):
    """Run a cell as a front end does; what it shows is thrown away."""

    def run(code, *, history=True, silent=False):
        result = bare_shell.run_cell(code, store_history=history, silent=silent)
        capsys.readouterr()
        return result

    return run


@pytest.fixture
def errors(magics):
    return magics.last_error


def test_nothing_has_failed(errors, run):
    run("1 + 1")
    assert errors.last is None
    assert errors.of(1) is None


def test_an_error_has_its_cell_its_line_and_its_own_traceback(errors, run):
    run("def divide(x):\n    return 1 / x")
    run("y = 1\ndivide(0)")
    last = errors.last
    assert (last.number, last.kind, last.line) == (2, "ZeroDivisionError", 2)
    assert last.source == "y = 1\ndivide(0)"
    lines = last.traceback.split("\n")
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == '  File "In[2]", line 2, in <module>'
    assert '  File "In[1]", line 2, in divide' in lines
    assert "    return 1 / x" in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "IPython" not in last.traceback
    assert "\x1b" not in last.traceback
    assert errors.of(2) == last.traceback


def test_an_error_before_the_cell_runs_counts(errors, run):
    run("a = 1\nb = = 2")
    assert errors.last.kind == "SyntaxError"
    assert errors.last.line == 2
    assert errors.last.traceback.startswith('  File "In[1]", line 2\n    b = = 2')
    run("def f():\nx")
    assert errors.last.kind == "IndentationError"


def test_causes_and_groups_are_told_too(errors, run):
    run(
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('no') from error"
    )
    told = errors.last.traceback
    assert told.index("ZeroDivisionError") < told.index("direct cause") < told.index("ValueError")
    assert "interactiveshell" not in told
    run("raise ExceptionGroup('two', [KeyError('a'), KeyError('b')])")
    assert "KeyError: 'b'" in errors.last.traceback


def test_a_success_keeps_the_last_error(errors, run):
    run("1 / 0")
    run("1")
    assert errors.last.number == 1


@pytest.mark.parametrize(
    "code", ["%nosuchmagic", "%llm nosuch", "%%llm --nosuch\nHi", "raise KeyboardInterrupt"]
)
def test_what_says_how_to_use_a_magic_or_stops_a_cell_is_not_the_last_error(errors, run, code):
    run("1 / 0")
    run(code)
    assert errors.last.kind == "ZeroDivisionError"


def test_every_error_has_a_text_under_its_number(errors, run):
    run("%llm nosuch")
    run("raise KeyboardInterrupt")
    assert "nosuch" in errors.of(1)
    assert errors.of(2).endswith("KeyboardInterrupt")


def test_our_errors_count_where_the_users_code_meets_them(errors, run):
    run("from hyperllama_nb.errors import BusyError\nraise BusyError('full')")
    assert errors.last.kind == "BusyError"


def test_what_is_outside_the_history_has_no_number(errors, run):
    run("1 / 0", history=False)
    assert errors.last.number is None
    assert errors.of(1) is None
    run("2 / 0", silent=True)
    assert errors.last.source == "1 / 0"


def test_the_oldest_is_forgotten(errors, run, monkeypatch):
    monkeypatch.setattr(_last_error, "MOST", 2)
    for _ in range(3):
        run("1 / 0")
    assert [errors.of(number) is None for number in (1, 2, 3)] == [True, False, False]


def test_an_endless_traceback_is_bounded(bare_shell, errors, run):
    run("def f(n):\n    g(n)\ndef g(n):\n    f(n)")
    # caught, since IPython takes seconds to colour it
    result = run("try:\n    f(1)\nexcept RecursionError as error:\n    caught = error")
    result.error_in_exec = bare_shell.user_ns["caught"]
    errors.remember(result)
    assert len(errors.last.traceback) < _last_error.LONGEST + 100
    assert errors.last.traceback.startswith("Traceback")
    assert "RecursionError" in errors.last.traceback.split("\n")[-1]
    assert "[…]" in errors.last.traceback


def test_an_error_that_cannot_be_told_does_no_harm(errors, run):
    class BadError(Exception):
        def __str__(self):
            raise ValueError

    result = run("1")
    result.error_in_exec = BadError()
    errors.remember(result)
    assert errors.last.kind == "BadError"


def test_it_ends_with_the_extension(bare_shell, errors, run):
    bare_shell.run_line_magic("unload_ext", "hyperllama_nb")
    run("1 / 0")
    assert errors.last is None
    assert sys.exc_info() == (None, None, None)


@pytest.mark.slow
def test_in_a_kernel():
    notebook = Notebook("--HyperLlamaMagics.prewarm=None")
    try:
        assert notebook.run("def f(x):\n    return 1 / x")[0] == "ok"
        assert notebook.run("f(0)")[:2] == ("error", "ZeroDivisionError")
        _, _, shown = notebook.run(
            "last = get_ipython().magics_manager.registry['HyperLlamaMagics'].last_error.last\n"
            "print(last.number, last.line, last.traceback)"
        )
        [(_, printed)] = shown
        lines = printed["text"].split("\n")
        # the cell that loads the extension is the first
        assert lines[0] == "3 1 Traceback (most recent call last):"
        assert lines[1] == '  File "In[3]", line 1, in <module>'
        assert '  File "In[2]", line 2, in f' in lines
        assert "\x1b" not in printed["text"]
    finally:
        notebook.close()

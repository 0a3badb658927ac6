"""Tab on the lines of `%llm` and `%%llm`."""

import doctest
import sys
import threading

import pytest
from IPython.core.completer import provisionalcompleter

from hyperllama_nb.magics import _completion, _known_names
from hyperllama_nb.magics._kernel_commands import KERNEL_COMMANDS
from hyperllama_nb.magics._known_names import KnownNames
from hyperllama_nb.models.store import Store
from tests.magics.test_kernel import Notebook
from tests.models.manifests import install


@pytest.fixture
def tab(magics):
    """Return what replaces which part of the line that ends at the cursor."""

    def complete(line, **place):
        return magics.hooks.completer.complete(line, **place)

    return complete


@pytest.fixture
def patient(monkeypatch):
    """Let a service take longer than a person would wait: the machine may be busy."""
    monkeypatch.setattr(_known_names, "PATIENCE", 30.0)


@pytest.fixture
def stored(own_place):
    store = Store()
    for name in ("tiny:1b", "tiny:2b-q4_0", "hf.co/org/other:latest"):
        install(store, name, model=b"x")
    return store


def test_the_examples_are_true():
    assert doctest.testmod(_completion).failed == 0


def test_commands(tab):
    assert tab("%llm pu") == ("pu", ["pull"])
    assert tab("  x = %llm his") == ("his", ["history"])
    assert tab("%llm help pu") == ("pu", ["pull"])
    assert {*KERNEL_COMMANDS, "pull", "help"} <= {*tab("%llm ")[1]}


def test_only_lines_of_the_magics_are_completed(tab):
    for line in ("llm pu", "pull", "%llmx pu", "%llm", "# %llm", "x = '%%llm -"):
        assert tab(line) == ("", [])


def test_a_cell_is_completed_on_its_first_line_only(tab):
    assert tab("%%llm --temp")[1] == ["--temperature"]
    assert tab("%%llm --temp", first=False)[1] == []
    assert tab("%llm pu", first=False)[1] == ["pull"]


def test_options_in_one_spelling_and_each_once(tab):
    assert tab("%%llm --num-c") == ("--num-c", ["--num-ctx"])
    assert tab("%%llm --seed 3 --s")[1] == ["--system", "--schema", "--stats", "--stop"]
    assert "--stop" in tab("%%llm --stop a --st")[1]
    assert tab("%llm load m --k")[1] == ["--keep-alive"]
    assert tab("%%llm --h")[1] == ["--help"]


def test_choices(tab):
    assert tab("%%llm -f m")[1] == ["markdown", "math"]
    assert tab("%%llm --format=js") == ("js", ["json"])
    assert tab("%%llm --think h")[1] == ["high"]
    assert tab("%%llm -o repeat_l")[1] == ["repeat_last_n"]
    assert tab("%%llm -o seed ")[1] == []
    assert "max" in tab("%%llm --backend ")[1]


def test_models_of_the_store(tab, stored, magics):
    magics.aliases = {"tin": "tiny:1b"}
    expected = ["tin", "tiny:1b", "tiny:2b-q4_0"]
    for line in ("%%llm ti", "%%llm -m ti", "%%llm x << -m ti", "%llm load ti", "%llm rm a ti"):
        fragment, found = tab(line)
        assert (fragment, sorted(found)) == ("ti", expected), line
    assert tab("%%llm --model=tiny:2") == ("tiny:2", ["tiny:2b-q4_0"])
    assert tab("%llm show HF")[1] == ["hf.co/org/other:latest"]
    # a second model makes no sense, options do
    assert "tiny:1b" not in tab("%%llm tiny:1b ")[1]
    assert "--seed" in tab("%%llm tiny:1b ")[1]


def test_models_of_the_catalog_for_a_pull(tab):
    assert "smollm2:135m" in tab("%llm pull smol")[1]


def test_models_that_are_loaded_for_an_unload(service, tab, patient):
    service.routes["GET /admin/status"] = lambda body: [
        {"engines": [{"model": "tiny:1b"}, {"model": "other:1b"}]}
    ]
    assert tab("%llm unload t") == ("t", ["tiny:1b"])
    assert tab("%llm unload o") == ("o", ["other:1b"])
    assert len(service.bodies("GET /admin/status")) == 1
    assert service.leases == []


def test_models_of_another_machine(service, tab, patient, monkeypatch):
    service.routes["GET /api/tags"] = lambda body: [{"models": [{"model": "there:1b"}]}]
    monkeypatch.setenv("HYPERLLAMA_HOST", f"unix:{service.path}")
    assert tab("%%llm th") == ("th", ["there:1b"])


def test_nothing_is_started_and_nothing_raised_where_there_is_nothing(
    tab, own_place, monkeypatch, capfd
):
    for line in ("%llm unload ", "%llm rm x", "%llm restore no/such/", "%llm save 'x", "%%llm 'x"):
        tab(line)
    monkeypatch.setenv("HYPERLLAMA_HOST", "127.0.0.1:1")
    tab("%%llm x")
    assert [*(own_place / "r").iterdir()] == []
    assert capfd.readouterr() == ("", "")


def test_a_service_that_hangs_does_not_hold_up_a_tab(service, tab):
    held = threading.Event()
    service.routes["GET /admin/status"] = lambda body: held.wait(60) and [{"engines": []}]
    assert tab("%llm unload x")[1] == []
    assert len(service.bodies("GET /admin/status")) == 1
    held.set()


def test_names_are_kept_for_a_moment(stored, magics):
    now = [0.0]
    names = KnownNames(magics, clock=lambda: now[0])
    assert len(names.models()) == 3
    stored.delete("tiny:1b")
    now[0] = 2.9
    assert len(names.models()) == 3
    now[0] = 3.1
    assert len(names.models()) == 2


def test_conversations_and_aliases(tab, magics):
    for name in ("trip", "a b"):
        magics.conversations.keep(name, None, {}, {})
    magics.aliases = {"fast": "x"}
    assert tab("%%llm -c t")[1] == ["trip"]
    assert tab("%llm history ")[1][:2] == ["trip", "'a b'"]
    assert tab("%llm save 'a") == ("'a", ["'a b'"])
    assert tab("%llm reset a")[1] == ["'a b'"]
    assert tab("%llm unalias f")[1] == ["fast"]
    assert tab("%llm config mo")[1] == ["model"]


def test_files(tab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chats").mkdir()
    for name in ("chats/a.json", "chats/b c.json", ".hidden", "x.json"):
        (tmp_path / name).write_text("")
    assert tab("%llm restore ")[1][:2] == ["chats/", "x.json"]
    assert tab("%llm restore chats/")[1] == ["chats/a.json", "'chats/b c.json'"]
    assert tab("%llm restore 'chats/b")[1] == ["'chats/b c.json'"]
    assert tab("%llm restore 'ch")[1] == ["'chats/"]
    assert tab("%llm restore .h")[1] == [".hidden"]
    assert tab(f"%llm save x {tmp_path}/x")[1] == [f"{tmp_path}/x.json"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tab("%llm restore ~/x")[1] == ["~/x.json"]


def test_variables(tab, bare_shell):
    bare_shell.user_ns |= {"answer": 1, "_a": 1, "ast": sys, "also": len, "a_dict": {}}
    assert {"answer", "a_dict"} == {*tab("%%llm -O a")[1]} - {"also"}
    assert tab("%%llm --schema a_")[1] == ["a_dict"]


def ask_ipython(shell, cell, cursor):
    """Return what IPython completes at a place of a cell: (begin, end, text) of each."""
    shell.Completer.use_jedi = False  # which takes seconds, and has no say here
    with provisionalcompleter():
        found = [*shell.Completer.completions(cell, cursor)]
    return [(each.start, each.end, each.text) for each in found]


def test_through_the_completer_of_ipython(bare_shell, stored):
    assert ask_ipython(bare_shell, "%%llm -m tiny:1", 15) == [(9, 15, "tiny:1b")]
    cell = "\n%%llm -m tiny:2\nprint"
    assert ask_ipython(bare_shell, cell, cell.index("\np")) == [(10, 16, "tiny:2b-q4_0")]
    below = ask_ipython(bare_shell, cell, len(cell))
    assert (17, 22, "print") in below
    assert not [text for _, _, text in below if text.startswith("tiny")]


def test_an_error_inside_does_not_reach_the_user(bare_shell, magics, monkeypatch, capfd):
    monkeypatch.setattr(magics.hooks.completer, "complete", lambda *_, **__: 1 / 0)
    ask_ipython(bare_shell, "%llm pu", 7)
    assert capfd.readouterr().err == ""


def test_it_is_gone_with_the_extension(bare_shell):
    assert ask_ipython(bare_shell, "%llm pu", 7) == [(5, 7, "pull")]
    bare_shell.run_line_magic("unload_ext", "hyperllama_nb")
    assert ask_ipython(bare_shell, "%llm pu", 7) != [(5, 7, "pull")]


@pytest.mark.slow
def test_in_a_kernel(stored):
    notebook = Notebook("--HyperLlamaMagics.prewarm=None")

    def complete(code, cursor=None):
        message = notebook.client.complete(code, cursor)
        reply = notebook.client.get_shell_msg(timeout=60)
        assert reply["parent_header"]["msg_id"] == message
        content = reply["content"]
        return content["cursor_start"], content["cursor_end"], content["matches"]

    try:
        assert complete("%llm pu") == (5, 7, ["pull"])
        assert complete("x = 1\n%llm load tiny:1") == (16, 22, ["tiny:1b"])
        cell = "%%llm --model=tiny:1\nWhy is it dark?"
        assert complete(cell, 20) == (14, 20, ["tiny:1b"])
        assert complete("%%llm -f ma") == (9, 11, ["markdown", "math"])
        notebook.run("%unload_ext hyperllama_nb")
        assert complete("%llm pu")[2] != ["pull"]
    finally:
        notebook.close()

"""The `%llm` commands of a kernel: conversations, the last error, settings, widgets."""

import doctest
import json

import pytest
from traitlets.config import Config

from hyperllama_nb.commands import UsageError
from hyperllama_nb.display.streaming import GenerationInterrupted
from hyperllama_nb.errors import ConflictError, RequestError
from hyperllama_nb.magics import HyperLlamaMagics, _fix, _kernel_commands, _widgets
from tests.client.fakeservice import messages, words

GENERATE, CHAT = "POST /api/generate", "POST /api/chat"


@pytest.fixture
def llm(bare_shell, capsys):
    """Run `%llm` with a line and return what it prints."""

    def run(line):
        capsys.readouterr()
        bare_shell.run_line_magic("llm", line)
        return capsys.readouterr().out

    return run


def keep(magics, name, *texts, **facts):
    for text in texts:
        question = {"role": "user", "content": text}
        answer = {"role": "assistant", "content": text.upper()}
        magics.conversations.keep(name, text, question, answer, model="m:1", **facts)


@pytest.mark.parametrize("module", [_fix, _kernel_commands, _widgets])
def test_the_examples_are_true(module):
    assert doctest.testmod(module).failed == 0


def test_the_overview_lists_every_command(llm):
    shown = llm("")
    for name, command in _kernel_commands.KERNEL_COMMANDS.items():
        assert f"  {name} " in shown
        assert command.help in shown
    assert "pull" in shown
    assert shown == llm("help") == llm("--help")


@pytest.mark.parametrize("name", _kernel_commands.KERNEL_COMMANDS)
def test_each_command_has_help_and_an_example_that_parses(llm, name):
    command = _kernel_commands.KERNEL_COMMANDS[name]
    shown = llm(f"{name} --help")
    assert shown.startswith(f"usage: %llm {name} ")
    assert command.example in shown
    assert shown == llm(f"help {name}")
    assert command.example.split()[0] == name
    command.parser().parse(command.example.split()[1:])


def test_a_question_mark_shows_the_help_of_the_parsers(bare_shell, capsys):
    bare_shell.run_cell("%llm?")
    shown = capsys.readouterr().out
    assert _kernel_commands.overview() in shown
    assert "--max-tokens" in shown


def test_help_of_a_command_of_the_terminal(llm):
    assert llm("load --help").startswith("usage: %llm load ")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("chat --systm x", "did you mean --system"),
        ("chts", "Did you mean `chats`"),
        ("pul", "Did you mean `pull`"),
        ("xyz", "Commands: chats, "),
        ("save a", "FILE"),
        ("monitor --window soon", "is no time"),
    ],
)
def test_a_wrong_line_is_told(llm, line, told):
    with pytest.raises(UsageError, match=told):
        llm(line)


def test_chats_are_listed_with_what_they_take_of_the_context(llm, magics):
    assert "%%llm -c NAME" in llm("chats")
    keep(magics, "trip", "one", "two", tokens=310, context_length=4096)
    keep(magics, "other", "one")
    first, second, third = llm("chats").splitlines()
    assert first.split() == ["NAME", "TURNS", "MODEL", "CONTEXT"]
    assert second.split() == ["trip", "2", "m:1", "310", "of", "4096"]
    assert third.split() == ["other", "1", "m:1", "-"]


def test_a_history_shows_what_was_said(llm, magics):
    assert "%%llm -c NAME" in llm("history")
    keep(magics, "a", "one")
    keep(magics, "b", "two")
    assert llm("history a") == "You:\none\n\nm:1:\nONE\n"
    assert "TWO" in llm("history")  # the one that was used last
    with pytest.raises(UsageError, match="There are: a, b"):
        llm("history nope")
    with pytest.raises(UsageError, match="Did you mean 'b'"):
        llm("history bb")


def test_the_history_is_a_python_object():
    import hyperllama_nb as hl

    keep(HyperLlamaMagics, "a", "one")
    assert hl.conversations is HyperLlamaMagics.conversations
    assert hl.conversations["a"] == [
        {"role": "user", "content": "one"}, {"role": "assistant", "content": "ONE"},
    ]  # fmt: skip


def test_a_reset_forgets_one_or_all(llm, magics):
    assert "There is no conversation" in llm("reset")
    keep(magics, "a", "one", "two")
    assert llm("reset") == "Forgot a (2 turns).\n"
    keep(magics, "a", "one")
    keep(magics, "b", "one")
    with pytest.raises(UsageError, match="several conversations: a, b"):
        llm("reset")
    with pytest.raises(UsageError, match="not both"):
        llm("reset a --all")
    llm("reset b")
    assert [*magics.conversations] == ["a"]
    keep(magics, "b", "one")
    assert llm("reset --all") == "Forgot a, b.\n"
    assert not magics.conversations


def test_a_conversation_is_saved_and_restored(llm, magics, tmp_path):
    keep(magics, "a", "one", "two", tokens=3, context_length=4)
    turns = magics.conversations["a"].turns
    file = tmp_path / "a b.json"
    assert llm(f"save a '{file}'") == f"{file} holds 2 turns of a.\n"
    llm("reset a")
    assert llm(f"restore '{file}'") == "a is here again, with 2 turns.\n"
    assert magics.conversations["a"].turns == turns
    llm(f"restore '{file}' --as c")
    assert magics.conversations["c"].turns == turns


def test_a_restore_loses_nothing(llm, magics, tmp_path):
    file = tmp_path / "a.json"
    keep(magics, "a", "one")
    llm(f"save a {file}")
    llm(f"restore {file}")  # the same again
    keep(magics, "a", "two")
    with pytest.raises(ConflictError, match="--as"):
        llm(f"restore {file}")
    assert len(magics.conversations["a"].turns) == 2
    file.write_text(file.read_text()[:-20])
    with pytest.raises(RequestError, match="is damaged"):
        llm(f"restore {file} --force")
    assert len(magics.conversations["a"].turns) == 2
    file.unlink()
    keep(magics, "b", "one")
    llm(f"save b {file}")
    llm(f"restore {file} --as a --force")
    assert len(magics.conversations["a"].turns) == 1
    with pytest.raises(UsageError, match="no conversation 'x'"):
        llm(f"save x {file}")


def test_conversations_outlive_a_reload_of_the_extension(bare_shell, magics):
    keep(magics, "a", "one")
    bare_shell.run_line_magic("reload_ext", "hyperllama_nb")
    again = bare_shell.magics_manager.registry["HyperLlamaMagics"]
    assert again is not magics
    assert len(again.conversations["a"].turns) == 1


def test_the_extension_takes_all_of_itself_away(bare_shell, magics):
    bare_shell.run_line_magic("unload_ext", "hyperllama_nb")
    assert bare_shell.find_line_magic("llm") is None
    assert bare_shell.find_cell_magic("llm") is None
    assert magics not in bare_shell.configurables
    assert bare_shell.Completer.custom_matchers == []


@pytest.fixture
def fail(bare_shell, capsys):
    def run(code="x = {'a': 1}\nx['b']"):
        bare_shell.run_cell(code, store_history=True)
        capsys.readouterr()

    return run


def test_without_an_error_there_is_nothing_to_do(service, llm):
    for command in ("fix", "explain"):
        assert llm(command) == f"{_fix.NO_ERROR}\n"
    assert service.bodies(GENERATE) == []


def test_explain_asks_about_the_last_error(service, llm, fail):
    service.routes[GENERATE] = lambda body: words("It ", "fails.")
    fail()
    assert llm("explain -m m:1 --temperature 0 --keep-alive 5m") == "It fails.\n"
    [body] = service.bodies(GENERATE)
    assert (body["model"], body["options"], body["keep_alive"]) == ("m:1", {"temperature": 0}, "5m")
    prompt = body["prompt"]
    assert prompt.startswith("Cell In[1] failed in line 2.")
    # braces of the user's code are no places for values
    assert "```python\nx = {'a': 1}\nx['b']\n```" in prompt
    assert "KeyError: 'b'" in prompt
    assert "\x1b" not in prompt
    assert "Explain" in prompt


def test_fix_puts_the_code_into_the_next_cell(service, llm, fail, bare_shell, monkeypatch):
    answer = "Here:\n```python\nx = {'b': 1}\nx['b']\n```\nThe key was wrong."
    service.routes[GENERATE] = lambda body: words(answer)
    cells = []
    monkeypatch.setattr(
        bare_shell, "set_next_input", lambda text, replace=False: cells.append((text, replace))
    )
    fail()
    assert llm("fix") == answer + "\n"
    assert cells == [("x = {'b': 1}\nx['b']", False)]
    assert bare_shell.user_ns["_llm"].text == answer
    for other in ("I cannot.", "Sorry", "```\nx = {'a': 1}\nx['b']\n```", "```python\nx = 1"):
        service.routes[GENERATE] = lambda body, other=other: words(other)
        assert llm("fix") == f"{other}\n{_fix.NO_CODE}\n"
    assert len(cells) == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("x = 2\nx + 1", "x = 2\nx + 1"),
        ("It says\n```\nKeyError: 'b'\n  at b\n```\nso\n```\nx = 2\n```", "x = 2"),
        ("```python\n%matplotlib inline\n!ls\n```", "%matplotlib inline\n!ls"),
        ("1. Do\n\n   ```python\n   x = 2\n   ```", "x = 2"),
        ("```python\n\n```", None),
        ("```python\nx = 2\n```\nor\n```python\nx = ", "x = 2"),
        ("```python", None),
        ("", None),
    ],
)
def test_the_code_of_a_fix_is_what_could_run(bare_shell, answer, code):
    assert _fix.corrected(answer, "x = 1", bare_shell.transform_cell) == code


def test_an_interrupted_fix_makes_no_cell(service, llm, fail, bare_shell, monkeypatch):
    def stopped(_, stream, **__):
        stream.poll(timeout=10)  # by then nothing can start a service in place of the fake one
        raise GenerationInterrupted

    monkeypatch.setattr("hyperllama_nb.display.streaming.stream_to", stopped)
    service.routes[GENERATE] = lambda body: words("```python\nx = 1\n```\n")
    monkeypatch.setattr(bare_shell, "set_next_input", lambda *_, **__: pytest.fail("a cell"))
    fail()
    with pytest.raises(GenerationInterrupted):
        llm("fix")


def test_an_older_error_can_be_meant(service, llm, fail):
    service.routes[GENERATE] = lambda body: words("x")
    fail("1 / 0")
    fail("int('x')")
    llm("explain --cell 1")
    assert "ZeroDivisionError" in service.bodies(GENERATE)[0]["prompt"]
    with pytest.raises(UsageError, match=r"In\[7\] has not failed"):
        llm("explain --cell 7")
    with pytest.raises(UsageError, match="Two models"):
        llm("fix a -m b")


def test_the_last_error_stays_out_of_conversations(service, llm, fail, magics):
    service.routes[GENERATE] = lambda body: words("x")
    magics.chat = "a"
    fail()
    llm("explain")
    assert not magics.conversations


@pytest.mark.slow
def test_a_large_error_is_cut_to_what_a_context_holds(service, llm, fail):
    service.routes[GENERATE] = lambda body: words("x")
    before = "".join(f"a{n} = {n}\n" for n in range(3000))
    fail(f"{before}raise ValueError('long ' * 2000)\n{before}")
    llm("explain")
    prompt = service.bodies(GENERATE)[0]["prompt"]
    assert len(prompt) < _fix.SOURCE + _fix.TRACEBACK + 500
    assert "a2999 = 2999\nraise ValueError('long ' * 2000)\na0 = 0" in prompt
    assert prompt.count("[…]") == 3


def test_an_alias_stands_for_a_model_everywhere(service, shell, llm, ask):
    assert "There is no alias" in llm("alias")
    assert llm("alias fast tiny:1b") == "fast stands for tiny:1b in this kernel.\n"
    llm("alias faster fast")
    assert [line.split() for line in llm("alias").splitlines()] == [
        ["ALIAS", "MODEL"], ["fast", "tiny:1b"], ["faster", "fast"],
    ]  # fmt: skip
    assert llm("alias faster") == "faster stands for tiny:1b.\n"
    service.routes[GENERATE] = lambda body: words("x")
    service.routes["POST /admin/unload"] = lambda body: [{"status": "unloaded"}]
    ask("faster")
    ask("-m fast")
    llm("generate fast fast")
    llm("unload faster")
    bodies = service.bodies(GENERATE)
    assert [body["model"] for body in bodies] == ["tiny:1b"] * 3
    assert bodies[2]["prompt"] == "fast"
    assert service.bodies("POST /admin/unload") == [{"model": "tiny:1b"}]
    with pytest.raises(UsageError, match="itself"):
        llm("alias tiny:1b faster")
    assert llm("unalias fast") == "fast stands for nothing any more.\n"
    with pytest.raises(UsageError, match="Did you mean 'faster'"):
        llm("unalias fastr")
    with pytest.raises(UsageError, match="no alias 'fast'"):
        llm("alias fast")


def test_aliases_of_the_configuration_cannot_loop_for_ever(magics):
    magics.aliases = {"a": "b", "b": "a"}
    assert magics.resolve("a") == "a"
    assert magics.resolve("other") == "other"


def test_settings_tell_where_they_come_from(bare_shell, llm):
    bare_shell.config.merge(Config({"HyperLlamaMagics": {"options": {"seed": 1}}}))
    bare_shell.run_line_magic("reload_ext", "hyperllama_nb")
    bare_shell.run_line_magic("config", "HyperLlamaMagics.model = 'mine'")
    rows = {line.split()[0]: line for line in llm("config").splitlines()}
    assert rows["options"].endswith("configuration")
    assert rows["model"].endswith("this kernel")
    assert rows["system"].endswith("default")
    assert {*HyperLlamaMagics.class_traits(config=True)} <= {*rows}
    told = llm("config options")
    assert "options = {'seed': 1} (configuration)" in told
    assert "%config HyperLlamaMagics.options = {'seed': 1}" in told
    assert "ipython_config.py" in told
    with pytest.raises(UsageError, match="Did you mean model"):
        llm("config modl")


def test_without_a_notebook_widgets_say_so_and_show_text(service, shell, llm, magics):
    service.routes["GET /api/tags"] = lambda body: [{"models": []}]
    service.routes["GET /admin/status"] = lambda body: [{"engines": []}]
    assert llm("chat") == (
        "A chat needs a notebook. In a terminal, `hyperllama run smollm2:135m` is one.\n"
    )
    note, text = llm("models").splitlines()
    assert "need a notebook" in note
    assert "The store is empty" in text
    assert llm("monitor").splitlines()[1] == "No engine is running."
    assert "`hyperllama bench tiny --targets max`" in llm("benchmark tiny --targets max")


class Recorded:
    """Stands for a widget."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs


@pytest.fixture
def widgets(shell, page, monkeypatch):
    """Return what was displayed, in what takes itself for a notebook."""
    import hyperllama_nb.widgets as rooms

    shown = []
    for name in ("Benchmark", "Chat", "Models", "Monitor"):
        monkeypatch.setattr(rooms, name, Recorded, raising=False)
    monkeypatch.setattr("IPython.display.display", shown.append)
    return shown


def test_a_notebook_shows_the_widgets(widgets, shell, llm, magics):
    keep(magics, "a", "one")
    magics.aliases = {"fast": "tiny:1b"}
    llm("chat fast -s 'Be brief.'")
    llm("chat -c a -O talk")
    llm("models")
    llm("monitor fast --window 5m --for 90")
    llm("benchmark fast --targets max,http://box/v1 --quick")
    first, second, third, fourth, fifth = widgets
    assert first.args == ("tiny:1b",)
    assert first.kwargs["system"] == "Be brief."
    assert second.args == ("m:1",)
    assert second.kwargs["messages"] == magics.conversations["a"]
    assert second.kwargs["name"] == "a"
    assert shell.user_ns["talk"] is second
    assert third.args == ()
    assert (fourth.args, fourth.kwargs) == (("tiny:1b",), {"window": 300, "duration": 90})
    assert (fifth.args, fifth.kwargs) == (("tiny:1b", ["max", "http://box/v1"]), {"quick": True})
    with pytest.raises(UsageError, match="name of a variable"):
        llm("models -O 1")
    with pytest.raises(UsageError, match="no conversation 'b'"):
        llm("chat -c b")


def test_a_history_in_a_notebook_is_markdown(magics):
    keep(magics, "a", "one")
    bundle = magics.conversations["a"]._repr_mimebundle_()
    assert bundle["text/markdown"] == "**You**\n\none\n\n---\n\n**m:1**\n\nONE"
    assert json.dumps(bundle)


def test_a_cell_makes_a_turn_that_the_commands_show(service, shell, llm, ask):
    service.routes[CHAT] = lambda body: messages("fine.")
    ask("-c a", "How are you?")
    assert "How are you?" in llm("history")


def test_a_measurement_in_a_cell(service, shell, llm):
    service.routes[GENERATE] = lambda body: words(
        "a", "b", eval_count=2, eval_duration=10**9, prompt_eval_count=5
    )
    shown = llm("bench m Hi -i 2 --seed 1")
    assert "run 2 of 2" in shown
    assert "m, 2 runs after one warm-up" in shown
    assert "time to first token" in shown
    assert len(service.bodies(GENERATE)) == 3

"""The table of commands and what each shows, with a scripted client."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hyperllama_nb.commands import COMMANDS, UsageError, execute, overview
from hyperllama_nb.errors import HyperLlamaError, ModelNotFoundError
from tests.commands.fakes import ENGINE, FakeClient, FakeContext

ROOT = Path(__file__).parents[2]


def shown(*argv: str, client: FakeClient | None = None, cell: bool = False) -> str:
    context = FakeContext(client, cell=cell)
    execute(argv, context)
    return "\n".join(context.shown)


def test_all_commands_are_there():
    expected = {
        *("serve", "run", "generate", "list", "pull", "rm", "show", "ps", "info", "bench"),
        *("load", "unload", "start", "stop", "status", "key", "logs", "setup-max", "connect"),
    }
    assert set(COMMANDS) == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_its_example(name, capsys):
    assert shown(name, "--help") == ""
    printed = capsys.readouterr().out
    assert COMMANDS[name].help in printed
    assert COMMANDS[name].example in printed


@pytest.mark.parametrize("argv", [(), ("help",), ("--help",), ("-h",)])
def test_the_overview_names_every_command(argv):
    text = shown(*argv)
    assert text == overview("hyperllama")
    assert all(f"  {name} " in text for name in COMMANDS)


def test_help_of_a_command(capsys):
    shown("help", "pull")
    assert "usage: hyperllama pull" in capsys.readouterr().out


def test_a_mistyped_command_gets_a_suggestion():
    with pytest.raises(UsageError, match=r"no command 'lst'. Did you mean `list`\?"):
        shown("lst")


def test_a_pull_asks_for_what_the_line_says(monkeypatch):
    told = []
    client = FakeClient()
    client.pull = lambda model, **options: told.append((model, options))
    monkeypatch.setattr(FakeContext, "follow", lambda *_: None)
    usual = {"stream": True, "name": None, "compile": True, "quantize": None, "insecure": False}
    assert shown("pull", "smollm2:135m", client=client) == "smollm2:135m is in the store."
    assert told.pop() == ("smollm2:135m", usual)
    line = ("pull", "127.0.0.1:5000/library/m", "--insecure", "--name", "m", "--no-compile")
    assert shown(*line, client=client) == "m is in the store."
    changed = {**usual, "insecure": True, "name": "m", "compile": False}
    assert told == [("127.0.0.1:5000/library/m", changed)]


def test_list():
    text = shown("list")
    assert text.splitlines()[0].split()[:3] == ["NAME", "ID", "SIZE"]
    assert "smollm2:135m   0123456789ab   93.4 MB" in text


@pytest.mark.parametrize(("pattern", "found"), [("smol*", True), ("SMOL", True), ("qwen", False)])
def test_list_takes_a_pattern(pattern, found):
    assert ("smollm2" in shown("list", pattern)) is found


def test_an_empty_store_names_the_next_step():
    client = FakeClient()
    client.list = lambda: {"models": []}
    assert "pull smollm2:135m" in shown("list", client=client)


def test_show():
    text = shown("show", "smollm2:135m")
    assert "8192" in text
    assert "1.9 GB with max" in text
    assert "first lin" in text
    assert "second line" not in text


@pytest.mark.parametrize(
    ("flag", "text"),
    [("--template", "first line\nsecond line"), ("--license", "smollm2:135m has no license")],
)
def test_show_of_one_part(flag, text):
    assert shown("show", "smollm2:135m", flag).startswith(text)


def test_rm_removes_what_it_can_and_fails_for_the_rest():
    client = FakeClient()
    context = FakeContext(client)
    with pytest.raises(ModelNotFoundError):
        execute(["rm", "nothing", "smollm2:135m"], context)
    assert client.calls == [("delete", "smollm2:135m")]
    assert context.notes == ["Removed smollm2:135m."]


def test_ps():
    row = shown("ps").splitlines()[1]
    assert re.split(r" {3,}", row) == [
        *("smollm2:135m", "ready", "max on cpu", "850 MB"),
        *("4096", "1 of 4", "2", "forever"),
    ]


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"state": "loading", "phase": "compile"}, "loading: compile, 12 s"),
        ({"leases": 2}, "in use by 2 clients"),
        ({"expires_at": "2020-01-01T00:00:00+00:00"}, "ago"),
    ],
)
def test_ps_says_what_an_engine_does_and_how_long_it_stays(engine, words):
    client = FakeClient()
    client.engines = [{**ENGINE, **engine}]
    assert words in shown("ps", client=client)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("ps",), "No engine is running."),
        (("status",), "No service is running"),
        (("stop",), "No service is running."),
        (("unload",), "No model is loaded."),
    ],
)
def test_without_a_service_nothing_is_started(argv, words):
    assert words in shown(*argv, client=FakeClient(alive=False))


def test_unload_without_a_name_takes_the_only_model():
    client = FakeClient()
    assert shown("unload", client=client) == "Unloaded smollm2:135m."
    assert client.calls == [("unload", "smollm2:135m")]


def test_unload_without_a_name_asks_which_of_several():
    client = FakeClient()
    client.engines = [ENGINE, {**ENGINE, "model": "other"}]
    with pytest.raises(HyperLlamaError, match="Name one, or use --all"):
        shown("unload", client=client)
    assert shown("unload", "--all", client=client) == "Unloaded smollm2:135m, other."


def test_stop_waits_until_the_service_is_gone():
    client = FakeClient()
    assert shown("stop", "--now", client=client) == "The service has ended."
    assert client.calls == [("stop", False)]


def test_status_tells_where_and_what_and_what_differs(monkeypatch):
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "2")
    text = shown("status")
    for words in (
        "a notebook's kernel, process 0",
        "26.7.0, /opt/venv/bin/max",
        "kernel, process 7: smollm2:135m",
        "127.0.0.1:11434",
        "1h; here not set",
        "not set; here 2",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("argv", "cell", "words"),
    [
        (("start", "--in-kernel"), False, "needs a kernel"),
        (("serve", "--stop"), False, "Ctrl-C ends"),
        (("run", "m"), True, "%%llm"),
        (("generate", "m"), True, "prompt is missing"),
        (("bench", "m", "p", "-i", "0"), False, "from 1 up"),
    ],
)
def test_what_fits_only_one_place_says_so_in_the_other(argv, cell, words):
    with pytest.raises(UsageError, match=words):
        shown(*argv, cell=cell)


def test_info_works_with_an_empty_store():
    text = shown("info")
    assert "cores" in text
    assert "0 models" in text


def test_logs_are_read_from_files(own_place):
    assert "There is no log" in shown("logs")
    (own_place / "r" / "service.log").write_text("one\ntwo\nthree\n")
    assert shown("logs", "-n", "2") == "two\nthree"
    (own_place / "r" / "logs").mkdir()
    (own_place / "r" / "logs" / "smollm2_135m.log").write_text("engine\n")
    assert shown("logs", "smollm2:135m") == "engine"


def test_the_page_on_the_commands_is_fresh():
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == module.commands(), "run: make docs"


def test_the_table_brings_nothing_heavy():
    code = (
        "import sys, hyperllama_nb.commands; "
        "heavy = {'httpx', 'aiohttp', 'plotly', 'ipywidgets', 'huggingface_hub', 'gguf', "
        "'tokenizers', 'IPython', 'psutil', 'numpy', 'jinja2'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == ""

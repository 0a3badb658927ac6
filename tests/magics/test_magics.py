"""`%llm` and `%%llm` in a shell without a front end."""

import atexit
import subprocess
import sys

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from hyperllama_nb.commands import UsageError
from hyperllama_nb.commands.options import OPTIONS
from hyperllama_nb.errors import ModelNotFoundError
from tests.client.fakeservice import messages, words

GENERATE, CHAT = "POST /api/generate", "POST /api/chat"


def test_a_cell_asks_the_default_model(service, ask, capsys):
    service.routes[GENERATE] = lambda body: words("Hi", "!", eval_count=2)
    response = ask("", "What {is} $this?\n\n")
    assert service.bodies(GENERATE) == [
        {"model": "smollm2:135m", "prompt": "What {is} $this?\n", "stream": True}
    ]
    assert response.text == "Hi!"
    shown = capsys.readouterr()
    assert shown.out == "Hi!\n"
    assert shown.err == "2 tokens\n"


def test_the_line_shapes_the_request(service, ask, shell):
    service.routes[GENERATE] = lambda body: words("x")
    ask(
        "m:1 -s 'Be brief.' --temperature 0 --max-tokens 9 --seed 4 --stop END --stop STOP "
        "--top-k 3 --top-p 0.5 --num-ctx 2048 -o repeat_last_n 7 --keep-alive 5m -O kept"
    )
    assert service.bodies(GENERATE) == [
        {
            "model": "m:1",
            "prompt": "Hello",
            "system": "Be brief.",
            "options": {
                "temperature": 0, "num_predict": 9, "seed": 4, "stop": ["END", "STOP"],
                "top_k": 3, "top_p": 0.5, "num_ctx": 2048, "repeat_last_n": 7,
            },
            "keep_alive": "5m",
            "stream": True,
        }
    ]  # fmt: skip
    assert shell.user_ns["kept"] is shell.user_ns["_llm"]


def test_configuration_fills_in_what_the_line_leaves_open(service, ask, shell):
    service.routes[GENERATE] = lambda body: words("x")
    shell.run_line_magic("config", "HyperLlamaMagics.model = 'mine'")
    shell.run_line_magic("config", "HyperLlamaMagics.options = {'temperature': 0, 'seed': 1}")
    shell.run_line_magic("config", "HyperLlamaMagics.system = 'Be kind.'")
    shell.run_line_magic("config", "HyperLlamaMagics.keep_alive = '1h'")
    ask("--seed 2")
    ask("-m other --raw")
    first, second = service.bodies(GENERATE)
    assert first["model"] == "mine"
    assert first["options"] == {"temperature": 0, "seed": 2}
    assert (first["system"], first["keep_alive"]) == ("Be kind.", "1h")
    assert second["model"] == "other"
    assert second["raw"] is True
    assert "system" not in second


def test_a_conversation_remembers(service, ask):
    service.routes[CHAT] = lambda body: messages("I am ", "fine.")
    ask("-c a -s System", "How are you?")
    ask("-c a", "And now?")
    ask("-c b", "Who?")
    first, second, third = service.bodies(CHAT)
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert second["messages"] == [
        {"role": "user", "content": "How are you?"},
        {"role": "assistant", "content": "I am fine."},
        {"role": "user", "content": "And now?"},
    ]
    assert len(third["messages"]) == 1


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("--temperatur 0", "did you mean --temperature"),
        ("a b", "unexpected argument 'b'"),
        ("a -m b", "Two models"),
        ("-O not-a-name", "needs the name of a variable"),
        ("--raw -c x", "--raw"),
        ("'open", "quote"),
        ("--temperature hot", "temperature"),
        ("-f pdf", "pdf"),
        ("-O class", "needs the name of a variable"),
        ("a << -O b", "Two variables"),
        ("-o temperatur 0", "did you mean temperature"),
        ("-o zzz 0", "no option 'zzz'"),
        ("--think=often", "invalid choice: 'often'"),
        ("-c a --no-history", "contradict"),
        ("--schema x -f html", "not shown as html"),
        ("-x -f json", "--extract"),
        ("-x -f code", "--extract"),
        ("--bg -f code", "new cell"),
        ("--bg --plot", "--plot"),
        ("--schema nowhere", "no such variable, and no such file"),
    ],
)
def test_a_wrong_line_is_told_in_one_line(shell, line, text):
    with pytest.raises(UsageError) as told:
        shell.run_cell_magic("llm", line, "x")
    [shown] = told.value._render_traceback_()
    assert text.lower() in shown.lower()
    assert shown.startswith("UsageError: ")


def test_an_error_fails_the_cell_and_leaves_the_last_answer(service, ask, shell):
    service.routes[GENERATE] = lambda body: words("x")
    kept = ask("")
    service.routes[GENERATE] = lambda body: (404, [{"error": "no", "code": "model_not_found"}])
    with pytest.raises(ModelNotFoundError) as told:
        ask("nope")
    assert told.value._render_traceback_() == ["ModelNotFoundError: no"]
    assert shell.user_ns["_llm"] is kept


def test_all_of_an_error_is_told_on_demand(service, shell, capsys):
    service.routes[GENERATE] = lambda body: (404, [{"error": "no", "code": "model_not_found"}])
    shell.run_cell("%%llm nope\nx")
    assert capsys.readouterr().out.strip() == "ModelNotFoundError: no"
    shell.run_cell("%tb")
    told = capsys.readouterr().out
    assert "Traceback" in told
    assert "_cell.py" in told


@pytest.mark.parametrize(
    ("line", "think"),
    [
        ("--think m", True),
        ("m --think", True),
        ("--think high m", "high"),
        ("--think=false m", False),
    ],
)
def test_thinking_is_asked_for(service, ask, line, think):
    service.routes[GENERATE] = lambda body: words("x")
    ask(line)
    assert [(body["model"], body["think"]) for body in service.bodies(GENERATE)] == [("m", think)]


def test_every_option_of_ollama_has_a_flag_of_its_name(service, ask):
    service.routes[GENERATE] = lambda body: words("x")
    given = {
        "temperature": 0.5, "top_k": 1, "top_p": 0.5, "min_p": 0.1, "typical_p": 0.9, "seed": 1,
        "num_predict": 5, "num_ctx": 2048, "num_keep": 4, "repeat_last_n": 8,
        "repeat_penalty": 1.1, "presence_penalty": 0.1, "frequency_penalty": 0.2,
    }  # fmt: skip
    ask("m " + " ".join(f"--{name} {value}" for name, value in given.items()))
    ask("m " + " ".join(f"--{name.replace('_', '-')}={value}" for name, value in given.items()))
    ask("m " + " ".join(f"-o {name} {value}" for name, value in given.items()))
    assert [body["options"] for body in service.bodies(GENERATE)] == [given] * 3
    assert set(given) | {"stop", "backend"} <= OPTIONS


def test_an_alias_stands_for_a_model(service, ask, shell):
    service.routes[GENERATE] = lambda body: words("x")
    shell.run_line_magic("config", "HyperLlamaMagics.aliases = {'fast': 'a:1', 'mine': 'fast'}")
    shell.run_line_magic("config", "HyperLlamaMagics.model = 'mine'")
    ask("fast")
    ask("")
    ask("-m other")
    assert [body["model"] for body in service.bodies(GENERATE)] == ["a:1", "a:1", "other"]


def test_help_and_plot_in_a_terminal(service, ask, shell, capsys):
    shell.run_cell_magic("llm", "--help", "x")
    assert "--max-tokens" in capsys.readouterr().out
    service.routes[GENERATE] = lambda body: words("a", "b", eval_count=2)
    ask("--plot --stats")
    shown = capsys.readouterr()
    assert shown.out == "ab\n"
    assert "smollm2:135m: " in shown.err


def test_the_line_magic_runs_the_commands(service, shell, capsys):
    service.routes["GET /api/tags"] = lambda body: [{"models": []}]
    shell.run_line_magic("llm", "list")
    assert "%llm pull" in capsys.readouterr().out
    shell.run_line_magic("llm", "")
    assert "usage: %llm" in capsys.readouterr().out
    with pytest.raises(UsageError, match="status"):
        shell.run_line_magic("llm", "statu")


def test_the_magic_is_loaded_when_it_is_first_used(service, monkeypatch):
    InteractiveShell.clear_instance()
    config = Config({"HistoryManager": {"enabled": False}, "HyperLlamaMagics": {"prewarm": None}})
    config.MagicsManager.lazy_magics = {"llm": "hyperllama_nb"}
    shell = InteractiveShell.instance(config=config)
    service.routes[GENERATE] = lambda body: words("x")
    shell.run_cell_magic("llm", "m", "Hello")
    assert shell.user_ns["_llm"].text == "x"
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()
    InteractiveShell.clear_instance()


def test_the_configuration_can_be_seen_and_set(shell, capsys):
    shell.run_line_magic("config", "HyperLlamaMagics")
    shown = capsys.readouterr().out
    for name in ("model", "aliases", "system", "options", "chat", "keep_alive", "prewarm"):
        assert f"HyperLlamaMagics.{name}=" in shown


def test_loading_the_extension_imports_nothing_heavy():
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell as S;"
        "s = S.instance(); s.run_line_magic('load_ext', 'hyperllama_nb');"
        "s.run_cell_magic('llm', '--help', 'x');"
        "print(sorted({'httpx', 'plotly', 'ipywidgets', 'anywidget', 'aiohttp', 'numpy',"
        " 'huggingface_hub', 'gguf', 'tokenizers'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.splitlines()[-1] == "[]"

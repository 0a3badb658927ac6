"""The console command: exit codes, streams, and what it costs to ask for help."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from hyperllama_nb import __version__, cli, errors
from hyperllama_nb.commands import Context


def console(*argv: str, stdin: str = "", env: dict[str, str] | None = None):
    return subprocess.run(
        [sys.executable, "-m", "hyperllama_nb", *argv],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=env,
    )


def test_the_version():
    assert console("--version").stdout == f"hyperllama {__version__}\n"


def test_help_goes_to_standard_output():
    run = console("--help")
    assert run.returncode == 0
    assert run.stdout.startswith("usage: hyperllama COMMAND")
    assert run.stderr == ""


@pytest.mark.parametrize("argv", [["nothing"], ["show"], ["show", "m", "--zzz"], ["ps", "extra"]])
def test_a_wrong_line_has_exit_code_2_and_says_why_on_standard_error(argv):
    run = console(*argv)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.splitlines()[-1].startswith("hyperllama: ")
    assert "Traceback" not in run.stderr


def raising(error: BaseException) -> Callable[..., None]:
    def call(argv: list[str], context: Context) -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (errors.ModelNotFoundError("There is no x."), 1, "hyperllama: There is no x.\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (ValueError("odd"), 1, "hyperllama: Unexpected ValueError: odd. HYPERLLAMA_DEBUG=1"),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(monkeypatch, capsys, error, code, words):
    monkeypatch.setattr(cli, "execute", raising(error))
    assert cli.main(["x"]) == code
    assert capsys.readouterr().err.startswith(words)


@pytest.mark.parametrize("error", [errors.ModelNotFoundError("no"), ValueError("odd")])
def test_debugging_shows_the_traceback(monkeypatch, error):
    monkeypatch.setenv("HYPERLLAMA_DEBUG", "1")
    monkeypatch.setattr(cli, "execute", raising(error))
    with pytest.raises(type(error)):
        cli.main(["x"])


def test_a_reader_that_goes_away_is_no_error():
    code = (
        "import subprocess, sys; "
        "p = subprocess.Popen([sys.executable, '-m', 'hyperllama_nb', '--help'], "
        "stdout=subprocess.PIPE, stderr=subprocess.PIPE); "
        "p.stdout.close(); sys.stdout.write(p.stderr.read().decode()); sys.exit(p.wait())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (run.returncode, run.stdout, run.stderr) == (141, "", "")

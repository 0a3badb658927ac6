"""Finding MAX: the order of the places, and what is said when there is none."""

import sys
from pathlib import Path

import pytest

from hyperllama_nb.engines.max import MaxBackend, find, setup
from hyperllama_nb.errors import EngineMissingError

PYTHON = sys.executable


def environment(place, version="26.7.0"):
    """Make what looks like an environment with MAX; returns its `max`."""
    bin_ = place / "bin"
    bin_.mkdir(parents=True)
    (bin_ / "python").symlink_to(PYTHON)
    if version:
        name = f"max-{version}.dist-info"
        (place / "lib" / "python3.11" / "site-packages" / name).mkdir(parents=True)
    command = bin_ / "max"
    command.write_text(f"#!{bin_}/python\nprint()\n")
    command.chmod(0o755)
    return command


@pytest.fixture
def nowhere(own_place, monkeypatch):
    """Hide every MAX of this machine."""
    (own_place / "empty").mkdir()
    monkeypatch.setattr(find.sys, "executable", str(own_place / "empty" / "python"))
    monkeypatch.setattr(find, "private_environment", lambda: own_place / "private")
    return own_place


def test_nothing_found_names_the_commands(nowhere):
    with pytest.raises(EngineMissingError) as raised:
        find.find()
    for part in ("pip install", "hyperllama setup-max", "HYPERLLAMA_MAX"):
        assert part in str(raised.value)


def test_the_order_of_the_places(nowhere, monkeypatch):
    private = environment(nowhere / "private")
    assert find.find().path == private
    beside = environment(nowhere / "ours")
    monkeypatch.setattr(find.sys, "executable", str(beside.parent / "python"))
    assert find.find().path == beside
    told = environment(nowhere / "told")
    assert find.find(str(told)).path == told
    named = environment(nowhere / "named")
    monkeypatch.setenv("HYPERLLAMA_MAX", str(named))
    found = find.find(str(told))
    assert (found.path, found.version) == (named, "26.7.0")
    assert found.python == named.parent / "python"


def test_what_a_client_tells_is_used(nowhere):
    told = environment(nowhere / "told")
    backend = MaxBackend()
    with pytest.raises(EngineMissingError):
        backend.available()
    backend.hear_of(str(told))
    assert backend.available().path == told


def test_a_wrong_path_in_the_variable_is_said_and_nothing_stands_in(nowhere, monkeypatch):
    environment(nowhere / "private")
    monkeypatch.setenv("HYPERLLAMA_MAX", str(nowhere / "no"))
    with pytest.raises(EngineMissingError, match="HYPERLLAMA_MAX names"):
        find.find()


def test_another_release_is_passed_over_by_name(nowhere):
    environment(nowhere / "private", "26.5.0")
    with pytest.raises(EngineMissingError, match=r"private environment\) is MAX 26\.5\.0"):
        find.find()


def test_another_program_called_max_is_passed_over(nowhere):
    told = nowhere / "max"
    told.write_bytes(b"\x7fELF")
    told.chmod(0o755)
    with pytest.raises(EngineMissingError, match="not the command of an installed MAX"):
        find.find(str(told))


@pytest.mark.parametrize(
    "text",
    [
        "#!{python}\n",
        "#! {python} \n",
        "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n",
        "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_the_interpreter_is_read_from_the_script(tmp_path, text):
    script = tmp_path / "max"
    script.write_text(text.format(python=sys.executable))
    assert find.interpreter(script) == Path(sys.executable)


def test_setup_makes_an_environment_and_installs(nowhere, monkeypatch):
    ran = []
    monkeypatch.setattr(setup, "private_environment", find.private_environment)
    monkeypatch.setattr(setup, "_run", lambda command, progress: ran.append(command))
    lines = []
    assert setup.setup_max(lines.append) == nowhere / "private" / "bin" / "max"
    assert ran[0][1:3] == ["-m", "venv"]
    assert "max[serve]==26.7.*" in ran[1]
    assert lines


def test_a_setup_that_fails_leaves_nothing_and_says_the_last_words(nowhere, monkeypatch):
    monkeypatch.setattr(setup, "private_environment", find.private_environment)
    monkeypatch.setattr(setup.sys, "executable", "/bin/false")
    with pytest.raises(EngineMissingError, match="/bin/false -m venv"):
        setup.setup_max(lambda _: None)
    assert not (nowhere / "private").exists()

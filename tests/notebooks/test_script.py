"""The script that executes the notebooks: which kernel it takes, and what it leaves out."""

import importlib.util
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

SCRIPT = Path(__file__).parents[2] / "scripts" / "notebooks.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("notebooks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def naming(environment):
    return new_notebook(metadata={"hyperllama": {"environment": environment}})


def test_a_notebook_that_names_no_environment_runs_in_this_one(script):
    assert script.interpreter(new_notebook()) == Path(sys.executable)


def test_a_notebook_runs_in_the_environment_that_it_names(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "ROOT", tmp_path)
    python = tmp_path / ".venv-x" / "bin" / "python"
    (tmp_path / ".venv-x" / "lib" / "python3.11" / "site-packages" / "ipykernel").mkdir(
        parents=True
    )
    python.parent.mkdir()
    python.touch()
    assert script.interpreter(naming(".venv-x")) == python
    manager = script.kernel_of(python)(kernel_name="python3")
    assert manager.format_kernel_cmd()[:2] == [str(python), "-m"]


@pytest.mark.parametrize("made", [False, True])
def test_a_missing_environment_says_how_to_make_it(script, monkeypatch, tmp_path, made):
    monkeypatch.setattr(script, "ROOT", tmp_path)
    if made:
        python = tmp_path / ".venv-x" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.touch()
    with pytest.raises(SystemExit, match=r"\.venv-x, which is missing.*`scripts/clients.sh`"):
        script.interpreter(naming(".venv-x"))


def test_a_live_form_is_not_stored(script):
    data = {script.VIEW: {"model_id": "x"}, "text/plain": "2 models"}
    output = new_output("display_data", data=data)
    notebook = new_notebook(cells=[new_code_cell("models", outputs=[output])])
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    stored = script.tidy(notebook)
    assert stored.cells[0].outputs[0].data == {"text/plain": "2 models"}
    assert "widgets" not in stored.metadata

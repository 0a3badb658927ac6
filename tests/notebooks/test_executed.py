"""Notebooks that no one looks at: executed by nbclient and papermill, exported by nbconvert."""

import json

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter, MarkdownExporter
from nbformat.v4 import new_code_cell, new_notebook

from hyperllama_nb.testing import Script
from tests.service.hosting import hosting

pytestmark = pytest.mark.slow

ANSWER = Script(pieces=["The **Loire** ", "is the longest river ", "of France."], delay=0.05)

KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}

PATIENCE = 60


@pytest.fixture(scope="module")
def service():
    with hosting("process", [ANSWER]) as running:
        yield running


@pytest.fixture
def own_service(service, monkeypatch):
    """Let this test's kernels find the module's service."""
    monkeypatch.setenv("HYPERLLAMA_RUNTIME_DIR", str(service.socket.parent))


@pytest.fixture(scope="module")
def executed(service):
    """Return a notebook with one cell of each kind that shows something, after nbclient."""
    cells = (
        "%load_ext hyperllama_nb",
        '%%llm tiny -O found\nWhich is "the longest river" of {a, b}?',
        "%llm ps",
        "%llm load tiny",
        "%%llm tiny --plot\nAgain.",
        "found.text",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERLLAMA_RUNTIME_DIR", str(service.socket.parent))
        return execute(*cells)


def written(*cells):
    return new_notebook(
        cells=[new_code_cell(text) for text in cells], metadata={"kernelspec": KERNEL}
    )


def execute(*cells):
    """Execute cells as `jupyter nbconvert --execute` does, the state of widgets included."""
    notebook = written(*cells)
    NotebookClient(notebook, timeout=PATIENCE).execute()
    return notebook


def test_an_answer_is_kept_once_with_its_statistics(executed):
    [output] = executed.cells[1].outputs
    assert output["output_type"] == "display_data"
    assert output["data"]["text/plain"].startswith("The **Loire** is the longest river of France.")
    assert output["data"]["text/markdown"].endswith("tokens/s</small>")
    kept = output["metadata"]["hyperllama"]
    assert kept["usage"]["output_tokens"] == 3
    assert kept["finish_reason"] == "stop"


def test_a_command_keeps_its_result_and_not_its_progress(executed):
    assert "tiny" in json.dumps(executed.cells[2].outputs)
    [loaded] = executed.cells[3].outputs
    assert "is ready" in loaded["data"]["text/plain"]


def test_a_plot_is_kept_as_a_figure(executed):
    answer, figure = executed.cells[4].outputs
    assert "text/markdown" in answer["data"]
    assert {"image/svg+xml", "text/plain"} <= figure["data"].keys()
    assert not any(
        "application/vnd.jupyter.widget-view+json" in output.get("data", {})
        for cell in executed.cells
        for output in cell.outputs
    )


@pytest.mark.parametrize("exporter", [HTMLExporter, MarkdownExporter])
def test_an_export_has_the_answers(executed, exporter):
    text, _ = exporter().from_notebook_node(executed)
    for part in ("Loire", "is the longest river of France.", "tokens/s", "tiny"):
        assert part in text
    assert "Output()" not in text


def test_a_failed_cell_ends_the_run(own_service):
    with pytest.raises(CellExecutionError) as raised:
        execute("%load_ext hyperllama_nb", "%%llm no-such-model\nHi", "reached = True")
    assert raised.value.ename == "ModelNotFoundError"
    assert "no-such-model" in raised.value.evalue


def test_papermill_fills_in_parameters(service, own_service, tmp_path):
    defaults = "river = 'Seine'"
    parameters = new_code_cell(defaults, metadata={"tags": ["parameters"]})
    notebook = written("%load_ext hyperllama_nb", "%%llm tiny -O found\nTell of the {river}.")
    notebook.cells.insert(0, parameters)
    source, result = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(notebook, source)
    papermill.execute_notebook(
        source, result, {"river": "Loire"}, kernel_name="python3", progress_bar=False
    )
    cells = nbformat.read(result, as_version=4).cells
    [output] = cells[-1].outputs
    assert "tokens/s" in output["data"]["text/plain"]
    asked = service.generate("Tell of the Loire.").json()["prompt_eval_count"]
    assert output["metadata"]["hyperllama"]["usage"]["prompt_tokens"] == asked

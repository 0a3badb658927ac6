"""What a monitor leaves in a notebook that a program executes, and in its exports."""

import json
from textwrap import dedent

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from hyperllama_nb.testing import Script
from tests.service.hosting import hosting

pytestmark = pytest.mark.slow

CELLS = (
    """
    import time
    from hyperllama_nb import widgets
    from hyperllama_nb.client import Client
    left = widgets.Monitor(interval=0.2)
    left
    """,
    """
    with widgets.Monitor(interval=0.2) as monitor:
        answer = Client(start=False).generate("tiny", "x", options={"num_predict": 50})
        time.sleep(0.5)
    """,
    "[row['decode'] for row in monitor.samples if row['decode']] != []",
)


def test_an_executed_notebook_keeps_pictures_and_no_widgets():
    cells = [nbformat.v4.new_code_cell(dedent(cell).strip()) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with hosting("process", [Script(pieces=["a "], repeat=10**6, delay=0.01)]):
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    watched, worked, told = (cell.outputs for cell in notebook.cells)
    assert told[0].data["text/plain"] == "True"
    for (output,) in (watched, worked):
        assert output.data["text/plain"].startswith("Monitor of all models, ")
        assert output.data["image/svg+xml"].startswith("<svg ")
        assert "application/vnd.plotly.v1+json" in output.data
        assert "application/vnd.jupyter.widget-view+json" not in output.data
        assert len(json.dumps(output)) < 100_000
    # the monitor that nobody stopped shows what later cells did
    assert "decode, tokens/s" in watched[0].data["text/plain"]
    assert "widgets" not in notebook.metadata
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert page.count("data:image/svg+xml") + page.count("<svg ") >= 2

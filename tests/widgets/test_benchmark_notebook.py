"""What a benchmark leaves in a notebook that a program executes, and in its exports."""

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
    from hyperllama_nb.widgets import Benchmark
    b = Benchmark("tiny", ["fake", "fake"], concurrency=[2], requests=4, blocks=3,
                  input_tokens=8, output_tokens=4)
    b
    """,
    "b.start().wait()",
    "b",
)


def test_an_executed_notebook_keeps_the_pictures_and_the_table():
    cells = [nbformat.v4.new_code_cell(dedent(cell).strip()) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with hosting("process", [Script(delay=0.005)]):
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    first, ran, last = (cell.outputs for cell in notebook.cells)
    assert ran == []
    for outputs in (first, last):
        view, kept = outputs
        assert "needs its kernel" in view.data["text/plain"]
        assert "fake / fake #2" in kept.data["text/plain"]
        assert "Fairness: " in kept.data["text/plain"]
        assert 'src="data:image/svg+xml;base64,' in kept.data["text/html"]
        assert len(json.dumps(kept)) < 100_000
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert page.count('alt="Ratios with their intervals"') == 2

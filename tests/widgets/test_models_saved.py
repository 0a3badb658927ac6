"""What a notebook that was executed without a front end keeps of the models widget."""

import pytest

from tests.service.hosting import hosting

pytestmark = pytest.mark.slow

CELLS = (
    "from hyperllama_nb import widgets\nmodels = widgets.Models()\nmodels",
    "models.load('tiny').wait()\nmodels.pin('tiny').wait()",
    "models.finish()\nprint(models)",
)


def test_the_saved_table_tells_the_last_state():
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    with hosting("thread"):
        NotebookClient(book, timeout=120, kernel_name="python3", store_widget_state=False).execute()
    outputs = book.cells[0].outputs
    kept = outputs[-1]["data"]
    assert "tiny:latest" in kept["text/plain"]
    assert "loaded, pinned" in kept["text/plain"]
    assert "<caption>Models, 20" in kept["text/html"]
    assert not any("widget-view" in kind for output in outputs for kind in output["data"])
    assert book.cells[2].outputs[0]["text"] == "<Models 1 in the store, 1 loaded>\n"
    page, _ = HTMLExporter().from_notebook_node(book)
    assert "loaded, pinned" in page
    assert len(nbformat.writes(book)) < 20_000

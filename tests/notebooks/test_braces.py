"""A notebook full of braces that is run three times: its conversation holds each turn once."""

import json

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from hyperllama_nb.testing import Script
from tests.service.hosting import hosting

pytestmark = pytest.mark.slow

RUNS = 3

SETUP = """\
%load_ext hyperllama_nb
x, name, rows = 3, "Ada", [{"a": 1}]
"""

PROMPTS = [
    'Is this JSON? {"x": 1, "name": {"first": "Ada", "tags": [{}, {"x": null}]}}',
    "What does f\"{x!r} {x:>3} {name.upper()} {rows[0]['a']:.2f} {{x}}\" print?",
    r"Typeset \frac{x}{x} + \sqrt[3]{x}, e^{x} and \begin{name}x\end{name}.",
    "def f(x):\n    return {x: name for x in rows if x} | {**{}, 'x': {1, 2}}\n\nExplain it.",
    "Fill in {{ name }} and {% for x in rows %}{{ x.a }}{% endfor %}: '{:>{width}}' '%(x)s'",
    "Empty {} and { x } and open {x and closed x} and $x and ${UNKNOWN} and {unknown}.",
]
"""All of it is sent as it is, though there are variables with these names."""

SAID = """\
import json
import hyperllama_nb as hl

print(json.dumps(hl.conversations["braces"].messages))
"""


def notebook_of(options=""):
    cells = [new_code_cell(SETUP), new_code_cell("limit = 2")]
    cells += [new_code_cell(f"%%llm tiny -c braces {options}\n{text}") for text in PROMPTS]
    cells += [new_code_cell(f"%%llm tiny -c braces {options}\nName {{limit}} of {{rows[0]}}.")]
    return new_notebook(cells=cells)


def said_after(notebook, runs):
    """Run the cells several times in one kernel, and return the messages after each time.

    The kernel is told the ids of the cells, as JupyterLab tells them.
    """
    client = NotebookClient(notebook, timeout=120, store_widget_state=False)
    said = []
    with client.setup_kernel():
        for _ in range(runs):
            for index, cell in enumerate(notebook.cells):
                client.kc.session.metadata = {"cellId": cell.id}
                client.execute_cell(cell, index)
            notebook.cells.append(new_code_cell(SAID))
            client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
            said.append(json.loads(notebook.cells.pop().outputs[0].text))
    return said


def test_three_runs_leave_each_turn_once_and_as_it_was_written():
    answers = [Script(pieces=["Yes, {x} ", "and {name}: ", '{"a": {}}'])]
    with hosting("process", answers) as service:
        first, second, third = said_after(notebook_of(), RUNS)
        asked = service.requests()
    assert first == second == third
    assert [message["role"] for message in third] == ["user", "assistant"] * (len(PROMPTS) + 1)
    assert [message["content"] for message in third[::2]] == [*PROMPTS, "Name 2 of {'a': 1}."]
    assert {message["content"] for message in third[1::2]} == {'Yes, {x} and {name}: {"a": {}}'}
    # What a cell sends in a later run is what it sent in the first one: no turn comes twice.
    prompts = [request["prompt"] for request in asked]
    each = len(PROMPTS) + 1
    assert len(prompts) == RUNS * each
    assert prompts[:each] == prompts[each : 2 * each] == prompts[2 * each :]

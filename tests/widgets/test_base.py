"""What every widget leaves in a notebook, and how its files are joined."""

import threading

import pytest

from hyperllama_nb.errors import RequestError
from hyperllama_nb.widgets import _base
from hyperllama_nb.widgets._base import Widget, css, esm


class Counter(Widget):
    _esm = esm("base.js")
    _css = css()
    count = 0

    def _caption(self):
        return f"counted to {self.count}"

    def _text(self):
        return f"Count: {self.count}"

    def _html(self):
        return f"<figure>{self.count}</figure>"

    def _received(self, message):
        if message["type"] == "wrong":
            raise RequestError("That is wrong.")
        self.count += 1


@pytest.fixture
def published(monkeypatch):
    """Return what a kernel would publish."""
    found = []

    def publish(bundle, _metadata, display_id, update=False):
        found.append((display_id, update, bundle))

    monkeypatch.setattr(_base, "in_kernel", lambda: True)
    monkeypatch.setattr(_base, "display_bundle", publish)
    return found


def test_a_display_is_a_view_and_a_form_that_is_kept(published):
    widget = Counter()
    widget._ipython_display_()
    (view_id, _, view), (kept_id, _, kept) = published
    assert view_id != kept_id
    assert "application/vnd.jupyter.widget-view+json" in view
    assert "needs its kernel" in view["text/plain"]
    assert kept["text/plain"] == "Count: 0"
    assert f'class="hl-kept-{widget._kept_id}"' in kept["text/html"]
    widget._refresh()
    assert len(published) == 2
    widget._handle_custom_msg({"type": "more"}, [])
    widget._refresh()
    assert published[2][:2] == (kept_id, True)
    assert published[2][2]["text/plain"] == "Count: 1"
    widget.close()


def test_a_widget_that_has_ended_is_its_static_form(published):
    widget = Counter()
    widget._ipython_display_()
    widget.count = 5
    widget.close()
    widget.finish()
    (_, _, kept), (view_id, update, view) = published[2:]
    assert kept["text/plain"] == "Count: 5"
    assert (view_id, update) == (published[0][0], True)
    assert view.keys() == {"text/plain", "text/html"}
    assert "has ended" in view["text/plain"]
    widget._tell("anything")
    widget._ipython_display_()
    assert published[-1][2]["text/plain"] == "Count: 5"
    assert widget._repr_mimebundle_()[0].keys() == {"text/plain", "text/html"}
    assert repr(widget) == "<Counter counted to 5>"


def test_one_output_has_all_forms():
    widget = Counter()
    bundle, _ = widget._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "text/html"} < bundle.keys()
    assert bundle["text/plain"] == "Count: 0"
    widget.close()


def test_an_error_goes_back_to_the_view(monkeypatch):
    widget = Counter()
    told = []
    monkeypatch.setattr(widget, "send", told.append)
    widget._handle_custom_msg({"type": "wrong"}, [])
    assert told == [{"type": "error", "message": "That is wrong."}]
    widget.close()


def test_work_runs_in_a_thread_that_bears_a_name():
    widget = Counter()
    names = []
    work = widget._start(lambda: names.append(threading.current_thread().name), name="work")
    work.join()
    assert names == ["hyperllama-work"]
    widget.close()


def test_modules_are_joined_once_and_import_nothing():
    text = esm("chat.js")
    assert "import {" not in text
    assert text.count("export function h(") == 1
    assert text.index("function parseInline") < text.index("function parseMarkdown")
    assert css("chat.css").startswith(css())

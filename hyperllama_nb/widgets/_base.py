"""What the widgets share: their files, their forms in a saved notebook, and how they speak."""

import re
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import anywidget
from traitlets import Unicode

from hyperllama_nb.display.cells import thread_here
from hyperllama_nb.display.sinks import display_bundle, in_kernel, new_display_id
from hyperllama_nb.errors import HyperLlamaError

_STATIC = files("hyperllama_nb.widgets") / "static"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)


def esm(name: str) -> str:
    """Return a module of `static/` with the modules that it imports from there, as one.

    A front end gets the text without a place that a relative import could lead from. Each module
    is taken once, so that their top-level names must differ.
    """
    seen: set[str] = set()

    def read(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        text = _IMPORT.sub(lambda match: read(match[1]), _STATIC.joinpath(name).read_text("utf-8"))
        return f"{text.rstrip()}\n\n"

    return read(name)


def css(*names: str) -> str:
    """Return the style that the widgets share, and these files of `static/` after it."""
    texts = (_STATIC.joinpath(name).read_text("utf-8") for name in ("base.css", *names))
    return "\n".join(texts)


class Widget(anywidget.AnyWidget):
    """A widget that leaves something true in the saved notebook.

    A subclass sets `_esm = esm("name.js")` and `_css = css("name.css")`, says what it is and what
    it shows in `_caption`, `_text` and `_html`, and takes the front end's messages in `_received`.

    Displaying it makes two outputs: the live view, which no file can keep, and below it the kept
    form, as text and HTML. `hideKept` of `static/base.js` hides the kept form while there is a
    view. `_refresh` brings it up to date; `finish` ends the view and leaves the kept form.
    """

    _kept_id = Unicode().tag(sync=True)
    _ended = True
    """Whether there can be no live view; a widget that is still being made has none, either."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._view_id = new_display_id()
        self._shown = False
        self._kept: dict[str, str] = {}
        super().__init__(_kept_id=new_display_id())
        self._ended = False
        self.on_msg(self._handle)

    def finish(self) -> None:
        """End the live view and leave the static form in its place, wherever it was displayed."""
        if self._ended:
            return
        with self._lock:
            # the interpreter may be on its way out: a widget is closed when it is dropped, too
            if self._shown and in_kernel() and not sys.is_finalizing():
                self._refresh()
                display_bundle(self._line("has ended"), {}, self._view_id, update=True)
            self._ended = True
        super().close()
        # ipywidgets takes the forms of a closed widget away, and ours are as true as before
        self.__dict__.pop("_repr_mimebundle_", None)

    def close(self) -> None:
        """Do what `finish` does: a closed widget is not an empty place."""
        self.finish()

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        """Return the caption, in one line."""
        return f"<{type(self).__name__} {self._caption()}>"

    def _caption(self) -> str:
        """Return what the widget is and how it stands, in one line."""
        raise NotImplementedError

    def _text(self) -> str:
        """Return what the widget shows, as text."""
        raise NotImplementedError

    def _html(self) -> str:
        """Return what the widget shows, as HTML without scripts, all data in it escaped."""
        raise NotImplementedError

    def _received(self, message: Mapping[str, Any]) -> None:
        """Take a message of the front end; a HyperLlamaError is sent back as an `error`."""
        raise NotImplementedError

    def _tell(self, type: str, **fields: Any) -> None:  # noqa: A002 - the message's own field
        """Send a message to all views, from any thread; nothing happens after the end."""
        with self._lock:
            if not self._ended:
                self.send({"type": type, **fields})

    def _refresh(self) -> None:
        """Bring the kept form up to date; costs nothing when it has not changed."""
        with self._lock:
            if not self._shown or not in_kernel():
                return
            kept = self._static()
            if kept != self._kept:
                self._kept = kept
                display_bundle(kept, {}, self._kept_id, update=True)

    def _start(self, work: Callable[..., object], *args: Any, name: str) -> threading.Thread:
        """Run `work` in a thread whose output goes where that of the caller goes."""
        thread = thread_here(work, *args, name=name)
        thread.start()
        return thread

    def _line(self, what: str) -> dict[str, str]:
        line = f"{type(self).__name__}: the live view {what}."
        return {"text/plain": line, "text/html": f"<p>{line}</p>"}

    def _static(self) -> dict[str, str]:
        # the class is what the live view finds the kept form by
        html = f'<div class="hl-kept-{self._kept_id}">{self._html()}</div>'
        return {"text/plain": self._text(), "text/html": html}

    def _repr_mimebundle_(self, **_: Any) -> Any:
        """Return the view with text and HTML, for what shows the widget in one output."""
        static = {"text/plain": self._text(), "text/html": self._html()}
        if self._ended:
            return static, {}
        bundle, metadata = super()._repr_mimebundle_() or ({}, {})
        return {**bundle, **static}, metadata

    def _ipython_display_(self) -> None:
        with self._lock:
            kept = self._static()
            if not in_kernel() or self._ended:
                display_bundle(kept, {}, self._kept_id)
                return
            view, metadata = super()._repr_mimebundle_() or ({}, {})
            # in a file that is opened without the kernel, this is all that is left of the view
            line = self._line("needs its kernel; what it showed last is below")
            display_bundle({**view, **line}, metadata, self._view_id)
            display_bundle(kept, {}, self._kept_id)
            self._shown, self._kept = True, kept

    def _handle(self, _widget: object, content: Any, _buffers: object) -> None:
        try:
            self._received(content)
        except HyperLlamaError as error:
            self._tell("error", message=str(error))

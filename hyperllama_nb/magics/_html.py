"""HTML that a model wrote: shown in the page if it is plain, in a frame of its own if not."""

from html import escape
from html.parser import HTMLParser

_TAG_NAMES = (
    "a abbr b blockquote br caption cite code col colgroup dd del details dfn div dl dt em "
    "figcaption figure h1 h2 h3 h4 h5 h6 hr i ins kbd li mark ol p pre q s samp section small "
    "span strong sub summary sup table tbody td tfoot th thead tr u ul var"
)
_ATTRIBUTE_NAMES = "align class colspan dir headers href lang open rowspan scope start title valign"
_TAGS = frozenset(_TAG_NAMES.split())
_ATTRIBUTES = frozenset(_ATTRIBUTE_NAMES.split())

_POLICY = (
    "default-src 'none'; img-src data:; font-src data:; media-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
"""What a frame may do: draw and compute. It loads and sends nothing."""


def shown(html: str) -> str:
    """Return the HTML for a cell's output.

    A front end trusts what a cell displays, and a script in it could run code in the kernel. So
    only structure and text stand in the page itself; anything else is put into a frame without an
    origin and without a network.

    >>> shown("<p>Hello</p>")
    '<p>Hello</p>'
    >>> "sandbox" in shown("<p onclick='x()'>Hello</p>")
    True
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    if reader.plain:
        # Written anew: a browser must find in it what the reader found, and nothing else.
        return "".join(reader.parts)
    page = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">{html}'
    return (
        f'<iframe sandbox="allow-scripts" srcdoc="{escape(page)}" title="HTML of the answer" '
        'style="width: 100%; height: 400px; border: 0; resize: vertical"></iframe>'
    )


class _Reader(HTMLParser):
    """Collect structure and text, and notice anything beyond."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.plain = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a tag."""
        if tag not in _TAGS or not all(map(self._is_plain, attrs)):
            self.plain = False
        written = "".join(f' {name}="{escape(value or "")}"' for name, value in attrs)
        self.parts.append(f"<{tag}{written}>")

    def handle_endtag(self, tag: str) -> None:
        """Take the end of a tag."""
        self.parts.append(f"</{tag}>" if tag in _TAGS else "")

    def handle_data(self, data: str) -> None:
        """Take a text."""
        self.parts.append(escape(data, quote=False))

    def handle_comment(self, data: str) -> None:
        """Leave out a comment."""

    def handle_decl(self, decl: str) -> None:  # noqa: ARG002
        """Notice a document: it has a page of its own."""
        self.plain = False

    def _is_plain(self, attribute: tuple[str, str | None]) -> bool:
        name, value = attribute
        if name == "href":
            return (value or "").lower().startswith(("http://", "https://", "#"))
        return name in _ATTRIBUTES

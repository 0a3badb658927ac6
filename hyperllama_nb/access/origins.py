"""The Origin header: which web pages may ask, which is none unless they are named."""

import re
from collections.abc import Iterable

from hyperllama_nb.errors import InvalidOptionError

_ORIGIN = re.compile(r"\*|null|[a-z*][a-z0-9+.*-]*://[^/?#@\s]+")


class Origins:
    """The web pages that may read answers: `https://app.example`, `http://localhost:*`, `*`.

    `*` stands for any text that is no slash; a lone one allows every page.

    >>> origins = Origins(["http://localhost:*", "vscode-webview://*"])
    >>> origins.allow("http://localhost:3000"), origins.allow("http://localhost.evil.example")
    (True, False)
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Take origins; raises InvalidOptionError for what is none."""
        self._patterns = []
        for name in names:
            # Browsers send scheme and host in lower case.
            text = name.strip().lower().removesuffix("/")
            if not _ORIGIN.fullmatch(text):
                raise InvalidOptionError(
                    f"{name!r} is not an origin (OLLAMA_ORIGINS). Write a scheme, a host and, "
                    "where it is not the usual one, a port: https://app.example, "
                    "http://localhost:*, or * for every page."
                )
            pattern = re.escape(text).replace(r"\*", "[^/]*") if text != "*" else ".*"
            self._patterns.append(re.compile(pattern, re.DOTALL))

    def allow(self, origin: str) -> bool:
        """Tell whether the page of this Origin header may ask."""
        return any(pattern.fullmatch(origin.lower()) for pattern in self._patterns)

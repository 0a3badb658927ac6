"""What each request at the door goes through before its body is read, and how it is refused."""

import contextlib
import math
import re
import secrets
from http.client import responses
from typing import Any
from urllib.parse import unquote

from jupyter_server.auth import User
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.extension.handler import ExtensionHandlerMixin
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.iostream import StreamClosedError

from hyperllama_nb.access.callers import Caller
from hyperllama_nb.access.keys import KeyStore
from hyperllama_nb.access.limits import MAX_BODY_BYTES
from hyperllama_nb.errors import HyperLlamaError, TooLargeError
from hyperllama_nb.serverextension import headers, identity, words

PREFIX = "hyperllama"

LINGER_BYTES = 1 << 20
LINGER_SECONDS = 10.0
"""How much of a body is read, and for how long, after its request was refused.

A connection that is closed with bytes unread is reset, and the client never sees the answer.
"""

_SLACK = LINGER_BYTES + (1 << 16)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

_HIDDEN = re.compile(r"(?is)//|/admin(/|$)|(^|.*/)\.\.?(/|$)|.*[\\\x00-\x1f\x7f]")
"""Paths that lead nowhere: this user's private routes, and ways to write them otherwise."""


class AdmittingHandler(ExtensionHandlerMixin, APIHandler):
    """Settles who asks and for how much; a subclass answers `_caller` unless it is `_refused`.

    A subclass reads the body piece by piece: `prepare` runs before it.
    """

    def initialize(self, name: str, keys: KeyStore, upload_limit: int) -> None:
        """Take what the application shares between its requests."""
        super().initialize(name)
        self._keys, self._upload_limit = keys, upload_limit
        prefix = url_path_join(self.base_url, PREFIX)
        self._path = self.request.path[len(prefix) :] or "/"
        self._caller: Caller | None = None
        self._limit = MAX_BODY_BYTES
        self._refused = False
        # Whoever polls what is loaded does not use the server; `finish` reads this.
        self._track_activity = self.request.method not in ("GET", "HEAD", "OPTIONS")

    def set_default_headers(self) -> None:
        """Add the request's id, of errors too."""
        super().set_default_headers()
        if not hasattr(self, "_id"):
            given = self.request.headers.get(headers.REQUEST_ID, "")
            self._id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        self.set_header(headers.REQUEST_ID, self._id)

    def set_cookie(self, *args: Any, **kwargs: Any) -> None:
        """Set none: the door logs nobody in."""

    def set_cors_headers(self) -> None:
        """Let pages of other origins read answers only where the server names the origins."""
        if self.allow_origin or self.allow_origin_pat:
            super().set_cors_headers()

    async def prepare(self) -> None:  # type: ignore[override]
        """Settle who asks, and for how much, before the body is read."""
        try:
            if not self.check_host():
                self.current_user = self._jupyter_current_user = None
                raise identity.foreign_host(self)
            if self._is_preflight():
                self.current_user = self._jupyter_current_user = None
                self.set_cors_headers()
                return
            self._caller = await self._admit()
            if _HIDDEN.match(unquote(self._path)):
                await self._refuse(words.plain_refusal(404, "404 page not found", self._path))
                return
            self._limit_body()
        except HyperLlamaError as error:
            if not self._finished:  # an identity provider may have answered by itself
                await self._refuse(words.refusal(error, self._path))

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ARG002
        """Answer what Tornado or a mistake of ours refuses, in the form of all errors."""
        message = f"{status_code} {responses.get(status_code, 'unknown').lower()}"
        if status_code >= 500:
            message = (
                "The Jupyter server failed unexpectedly at its door to the engine service. Its "
                "log has the details."
            )
        self._say(words.plain_refusal(status_code, message, self._path))
        self.set_header("Connection", "close")  # the body may be unread
        self.finish()

    def leave(self) -> None:
        """Give up what a request holds that is refused in the middle."""

    async def _admit(self) -> Caller:
        """Return who asks; raises AuthenticationError or ForbiddenError."""
        method, path = str(self.request.method), unquote(self._path)
        text = identity.key_of(self)
        if text is None:
            try:
                await JupyterHandler.prepare(self)
                if not self.check_origin():
                    raise web.HTTPError(404)
            except web.HTTPError as error:
                raise identity.refusal(self, error) from None
            return await identity.user_of(self, method, path)
        caller = identity.holder(self._keys, text)
        # Not for Jupyter's checks, which a key does not pass: for its log and its last activity.
        self.current_user = self._jupyter_current_user = User(caller.id)
        self.set_cors_headers()
        identity.check_key(caller, method, path)
        return caller

    def _is_preflight(self) -> bool:
        """Tell whether a browser asks what a page may ask; it sends no credential with that."""
        asked = "Access-Control-Request-Method" in self.request.headers
        named = bool(self.allow_origin or self.allow_origin_pat)
        return self.request.method == "OPTIONS" and asked and named

    def _limit_body(self) -> None:
        """Refuse a body that is announced to be too long; raises TooLargeError."""
        if self.request.method == "POST" and self._path.startswith("/api/blobs/"):
            self._limit = self._upload_limit
        # Tornado's own limit answers without words: it is left for what follows a refusal.
        self.request.connection.set_max_body_size(self._limit + _SLACK)  # type: ignore[union-attr]
        if self._announced() > self._limit:
            raise self._too_large()

    def _announced(self) -> float:
        """Return the length of the body in bytes; not a number where the request does not tell."""
        length = self.request.headers.get("Content-Length", "")
        if length.isascii() and length.isdecimal():
            return float(length)
        return math.nan if length or "Transfer-Encoding" in self.request.headers else 0.0

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"The request's body is larger than {self._limit} bytes. Send less, or upload files "
            "to /api/blobs, whose limit is HyperLlamaApp.upload_limit."
        )

    async def _refuse(self, refusal: words.Refusal) -> None:
        """Answer at once, and let the client send the rest of a body that is not too long."""
        self._refused = True
        self.leave()
        self._say(refusal)
        asked = "Expect" in self.request.headers
        if asked or not self._announced() <= LINGER_BYTES:
            self.set_header("Connection", "close")
        if asked:
            # Whoever asks whether to send the body sends none after this.
            self.finish()
            return
        self.request.connection.set_body_timeout(LINGER_SECONDS)  # type: ignore[union-attr]
        with contextlib.suppress(StreamClosedError):
            await self.flush()

    def _say(self, refusal: words.Refusal) -> None:
        self.set_status(refusal.status)
        for name, value in refusal.headers.items():
            self.set_header(name, value)
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(len(refusal.body)))
        self.write(refusal.body)

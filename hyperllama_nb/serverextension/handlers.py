"""The one handler of the door: who asks is settled here, the rest passes byte for byte."""

import re
import secrets
from http.client import responses
from typing import Any
from urllib.parse import unquote

from jupyter_server.auth import User
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.extension.handler import ExtensionHandlerMixin
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.iostream import StreamClosedError

from hyperllama_nb.access.callers import Caller
from hyperllama_nb.access.keys import KeyStore
from hyperllama_nb.access.limits import MAX_BODY_BYTES
from hyperllama_nb.errors import HyperLlamaError, ServiceError, TooLargeError
from hyperllama_nb.serverextension import headers, identity, metrics, words
from hyperllama_nb.serverextension.passing import BrokenError, Exchange, Head
from hyperllama_nb.serverextension.reaching import Way

PREFIX = "hyperllama"

LINGER_BYTES = 1 << 20
LINGER_SECONDS = 10.0
"""How much of a body is read, and for how long, after its request was refused.

A connection that is closed with bytes unread is reset, and the client never sees the answer.
"""

GONE = 499
"""The status under which an answer is counted whose client went away."""

_SLACK = LINGER_BYTES + (1 << 16)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

_HIDDEN = re.compile(r"(?is)//|/admin(/|$)|(^|.*/)\.\.?(/|$)|.*[\\\x00-\x1f\x7f]")
"""Paths that lead nowhere: this user's private routes, and ways to write them otherwise."""


@web.stream_request_body
class DoorHandler(ExtensionHandlerMixin, APIHandler):
    """Passes a request to the service and its answer back, whatever the verb and the path.

    Tornado calls `prepare` before it reads the body, `data_received` for each piece of it, and
    the verb's method when it is whole.
    """

    def initialize(self, name: str, way: Way, keys: KeyStore, upload_limit: int) -> None:
        """Take what the application shares between its requests."""
        super().initialize(name)
        self._way, self._keys, self._upload_limit = way, keys, upload_limit
        prefix = url_path_join(self.base_url, PREFIX)
        self._path = self.request.path[len(prefix) :] or "/"
        self._exchange: Exchange | None = None
        self._caller: Caller | None = None
        self._limit = MAX_BODY_BYTES
        self._received = self._dropped = 0
        self._refused = self._gone = self._counted = False
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
            await self._refuse(words.refusal(error, self._path))

    async def data_received(self, chunk: bytes) -> None:
        """Pass a piece of the body on; of a refused request, drop it."""
        if self._refused:
            self._dropped += len(chunk)
            if self._dropped > LINGER_BYTES and not self._finished:
                self.finish()
            return
        self._received += len(chunk)
        try:
            if self._received > self._limit:
                raise self._too_large()
            exchange = await self._reach()
            await exchange.send(chunk)
        except HyperLlamaError as error:
            await self._refuse(words.refusal(error, self._path))
            return
        if exchange.deaf:
            # The service has answered without the rest of the body, of which there may be much.
            self._refused = True
            await self._answer()

    # `prepare` has refused whom nobody knows: a key is no user of Jupyter's, whose own check
    # behind these methods would let nobody in with one.
    @allow_unauthenticated
    async def get(self) -> None:
        """Pass the request on; of a refused one, nothing is left to do."""
        if self._refused:
            return
        try:
            await self._reach()
        except HyperLlamaError as error:
            self._say(words.refusal(error, self._path))
            return
        await self._answer()

    head = post = put = patch = delete = get

    @allow_unauthenticated
    async def options(self) -> None:  # type: ignore[override]
        """Tell a page what it may ask, or pass the request on."""
        if self._caller is None and not self._refused:
            APIHandler.options(self)
            self.set_status(204)
            return
        await self.get()

    def on_connection_close(self) -> None:
        """End the work for a client that is gone."""
        self._gone = True
        super().on_connection_close()
        self._leave(GONE)

    def on_finish(self) -> None:
        """Count the answer."""
        self._leave(GONE if self._gone else self.get_status())

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
        length = self.request.headers.get("Content-Length", "0")
        if length.isdecimal() and int(length) > self._limit:
            raise self._too_large()

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"The request's body is larger than {self._limit} bytes. Send less, or upload files "
            "to /api/blobs, whose limit is HyperLlamaApp.upload_limit."
        )

    async def _reach(self) -> Exchange:
        """Return the exchange with the service, beginning it; raises ServiceError."""
        if self._exchange is None:
            exchange = await self._way.open()
            if self._gone:
                self._way.close(exchange)
                raise ServiceError("The client is gone.")
            self._exchange = exchange
            assert self._caller is not None, "prepare has found who asks"
            raw = self.request.uri or ""
            path = self._path + ("?" if "?" in raw else "")
            target = path + headers.without_secrets(self.request.query)
            given = headers.to_service(self.request.headers, self._caller, self._id)
            exchange.begin(str(self.request.method), target.removesuffix("?"), given)
        return self._exchange

    async def _answer(self) -> None:
        """Pass the service's answer on, each piece as it comes."""
        exchange = await self._reach()
        try:
            await exchange.end()
            self._begin(await exchange.head())
            await self.flush()
            async for piece in exchange.pieces():
                self.write(piece)
                await self.flush()
        except StreamClosedError:
            self._gone = True
        except BrokenError:
            if not self._gone:
                self._break_off()

    def _begin(self, head: Head) -> None:
        self.set_status(head.status, head.reason)
        self.clear_header("Content-Type")
        for name, value in headers.from_service(head.headers):
            self.set_header(name, value)

    def _break_off(self) -> None:
        """End an answer whose rest will not come, with words where there is a place for them."""
        error = ServiceError(
            "The engine service ended in the middle of this request. `hyperllama logs` may tell "
            "why; the same request starts it again."
        )
        if not self._headers_written:
            self._say(words.refusal(error, self._path))
            return
        kind = self._headers.get("Content-Type", "")
        said = words.last_words(error, self._path, kind)
        if said is not None and "Content-Length" not in self._headers:
            self.write(said)
        else:
            # An answer that is cut off must not look whole.
            self.request.connection.close()  # type: ignore[union-attr]

    async def _refuse(self, refusal: words.Refusal) -> None:
        """Answer at once, and let the client send the rest of a body that is not too long."""
        self._refused = True
        self._leave_service()
        self._say(refusal)
        given = self.request.headers
        length = given.get("Content-Length", "0")
        long = "Transfer-Encoding" in given or len(length) > 6
        if long or "Expect" in given:
            self.set_header("Connection", "close")
        if "Expect" in given:
            # Whoever asked whether to send the body sends none now.
            self.finish()
            return
        self.request.connection.set_body_timeout(LINGER_SECONDS)  # type: ignore[union-attr]
        await self.flush()

    def _say(self, refusal: words.Refusal) -> None:
        self.set_status(refusal.status)
        for name, value in refusal.headers.items():
            self.set_header(name, value)
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(len(refusal.body)))
        self.write(refusal.body)

    def _leave_service(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._way.close(exchange)

    def _leave(self, status: int) -> None:
        self._leave_service()
        if not self._counted:
            self._counted = True
            metrics.answered(unquote(self._path), status, self.request.request_time())

"""The one handler of the door: who asks is settled here, the rest passes byte for byte."""

from contextlib import aclosing
from urllib.parse import unquote

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.iostream import StreamClosedError

from hyperllama_nb.access.keys import KeyStore
from hyperllama_nb.errors import HyperLlamaError, ServiceError
from hyperllama_nb.serverextension import headers, metrics, words
from hyperllama_nb.serverextension.admitting import LINGER_BYTES, AdmittingHandler
from hyperllama_nb.serverextension.passing import BrokenError, Exchange, Head
from hyperllama_nb.serverextension.reaching import Way

GONE = 499
"""The status under which an answer is counted whose client went away."""


@web.stream_request_body
class DoorHandler(AdmittingHandler):
    """Passes a request to the service and its answer back, whatever the verb and the path.

    Tornado calls `prepare` before it reads the body, `data_received` for each piece of it, and
    the verb's method when it is whole.
    """

    def initialize(self, name: str, way: Way, keys: KeyStore, upload_limit: int) -> None:  # type: ignore[override]
        """Take what the application shares between its requests."""
        super().initialize(name, keys, upload_limit)
        self._way = way
        self._exchange: Exchange | None = None
        self._received = self._dropped = 0
        self._gone = self._counted = False

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
            await self._answer(exchange)

    # `prepare` has refused whom nobody knows: a key is no user of Jupyter's, whose own check
    # behind these methods would let nobody in with one.
    @allow_unauthenticated
    async def get(self) -> None:
        """Pass the request on; of a refused one, nothing is left to do."""
        if self._refused:
            return
        try:
            exchange = await self._reach()
        except HyperLlamaError as error:
            self._say(words.refusal(error, self._path))
        else:
            await self._answer(exchange)

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
        self._end(GONE)

    def on_finish(self) -> None:
        """Count the answer."""
        self._end(GONE if self._gone else self.get_status())

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

    async def _answer(self, exchange: Exchange) -> None:
        """Pass the service's answer on, each piece as it comes."""
        try:
            await exchange.end()
            self._begin(await exchange.head())
            await self.flush()
            async with aclosing(exchange.pieces()) as pieces:
                async for piece in pieces:
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

    def leave(self) -> None:
        """End the exchange with the service, if there is one."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._way.close(exchange)

    def _end(self, status: int) -> None:
        self.leave()
        if not self._counted:
            self._counted = True
            metrics.answered(unquote(self._path), status, self.request.request_time())

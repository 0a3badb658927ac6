"""The receiving half of HTTP/1.1: an answer's head, and its body as lines."""

from dataclasses import dataclass

from hyperllama_nb.engines.connection import Connection

LONGEST_HEAD = 1 << 16
"""Bytes of the head of an answer."""

LONGEST_LINE = 1 << 24
"""Bytes; a longer line is no answer of an engine, and would fill the memory."""


@dataclass(frozen=True, slots=True)
class Head:
    """The status of an answer and how its body is delimited; `length` is None where unknown."""

    status: int
    chunked: bool
    length: int | None


async def read_head(connection: Connection) -> Head:
    """Read up to the empty line; raises ValueError or EOFError if what comes is not HTTP."""
    raw = b""
    while (end := raw.find(b"\r\n\r\n")) < 0:
        if len(raw) > LONGEST_HEAD:
            raise ValueError("the head of the answer has no end")
        data = await connection.read()
        if not data:
            raise EOFError
        raw += data
    connection.unread(raw[end + 4 :])
    first, *lines = raw[:end].decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"not HTTP: {first[:80]!r}")
    fields = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    length = fields.get("content-length")
    return Head(
        status=int(rest[:3]),
        chunked="chunked" in fields.get("transfer-encoding", "").lower(),
        length=int(length) if length is not None else None,
    )


class Body:
    r"""Cuts a body into lines at the byte `\n`, in whatever pieces it arrives.

    `done` is set once the body has arrived whole; `rest` is what follows the last line's end.
    """

    def __init__(self, head: Head) -> None:
        self.done = head.length == 0
        self.rest = b""
        self._chunked = head.chunked
        self._left = head.length
        self._raw = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes from the connection (empty: it has ended) and return the lines completed.

        Raises ValueError if the body is not coded as its head says.
        """
        if not data:
            self.done = self.done or (not self._chunked and self._left is None)
            return []
        if self._chunked:
            data = self._dechunk(data)
        elif self._left is not None:
            self._left -= len(data)
            self.done = self._left <= 0
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > LONGEST_LINE:
            raise ValueError("a line of the answer has no end")
        return lines

    def _dechunk(self, data: bytes) -> bytes:
        """Return the content of the chunks that are complete; the rest waits for its end."""
        raw = self._raw + data if self._raw else data
        content: list[bytes] = []
        start = 0
        while not self.done:
            end = raw.find(b"\r\n", start)
            if end < 0:
                break
            size = int(raw[start:end].split(b";", 1)[0], 16)
            if size < 0 or size > LONGEST_LINE:
                raise ValueError("a chunk of the answer is too long")
            stop = end + 2 + size
            if len(raw) < stop + 2:
                break
            content.append(raw[end + 2 : stop])
            start = stop + 2
            self.done = size == 0
        self._raw = raw[start:]
        return b"".join(content)

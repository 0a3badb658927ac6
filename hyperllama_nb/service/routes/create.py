"""`/api/create` and `/api/blobs`: new models of those that are there, and of uploaded files."""

import asyncio
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from aiohttp import web

from hyperllama_nb.access import limits
from hyperllama_nb.errors import (
    InvalidNameError,
    ModelNotFoundError,
    RequestError,
    SlowRequestError,
)
from hyperllama_nb.models.creation import Changes, assemble, check_files, derive, requantize
from hyperllama_nb.models.gguf.quantize import parse as parse_encoding
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.uploads import Uploads, read_digest
from hyperllama_nb.models.work import CHUNK
from hyperllama_nb.service.keys import SERVICE, caller
from hyperllama_nb.service.messages import read_message
from hyperllama_nb.service.options import Options
from hyperllama_nb.service.reading import runs_as_it_is
from hyperllama_nb.service.routes.ollama import in_ollamas_words
from hyperllama_nb.service.service import Service
from hyperllama_nb.service.template import compile_template
from hyperllama_nb.service.wire import Body, answer

routes = web.RouteTableDef()

Line = dict[str, Any]

_GO = re.compile(r"\{\{-?\s*(?:\.|\$|else\b|end\s*-?\}|(?:if|range|with)\s)")
"""What a Go template has and a Jinja template does not."""

_TRIAL = "4711"
"""A message that a template is tried with; digits have no upper case."""

_REFUSED = {
    "adapters": "LoRA adapters are no longer supported: merge them into the weights first",
    "draft_files": "a draft model is not supported: leave `draft_files` out",
    "remote_host": "a model on another host is not supported: name a model that is here in `from`",
    "renderer": "a renderer is not supported: give the prompt's form as a Jinja `template`",
    "parser": "a parser is not supported: thinking and tool calls are read by the template's form",
    "info": "overriding what the files tell of themselves is not supported: leave `info` out",
    "capabilities": "capabilities are read from the files and the template: leave them out",
}
"""Fields that would change what the model is, and why they are not obeyed."""


@routes.post("/api/create")
async def create(request: web.Request) -> web.StreamResponse:
    """Make a model of another one (`from`) or of uploaded files (`files`), telling the progress."""
    body = await Body.read(request)
    service = request.app[SERVICE]
    for field, why in _REFUSED.items():
        if body.raw(field):
            raise RequestError(f"{why}.")
    name = _name(body.get("model", str, "") or body.get("name", str, ""))
    origin, files = body.get("from", str, "").strip(), body.get("files", dict)
    if not origin and body.raw("files") is None:
        raise RequestError(
            "neither 'from' or 'files' was specified: name a model in `from`, or upload files and "
            "name them with their digests in `files`."
        )
    if origin and files:
        raise RequestError("Both `from` and `files` were given. A model is made of one of them.")
    asked = body.get("quantize", str, "") or body.get("quantization", str, "")
    quantize = parse_encoding(asked) if asked else None
    changes, ignored = await asyncio.to_thread(_changes, body, name)
    if origin:
        local = caller(request).may("admin")
        lines = _derived(service, _origin(origin), name, changes, ignored, quantize, local=local)
    else:
        lines = _assembled(service, _digests(files), name, changes, ignored, quantize)
    return await answer(request, lines, stream=body.get("stream", bool, True))


async def _derived(
    service: Service,
    origin: Name,
    name: Name,
    changes: Changes,
    ignored: tuple[str, ...],
    quantize: str | None,
    *,
    local: bool,
) -> AsyncGenerator[Line, None]:
    """Make a model of another one, which is pulled if it is not there."""
    try:
        base = service.store.get(origin)
    except ModelNotFoundError:
        text = origin.display
        async with aclosing(service.pulls.pull(text, text, local=local)) as pulled:
            async for line in pulled:
                if line.get("status") != "success":
                    yield line
        base = service.store.get(origin)
    for line in _ignoring(ignored):
        yield line
    if quantize is not None:
        job = partial(requantize, service.store, origin, name, changes, quantize)
        async with aclosing(_run(service, job)) as lines:
            async for line in lines:
                yield line
        return
    for digest in dict.fromkeys(file.digest for file in base.files):
        yield {"status": f"using existing layer {digest}"}
    for digest in changes.layers():
        yield {"status": f"creating new layer {digest}"}
    yield {"status": "writing manifest"}
    await asyncio.to_thread(derive, service.store, origin, name, changes)
    yield {"status": "success"}


async def _assembled(
    service: Service,
    files: Mapping[str, str],
    name: Name,
    changes: Changes,
    ignored: tuple[str, ...],
    quantize: str | None,
) -> AsyncGenerator[Line, None]:
    """Make a model of uploaded files."""
    # What is wrong with the request is told with a status, not in the middle of the progress.
    await asyncio.to_thread(check_files, service.store, files)
    for line in _ignoring(ignored):
        yield line
    runs = partial(runs_as_it_is, service.backends, service.settings)
    job = partial(assemble, service.store, files, name, changes, runs=runs, quantize=quantize)
    async with aclosing(_run(service, job)) as lines:
        async for line in lines:
            yield line


def _run(service: Service, job: Callable[..., Manifest]) -> AsyncGenerator[Line, None]:
    """Return the progress of a job that is nobody else's."""
    return service.pulls.run(uuid.uuid4(), job)


def _ignoring(names: tuple[str, ...]) -> list[Line]:
    return [{"status": f"ignoring the parameter {name}, which has no effect"} for name in names]


def _name(text: str) -> Name:
    """Return a model's name; raises InvalidNameError in Ollama's words."""
    with in_ollamas_words(text):
        return Name.parse(text)


def _origin(text: str) -> Name:
    """Return the name of a model to make another of; what would name a file is none."""
    name = _name(text)
    if name.host.endswith(":"):
        raise InvalidNameError(
            f"invalid model name: {text[:90]!r} is not the name of a model. Pull it first, under "
            "a name."
        )
    return name


def _digests(files: dict[str, Any]) -> dict[str, str]:
    """Return the files of a request; raises RequestError for another shape."""
    if not files:
        raise RequestError("no files provided to convert: `files` is empty.")
    for path, digest in files.items():
        if not isinstance(digest, str):
            raise RequestError(
                f"json: cannot unmarshal the digest of {path[:90]!r}: it must be a string."
            )
        read_digest(digest)
    return files


def _changes(body: Body, name: Name) -> tuple[Changes, tuple[str, ...]]:
    """Return what the model has of its own, and the parameters that have no effect."""
    given = body.get("parameters", dict)
    options = Options.merge(None, given)
    kept = {key: options.values[key] for key in given if key in options.given}
    if options.backend is not None:
        kept["backend"] = options.backend
    messages = []
    for message in body.get("messages", list):
        turn = read_message(message)
        if "images" in turn:
            raise RequestError("A model's own messages are text. Leave out `images`.")
        messages.append(turn)
    ignored = tuple(key for key in given if given[key] is not None and key not in kept)
    return (
        Changes(
            system=body.get("system", str, "") or None,
            template=_template(body.get("template", str, ""), name),
            licenses=_licenses(body.raw("license")),
            options=kept,
            messages=tuple(messages),
        ),
        ignored,
    )


def _template(source: str, name: Name) -> str | None:
    """Return a chat template that compiles in the sandbox; raises RequestError for another one."""
    if not source:
        return None
    if _GO.search(source):
        raise RequestError(
            "A Go template is not supported: `template` is a Jinja chat template here, as models "
            "carry it on the Hugging Face hub. Leave it out to keep the model's own."
        )
    try:
        render = compile_template(source, name.display)
    except RequestError as error:
        raise RequestError(f"template error: {error}") from error
    try:
        shown = render(messages=[{"role": "user", "content": _TRIAL}], add_generation_prompt=True)
    except RequestError:
        return source  # it wants other messages, or the tokenizer's own tokens
    if _TRIAL not in shown:
        raise RequestError(
            "template error: the template leaves out what the user says, which is in "
            "`messages`, as in {% for m in messages %}{{ m.content }}{% endfor %}."
        )
    return source


def _licenses(value: Any) -> tuple[str, ...]:
    """Return the licences of a request, a text or an array of texts."""
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RequestError(
            "json: cannot unmarshal `license`: it must be a text or an array of texts."
        )
    return tuple(text for text in texts if text)


@routes.head("/api/blobs/{digest}")
async def has_blob(request: web.Request) -> web.Response:
    """Tell whether a file with this digest is here, uploaded or part of a model."""
    _find(request)
    return web.Response()


@routes.post("/api/blobs/{digest}")
async def receive_blob(request: web.Request) -> web.Response:
    """Take an upload, whose bytes must have the digest that the path names."""
    digest = read_digest(request.match_info["digest"])
    uploads = Uploads(request.app[SERVICE].store)
    if uploads.find(digest) is not None:
        # To answer before the client has sent all of it can look like a broken connection.
        async for _ in _chunks(request):
            pass
        return web.Response()
    with uploads.receiving(digest, request.content_length) as upload:
        async for chunk in _chunks(request):
            await asyncio.to_thread(upload.write, chunk)
        await asyncio.to_thread(upload.finish)
    return web.Response(status=201)


async def _chunks(request: web.Request) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes, however large; raises SlowRequestError when nothing comes."""
    while True:
        try:
            async with asyncio.timeout(limits.BODY_SECONDS):
                chunk = await request.content.read(CHUNK)
        except TimeoutError:
            raise SlowRequestError(
                f"Nothing of the upload came for {limits.BODY_SECONDS:.0f} s. Send it again."
            ) from None
        if not chunk:
            return
        yield chunk


def _find(request: web.Request) -> None:
    """Raise ModelNotFoundError unless the file is here, RequestError for a malformed digest."""
    digest = read_digest(request.match_info["digest"])
    if Uploads(request.app[SERVICE].store).find(digest) is None:
        raise ModelNotFoundError(f'blob "{digest}" not found: upload it with POST.')

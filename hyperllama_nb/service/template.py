"""Chat templates of model files, rendered in a sandbox and with bounds."""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from threading import Lock
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.environment import Template
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from hyperllama_nb.errors import RequestError

LONGEST_SOURCE = 1 << 20
LONGEST_TEXT = 64 << 20
MOST_STEPS = 2_000_000
"""Bounds of one template: characters of source, characters of text, loop rounds and calls."""


class TemplateRefusedError(Exception):
    """The template itself says no, by `raise_exception`, or exceeds a bound."""


class _Generation(Extension):
    """Accept `{% generation %}`, with which templates mark what the model is trained on."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the block's body as it is."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(ImmutableSandboxedEnvironment):
    """Count the steps of a rendering and bound the strings it builds.

    A template comes with a model's file, and a stranger wrote it: the sandbox keeps it from
    Python's objects, the bounds keep it from running for ever.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        self.steps = 0
        self.filters["tojson"] = _tojson
        self.filters["counted"] = self.counted
        self.filters["bounded"] = _bounded
        self.globals["raise_exception"] = _refuse
        self.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)

    def step(self) -> None:
        """Count one step, and end the rendering after too many."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise TemplateRefusedError(f"it takes more than {MOST_STEPS} steps")

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield the items of a loop, a step for each."""
        for item in items:
            self.step()
            yield item

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Call a function or macro of the template, which is a step."""
        self.step()
        return _bounded(super().call(*args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right` unless the result would be huge."""
        if operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, str | list | tuple) and isinstance(times, int):
                    _bounded_length(len(text) * times)
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise TemplateRefusedError(f"the operator {operator} is not allowed here")
        return _bounded(super().call_binop(context, operator, left, right))


class _Bounds(NodeTransformer):
    """Put a counter on each loop and a bound on each `~`, which the sandbox does not see."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        """Count the loop's items."""
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "counted")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        """Bound the length of the joined text."""
        self.generic_visit(node)
        return _filtered(node, "bounded")


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _bounded(value: Any) -> Any:
    if isinstance(value, str | list | tuple):
        _bounded_length(len(value))
    return value


def _bounded_length(length: int) -> None:
    if length > LONGEST_TEXT:
        raise TemplateRefusedError(f"it builds more than {LONGEST_TEXT} characters")


def _refuse(message: str) -> None:
    raise TemplateRefusedError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON as models were trained on it: not escaped for HTML, unlike Jinja's filter."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def compile_template(source: str, model: str) -> Callable[..., str]:
    """Return a function that renders the template with keyword arguments.

    `model` is named in errors. The function raises RequestError where the template refuses the
    messages, fails, or exceeds a bound; so does this one where the source is not a template.
    """
    if len(source) > LONGEST_SOURCE:
        raise RequestError(
            f'The chat template of "{model}" has {len(source)} characters; at most '
            f"{LONGEST_SOURCE} are read. Use /api/generate with raw: true and a prompt of your own."
        )
    environment = _Environment()
    try:
        tree: nodes.Template = _Bounds().visit(environment.parse(source))
        code = environment.compile(tree)
        template = Template.from_code(environment, code, environment.make_globals(None))
    except (TemplateError, RecursionError) as error:
        raise RequestError(
            f'The chat template of "{model}" cannot be read: {error}. Use /api/generate with '
            "raw: true and a prompt of your own."
        ) from error

    turn = Lock()  # the environment counts the steps of one rendering

    def render(**context: Any) -> str:
        pieces: list[str] = []
        length = 0
        try:
            with turn:
                environment.steps = 0
                for piece in template.generate(**context):
                    length += len(piece)
                    _bounded_length(length)
                    pieces.append(piece)
        except TemplateRefusedError as error:
            raise RequestError(
                f'The chat template of "{model}" refuses these messages: {error}. Change the '
                "messages, or use /api/generate with raw: true."
            ) from error
        except Exception as error:
            # A template's own mistakes surface as any of Python's exceptions.
            raise RequestError(
                f'The chat template of "{model}" failed on these messages: '
                f"{type(error).__name__}: {error}. Check the fields of the messages, or use "
                "/api/generate with raw: true."
            ) from error
        return "".join(pieces)

    return render

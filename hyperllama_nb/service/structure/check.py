"""Checking an answer: strict JSON, and a schema whose patterns cannot hang the service."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

PATIENCE = 0.5
"""Seconds that the patterns of a schema may take for one answer, all together."""

_SHOWN = 200


class Checker:
    """Tell whether texts and values follow a schema, or are JSON objects for "json"."""

    def __init__(self, schema: Any) -> None:
        """Take a `format` as `read` returned it."""
        from referencing import Registry

        self.schema: Mapping[str, Any] = as_schema(schema)
        # A registry of its own: the library's default one would fetch what it does not know.
        self._validator = _validator()(self.schema, registry=Registry())

    def fault(self, text: str) -> str | None:
        """Return in a few words what is wrong with a text; None if nothing is."""
        try:
            value = parse(text)
        except ValueError as error:
            return f"it is no JSON ({error})"
        return self.fault_of(value)

    def fault_of(self, value: Any) -> str | None:
        """Return in a few words what is wrong with a value; None if nothing is."""
        _clock.ends = time.monotonic() + PATIENCE
        try:
            error = next(self._validator.iter_errors(value), None)
        except (RecursionError, OverflowError) as failure:
            return f"it cannot be checked ({type(failure).__name__})"
        if error is None:
            return None
        where = "/".join(map(str, error.absolute_path)) or "the top level"
        return f"at {where}: {error.message[:_SHOWN]}"

    def valid(self, value: Any, schema: Any) -> bool:
        """Tell whether a value follows a subschema of this one."""
        _clock.ends = time.monotonic() + PATIENCE
        return bool(self._validator.evolve(schema=schema).is_valid(value))


def as_schema(schema: Any) -> Mapping[str, Any]:
    """Return the schema that a `format` stands for: "json" is any object."""
    return schema if isinstance(schema, Mapping) else {"type": "object"}


def parse(text: str) -> Any:
    """Return the value of a JSON text; raises ValueError, also for NaN and too much nesting."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a value of JSON")


_clock = threading.local()
"""When the patterns of the present check must be done."""


@cache
def _validator() -> Callable[..., Any]:
    """Return a validator of draft 2020-12 that looks for patterns with a limit of time."""
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def pattern(
        validator: Any, wanted: str, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        del validator, schema
        if isinstance(instance, str) and not _found(wanted, instance):
            yield ValidationError(f"{instance[:_SHOWN]!r} does not match {wanted[:_SHOWN]!r}")

    made: Callable[..., Any] = extend(Draft202012Validator, {"pattern": pattern})
    return made


def _found(pattern: str, text: str) -> bool:
    """Tell whether the pattern is in the text; no, when that is not found out in time."""
    import regex

    left = _clock.ends - time.monotonic()
    try:
        # `concurrent` lets other threads run meanwhile.
        return left > 0 and bool(regex.search(pattern, text, timeout=left, concurrent=True))
    except TimeoutError:
        return False

"""Reading `format`: which schemas are taken, and which would cost the service too much."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from hyperllama_nb.errors import InvalidOptionError

LARGEST = 64 << 10
"""Bytes of a schema as JSON."""

DEEPEST = 64
"""Levels of nesting of a schema."""

HEAVIEST = 2000
"""Subschemas that one place of an answer may be checked against, each as often as it counts."""

_SHOWN = 200

_REFUSED = frozenset({"patternProperties", "$dynamicRef", "$recursiveRef"})
"""Keywords that nobody here follows: a schema that means something else is worse than an error."""

_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
"""Keywords whose subschemas apply to the same place of the answer."""

_ONE = ("not", "if", "then", "else", "items", "additionalProperties", "contains")
_ONE_MORE = ("propertyNames", "unevaluatedItems", "unevaluatedProperties")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "dependentSchemas", "$defs", "definitions")


def read(value: Any) -> Any:
    """Return a request's `format`: None, "json", or a JSON schema that is sound.

    Raises InvalidOptionError for anything else: what is no schema of draft 2020-12, one with
    references to elsewhere (nothing is ever fetched), and one that is too large to be followed.
    """
    if value is None or value in ("", "json"):
        return value or None
    if not isinstance(value, Mapping):
        # In Ollama's words, which quote the JSON once more.
        shown = json.dumps(json.dumps(value, ensure_ascii=False)[:_SHOWN], ensure_ascii=False)
        raise InvalidOptionError(
            f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
        )
    try:
        text = json.dumps(value, ensure_ascii=False)
        size = len(text.encode())
    except (UnicodeEncodeError, RecursionError) as error:
        raise _invalid(f"it cannot be written as JSON ({type(error).__name__})") from None
    if size > LARGEST:
        raise _invalid(f"it has {size} bytes, and up to {LARGEST} are read")
    _check(text)
    return value


@lru_cache(maxsize=64)
def _check(text: str) -> None:
    """Raise InvalidOptionError for a schema that is not sound; callers repeat theirs."""
    schema = json.loads(text)
    _check_depth(schema)
    _check_form(schema)
    for one in subschemas(schema):
        if refused := _REFUSED & one.keys():
            raise _invalid(f"the keyword `{min(refused)}` is not followed")
        if "$ref" in one:
            resolve(schema, one["$ref"])
        if "pattern" in one:
            _check_pattern(one["pattern"])
    _Weight(schema).check()


def subschemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a schema that is an object, and all those inside it."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for key in (*_ONE, *_ONE_MORE):
        yield from subschemas(schema.get(key))
    for key in _LISTS:
        for one in schema.get(key) or ():
            yield from subschemas(one)
    for key in _MAPS:
        for one in (schema.get(key) or {}).values():
            yield from subschemas(one)


def resolve(root: Mapping[str, Any], reference: Any) -> Any:
    """Return what a `$ref` within `root` means; raises InvalidOptionError for any other."""
    found: Any = root
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise _invalid(
            f"`$ref` {json.dumps(reference)[:_SHOWN]} refers to elsewhere. Put the schema that it "
            'means into `$defs`, and write "#/$defs/NAME"'
        )
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            raise _invalid(f"`$ref` {json.dumps(reference)[:_SHOWN]} refers to nothing in it")
    if not isinstance(found, Mapping | bool) or reference[1:2] not in ("", "/"):
        raise _invalid(f"`$ref` {json.dumps(reference)[:_SHOWN]} refers to no schema")
    return found


def _invalid(why: str) -> InvalidOptionError:
    return InvalidOptionError(
        f'invalid format: {why}; expected "json" or a valid JSON Schema object (draft 2020-12)'
    )


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise _invalid(f"it is nested more than {DEEPEST} levels deep")
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
            if isinstance(inner, Mapping | list)
        ]


def _check_form(schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator, FormatChecker, SchemaError

    try:
        # No formats: patterns have their own check, since they are not Python's.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(()))
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top level"
        raise _invalid(f"at {where}: {error.message[:_SHOWN]}") from None


def _check_pattern(pattern: str) -> None:
    import regex

    try:
        regex.compile(pattern)
    except regex.error as error:
        raise _invalid(f"the pattern {pattern[:_SHOWN]!r} cannot be read: {error}") from None


class _Weight:
    """How many subschemas apply to one place: what a chain of references can multiply."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[int, int] = {}

    def check(self) -> None:
        """Raise InvalidOptionError for a schema that refers to itself in place, or weighs much."""
        for schema in subschemas(self._root):
            if self._of(schema, ()) > HEAVIEST:
                raise _invalid(
                    f"more than {HEAVIEST} subschemas apply to one place, references counted out"
                )

    def _of(self, schema: Any, above: tuple[int, ...]) -> int:
        if not isinstance(schema, Mapping):
            return 1
        if id(schema) in above:
            raise _invalid("a `$ref` leads back to itself without a property or item between")
        if id(schema) not in self._known:
            inside = [resolve(self._root, schema["$ref"])] if "$ref" in schema else []
            for key in _IN_PLACE:
                found = schema.get(key, ())
                if key == "dependentSchemas":
                    inside += found.values() if found else ()
                else:
                    inside += found if isinstance(found, list | tuple) else [found]
            above = (*above, id(schema))
            weight = 1 + sum(self._of(inner, above) for inner in inside)
            self._known[id(schema)] = min(weight, HEAVIEST + 1)
        return self._known[id(schema)]

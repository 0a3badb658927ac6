"""From a JSON schema to the structure that the service writes itself, where it can."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hyperllama_nb.service.structure.check import Checker
from hyperllama_nb.service.structure.nodes import (
    Array,
    Choice,
    Node,
    Number,
    Object,
    Tagged,
    Text,
    Union,
    dumps,
)
from hyperllama_nb.service.structure.schema import resolve

MOST_NODES = 2000
MOST_CHOICES = 1000
LONGEST = 16 << 10
"""Characters of the smallest answer that a schema allows."""

_KINDS = ("object", "array", "string", "integer", "number", "boolean", "null")

_OF_KIND: Mapping[str, frozenset[str]] = {
    "object": frozenset(
        {
            *("properties", "required", "additionalProperties", "unevaluatedProperties"),
            *("minProperties", "maxProperties", "propertyNames", "dependentRequired"),
            "dependentSchemas",
        }
    ),
    "array": frozenset(
        {
            *("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
            *("minContains", "maxContains", "unevaluatedItems"),
        }
    ),
    "string": frozenset({"minLength", "maxLength", "pattern"}),
    "number": frozenset(
        {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    ),
}
"""The keywords that say something about values of a kind; they say nothing about others."""

_UNFILLED = frozenset(
    {
        *("propertyNames", "dependentRequired", "dependentSchemas", "pattern", "contains"),
        *("minContains", "maxContains", "unevaluatedItems"),
    }
)
_COMBINING = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref"})
ALL = frozenset({"type", "enum", "const", *_COMBINING}).union(*_OF_KIND.values())
"""The keywords that say what a value must be like; all others only describe it."""


class UnfilledError(Exception):
    """The service cannot write the structure of this schema itself."""


def compile_schema(schema: Any) -> Node:
    """Return the structure of a schema that `read` took; raises UnfilledError."""
    if not isinstance(schema, Mapping):
        raise UnfilledError("any object")
    compiler = _Compiler(schema)
    node = compiler.node(schema, ())
    if compiler.checker.fault_of(node.least):
        raise UnfilledError("no value of it is known to follow it")
    return node


class _Compiler:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.checker = Checker(root)
        self._made = 0

    def node(self, schema: Any, above: tuple[int, ...]) -> Node:
        """Return the structure of a subschema; `above` are the ids of those around it."""
        self._made += 1
        if not isinstance(schema, Mapping) or self._made > MOST_NODES:
            raise UnfilledError("any value, or too many")
        if id(schema) in above:
            raise UnfilledError("a schema inside itself")
        above = (*above, id(schema))
        stated = schema.keys() & ALL
        if (values := _values(schema)) is not None:
            others = {name: schema[name] for name in stated - {"enum", "const"}}
            texts = [dumps(v) for v in values if not others or self.checker.valid(v, others)]
            return Choice(_some(tuple(dict.fromkeys(texts))))
        if stated & _COMBINING:
            return self._combined(schema, stated, above)
        kinds = _kinds(schema, stated)
        if len(kinds) > 1:
            return _union([self._of_kind(kind, schema, above) for kind in kinds])
        return self._of_kind(kinds[0], schema, above)

    def _combined(
        self, schema: Mapping[str, Any], stated: frozenset[str] | set[str], above: tuple[int, ...]
    ) -> Node:
        """Return the structure of a reference or of alternatives that stand alone."""
        if stated == {"$ref"}:
            return self.node(resolve(self.root, schema["$ref"]), above)
        if stated == {"allOf"} and len(schema["allOf"]) == 1:
            return self.node(schema["allOf"][0], above)
        if stated in ({"anyOf"}, {"oneOf"}):
            found = [self.node(one, above) for one in schema.get("anyOf") or schema["oneOf"]]
            return found[0] if len(found) == 1 else _union(found)
        raise UnfilledError("combined schemas")

    def _of_kind(self, kind: str, schema: Mapping[str, Any], above: tuple[int, ...]) -> Node:
        if kind in ("boolean", "null"):
            return Choice(("true", "false") if kind == "boolean" else ("null",))
        family = "number" if kind == "integer" else kind
        if schema.keys() & _OF_KIND[family] & _UNFILLED:
            raise UnfilledError("a keyword that only a check can follow")
        if kind == "object":
            return self._object(schema, above)
        if kind == "array":
            return self._array(schema, above)
        if kind == "string":
            return _text(schema)
        return _number(schema, whole=kind == "integer")

    def _object(self, schema: Mapping[str, Any], above: tuple[int, ...]) -> Object:
        properties = schema.get("properties") or {}
        if not properties and schema.get("additionalProperties") is not False:
            raise UnfilledError("an object of any properties")
        nodes = tuple((name, self.node(inner, above)) for name, inner in properties.items())
        if not set(schema.get("required") or ()) <= properties.keys():
            raise UnfilledError("a required property without a schema")
        low, high = schema.get("minProperties", 0), schema.get("maxProperties", math.inf)
        if not low <= len(nodes) <= high:
            raise UnfilledError("a number of properties")
        return Object(nodes)

    def _array(self, schema: Mapping[str, Any], above: tuple[int, ...]) -> Array:
        before = tuple(self.node(inner, above) for inner in schema.get("prefixItems") or ())
        low = max(0, int(schema.get("minItems", 0)) - len(before))
        high = int(schema["maxItems"]) - len(before) if "maxItems" in schema else None
        unique = bool(schema.get("uniqueItems"))
        if schema.get("items") is False or high == 0:
            high, item = 0, None
        else:
            item = self.node(schema.get("items"), above)
        if unique:
            if before or not isinstance(item, Choice):
                raise UnfilledError("items that differ")
            high = len(item.texts) if high is None else min(high, len(item.texts))
        if low > LONGEST or (high is not None and (high < low or high < 0)):
            raise UnfilledError("a number of items")
        array = Array(item, before, low, high, unique)
        if _size(array) > LONGEST:
            raise UnfilledError("too many items")
        return array


def _size(node: Node) -> int:
    """Return about how many characters the smallest value has, without making it."""
    match node:
        case Text():
            return node.shortest + 2
        case Array():
            item = _size(node.item) if node.item is not None else 0
            return 2 + sum(map(_size, node.before)) + node.fewest * item
        case Object():
            return 2 + sum(len(name) + 4 + _size(value) for name, value in node.properties)
        case Union():
            return min(map(_size, node.kinds))
        case Tagged():
            return min(map(_size, node.variants.values()))
        case _:
            return len(dumps(node.least))


def _values(schema: Mapping[str, Any]) -> Sequence[Any] | None:
    """Return the values that `const` and `enum` allow; None if there is neither."""
    if "const" in schema:
        alone = schema["const"]
        return [alone] if alone in schema.get("enum", [alone]) else []
    return schema.get("enum")


def _some(texts: Sequence[str]) -> Sequence[str]:
    if not texts or len(texts) > MOST_CHOICES:
        raise UnfilledError("none of the values, or too many")
    return texts


def _kinds(schema: Mapping[str, Any], stated: frozenset[str] | set[str]) -> list[str]:
    """Return the kinds of value that a schema allows, or at least speaks of."""
    stating = schema.get("type")
    if stating is not None:
        kinds = [stating] if isinstance(stating, str) else list(stating)
        return [k for k in kinds if not (k == "integer" and "number" in kinds)]
    # Without a type, other kinds would do as well; the one that it speaks of is meant.
    spoken = [kind for kind, words in _OF_KIND.items() if words & stated]
    if len(spoken) != 1:
        raise UnfilledError("any value")
    return spoken


def _text(schema: Mapping[str, Any]) -> Text:
    shortest, longest = int(schema.get("minLength", 0)), schema.get("maxLength")
    if shortest > LONGEST or (longest is not None and longest < shortest):
        raise UnfilledError("a length of a string")
    return Text(shortest, None if longest is None else int(longest))


def _number(schema: Mapping[str, Any], *, whole: bool) -> Number:
    step = schema.get("multipleOf", 1 if whole else 0)
    if step and not (float(step).is_integer() and step >= 1):
        raise UnfilledError("multiples of a fraction")
    step = int(step)
    lows = [schema["minimum"]] if "minimum" in schema else []
    highs = [schema["maximum"]] if "maximum" in schema else []
    if (above := schema.get("exclusiveMinimum")) is not None:
        lows.append(math.floor(above) + 1 if step else math.nextafter(above, math.inf))
    if (below := schema.get("exclusiveMaximum")) is not None:
        highs.append(math.ceil(below) - 1 if step else math.nextafter(below, -math.inf))
    low, high = max(lows, default=None), min(highs, default=None)
    if step:
        low = None if low is None else math.ceil(low)
        high = None if high is None else math.floor(high)
    if low is not None and high is not None:
        least = -(-low // step) * step if step else low
        if least > high:
            raise UnfilledError("a range without a number")
    return Number(low, high, step)


def _union(kinds: Sequence[Node]) -> Node:
    """Return the union of kinds that differ in their first characters, or of tagged objects."""
    flat = [one for kind in kinds for one in (kind.kinds if isinstance(kind, Union) else (kind,))]
    choices = [one for one in flat if isinstance(one, Choice)]
    others: list[Node] = [one for one in flat if not isinstance(one, Choice)]
    objects = [one for one in others if isinstance(one, Object)]
    if len(objects) > 1:
        others = [one for one in others if not isinstance(one, Object)]
        others.append(_tagged(objects))
    if choices:
        texts = [text for choice in choices for text in choice.texts]
        if len(set(texts)) < len(texts):
            raise UnfilledError("alternatives that overlap")
        others.append(Choice(tuple(texts)))
    firsts = "".join(one.first for one in others)
    if len(set(firsts)) < len(firsts):
        raise UnfilledError("alternatives that begin alike")
    return others[0] if len(others) == 1 else Union(tuple(others))


def _tagged(objects: Sequence[Object]) -> Tagged:
    """Return objects that are told apart by the constant that each begins with."""
    variants: dict[str, Object] = {}
    names = set()
    for one in objects:
        if not one.properties or not isinstance(tag := one.properties[0][1], Choice):
            raise UnfilledError("objects without a tag")
        names.add(one.properties[0][0])
        for text in tag.texts:
            if text in variants or not isinstance(json.loads(text), str):
                raise UnfilledError("objects with the same tag")
            variants[text] = Object(one.properties[1:])
    if len(names) > 1:
        raise UnfilledError("objects with different tags")
    return Tagged(names.pop(), variants)

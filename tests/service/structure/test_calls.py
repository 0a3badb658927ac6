"""Tool calls that a caller insists on."""

import json

import pytest

from hyperllama_nb.errors import EngineError, RequestError
from hyperllama_nb.service.structure.calls import call_of, forced
from tests.service.structure.engines import Stub, answer, completing


def tool(name, **parameters):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


PLACE = tool(
    "go",
    type="object",
    properties={"to": {"$ref": "#/$defs/place"}},
    **{"$defs": {"place": {"type": "object", "properties": {"city": {"type": "string"}}}}},
)


@pytest.mark.parametrize("choice", [None, "", "auto", "none"])
def test_nothing_is_demanded(choice):
    assert forced([PLACE], choice) is None


@pytest.mark.parametrize("tools", [[PLACE], [tool("stay"), PLACE]])
@pytest.mark.parametrize("choice", ["go", "required"])
def test_references_hold_inside_the_call(tools, choice):
    written = '{"name": "go", "arguments": {"to": {"city": "Bern"}}}'
    mode, text, _ = answer(Stub(completing(written)), forced(tools, choice))
    assert (mode, text) == ("filled", written)
    call = call_of(text, "stop")
    assert (call.name, call.arguments) == ("go", {"to": {"city": "Bern"}})


def test_a_tool_without_parameters_is_called_without_arguments():
    _, text, _ = answer(Stub(completing("")), forced([tool("stay")], "required"))
    assert json.loads(text) == {"name": "stay", "arguments": {}}


def test_what_cannot_be_called_is_refused():
    with pytest.raises(RequestError, match="not among the request's tools"):
        forced([PLACE], "fly")
    with pytest.raises(RequestError, match="are no schema that a call can be made from"):
        forced([tool("odd", type="thing")], "odd")


def test_half_a_call_is_an_error():
    with pytest.raises(EngineError, match="its tokens ran out"):
        call_of('{"name": "go"}', "length")

"""Forms of answers."""

from typing import ClassVar

import pytest

from hyperllama_nb.client import Response, Shape
from hyperllama_nb.client._records import Record
from hyperllama_nb.errors import InvalidAnswerError, RequestError


def test_a_shape_is_json_a_schema_or_a_class():
    assert Shape.of("json").format == "json"
    assert Shape.of(Record({"type": "object", "properties": {"a": {}}})).format == {
        "type": "object",
        "properties": {"a": {}},
    }
    for wrong in ("xml", 5, None, ["json"]):
        with pytest.raises(RequestError, match="A form is"):
            Shape.of(wrong)


def test_a_class_that_only_describes_itself_gives_plain_values():
    class Described:
        described: ClassVar = {"type": "integer"}

        @classmethod
        def model_json_schema(cls):
            return cls.described

    shape = Shape.of(Described)
    assert shape.format == {"type": "integer"}
    assert shape.parse(Response({"response": " 5\n"})) == 5


def test_what_is_no_json_is_told_with_what_helps():
    with pytest.raises(InvalidAnswerError, match="another seed"):
        Shape.of("json").parse(Response({"response": ""}))
    with pytest.raises(InvalidAnswerError, match="--max-tokens"):
        Shape.of("json").parse(Response({"response": "{", "done_reason": "length"}))


def test_what_an_answer_holds():
    response = Response({"response": "a\n```py\nx\n```\n```\ny\n```"})
    assert response.code == "x"
    assert Response({"response": "a"}).code is None
    assert str(response) == response.text
    assert response.parsed is None
    assert "parsed" not in response.json()

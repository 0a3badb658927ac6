"""Answers of a form: where the schema comes from, and what is read."""

import json

import pytest
from pydantic import BaseModel

from hyperllama_nb.commands import UsageError
from hyperllama_nb.errors import InvalidAnswerError
from hyperllama_nb.magics._schema import read_schema
from tests.client.fakeservice import messages, words

GENERATE = "POST /api/generate"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


class Town(BaseModel):
    name: str
    people: int


def test_a_schema_is_a_variable_json_or_a_file(tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(SCHEMA), encoding="utf-8")
    names = {"s": SCHEMA, "t": json.dumps(SCHEMA), "Town": Town}
    for text in ("s", "t", json.dumps(SCHEMA), str(path)):
        assert read_schema(text, names).format == SCHEMA
    assert read_schema("Town", names).format["required"] == ["name", "people"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{type: object}", "single quotes"),
        ("number", "holds a int"),
        ("broken", "what the variable broken holds"),
        ("listed", "holds a list"),
        ("none.json", "no such file"),
        (".", "no such file"),
    ],
)
def test_what_is_no_schema_is_told(text, told):
    names = {"number": 5, "broken": "{", "listed": [1]}
    with pytest.raises(UsageError, match=told):
        read_schema(text, names)


def test_an_answer_is_read(service, ask, shell, capsys):
    service.routes[GENERATE] = lambda body: words('{"n":', " 3}")
    shell.user_ns["s"] = SCHEMA
    response = ask("m --schema s -O kept")
    assert service.bodies(GENERATE)[0]["format"] == SCHEMA
    assert response.parsed == {"n": 3}
    assert shell.user_ns["kept"] is response
    assert capsys.readouterr().out == '{\n  "n": 3\n}\n'


def test_an_answer_becomes_an_object_of_the_class(service, ask, shell):
    service.routes["POST /api/chat"] = lambda body: messages('{"name": "Bern", "people": 134000}')
    shell.user_ns["Town"] = Town
    assert ask("m --schema Town -c a").parsed == Town(name="Bern", people=134000)
    assert service.bodies("POST /api/chat")[0]["format"] == Town.model_json_schema()


def test_json_without_a_schema_is_asked_for_and_read(service, ask):
    service.routes[GENERATE] = lambda body: words("[1, 2]")
    assert ask("m -f json").parsed == [1, 2]
    assert service.bodies(GENERATE)[0]["format"] == "json"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (words('{"name": "Be', done_reason="length"), "cut at the limit of tokens"),
        (words("Bern"), "is no JSON"),
        (words('{"name": "Bern"}'), "no Town: 1 validation error"),
    ],
)
def test_an_answer_of_another_form_is_an_error_that_keeps_the_text(
    service, ask, shell, answer, told
):
    service.routes[GENERATE] = lambda body: answer
    shell.user_ns["Town"] = Town
    with pytest.raises(InvalidAnswerError, match=told) as raised:
        ask("m --schema Town")
    assert len(raised.value._render_traceback_()) == 1
    assert raised.value.__cause__ is not None
    assert shell.user_ns["_llm"].text
    assert shell.user_ns["_llm"].parsed is None

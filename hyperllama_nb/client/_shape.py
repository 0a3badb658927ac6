"""The form that an answer is asked for, and what an answer of that form says."""

import json
from collections.abc import Mapping
from typing import Any, Self

from hyperllama_nb.client._response import Response, plain
from hyperllama_nb.client._types import Format
from hyperllama_nb.errors import InvalidAnswerError, RequestError

_SHOWN = 300


class Shape:
    """JSON of any form (`"json"`), of a schema, or of a class that has one, such as pydantic's.

    `format` is what a request carries.
    """

    def __init__(self, format: Format, model: Any = None) -> None:  # noqa: A002
        self.format = format
        self._model = model

    @classmethod
    def of(cls, value: Any) -> Self:
        """Return the shape that `"json"`, a schema or a class means; raises RequestError."""
        if value == "json":
            return cls("json")
        describe = getattr(value, "model_json_schema", None)
        if callable(describe):
            return cls(dict(describe()), value)
        if isinstance(value, Mapping):
            return cls(plain(dict(value)))
        raise RequestError(
            f'A form is "json", a JSON schema as a dict or a class of pydantic, not {value!r:.80}.'
        )

    def parse(self, response: Response) -> Any:
        """Return what the answer says: JSON's values, or an object of the class.

        Raises InvalidAnswerError for an answer that is not JSON, or not the class's.
        """
        try:
            found = json.loads(response.text)
        except ValueError as error:
            raise InvalidAnswerError(f"The answer is no JSON ({error}). {_advice(response)}") from (
                error
            )
        check = getattr(self._model, "model_validate", None)
        if not callable(check):
            return found
        try:
            return check(found)
        except ValueError as error:  # pydantic's ValidationError is one
            told = " ".join(str(error).split())
            shown = told if len(told) <= _SHOWN else told[: _SHOWN - 1] + "…"
            raise InvalidAnswerError(
                f"The answer is JSON, but no {self._model.__name__}: {shown} {_advice(response)}"
            ) from error


def _advice(response: Response) -> str:
    if response.get("done_reason") == "length":
        return "It was cut at the limit of tokens: raise num_predict (--max-tokens)."
    return "Say in the prompt what you want, or ask again with another seed."

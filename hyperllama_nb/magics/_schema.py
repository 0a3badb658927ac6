"""What `--schema` names: a variable, a JSON schema, a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands.options import UsageError

if TYPE_CHECKING:
    from hyperllama_nb.client import Shape


def read_schema(text: str, namespace: Mapping[str, Any]) -> "Shape":
    """Return the form of answer that the word behind `--schema` means.

    That is JSON if it begins with a brace; else a variable that holds a schema, as a dict or as
    JSON, or a class of pydantic; else a file with JSON. Raises UsageError if it is none of these.
    """
    from hyperllama_nb.client import Shape

    if text.lstrip().startswith("{"):
        return Shape.of(_json(text, "Write it in single quotes: --schema '{\"type\": …}'."))
    if text in namespace:
        value = namespace[text]
        if isinstance(value, str):
            value = _json(value, f"It is what the variable {text} holds.")
        if not (isinstance(value, Mapping) or callable(getattr(value, "model_json_schema", None))):
            raise UsageError(
                f"The variable {text} holds a {type(value).__name__}; --schema wants a JSON schema "
                "as a dict, or a class of pydantic."
            )
        return Shape.of(value)
    try:
        found = Path(text).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(
            f"--schema {text}: there is no such variable, and no such file ({reason}). Give a "
            "variable with a schema, a file, or JSON in single quotes."
        ) from None
    return Shape.of(_json(found, f"It is in the file {text}."))


def _json(text: str, advice: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"The schema is not JSON ({error}). {advice}") from None
    if not isinstance(found, dict):
        raise UsageError(f"A JSON schema is an object in braces, not {text:.60}. {advice}")
    return found

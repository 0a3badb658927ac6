"""What the wire's JSON objects become: dicts whose keys are attributes too."""

from datetime import datetime
from typing import Any

_OPTIONAL_NAMES = (
    "model created_at done done_reason total_duration load_duration prompt_eval_count "
    "prompt_eval_duration prompt_eval_cached_count eval_count eval_duration response thinking "
    "context logprobs message role content images tool_name tool_calls status completed total "
    "digest name size size_vram details expires_at modified_at context_length modelfile template "
    "license parameters model_info capabilities parent_model format family families "
    "parameter_size quantization_level hyperllama"
)
_OPTIONAL = frozenset(_OPTIONAL_NAMES.split())
"""Fields that the API may leave out: as attributes they are None then, as in ollama-python."""

_TIMES = frozenset({"expires_at", "modified_at"})


class Record(dict[str, Any]):
    """A JSON object of the API: a plain dict, with attributes for its keys.

    `record["done"]` raises KeyError if the key is missing; `record.done` is None for a field that
    the API may leave out, and raises AttributeError for any other name. As attributes,
    `expires_at` and `modified_at` are datetimes.
    """

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        super().__init__({key: record(value) for key, value in (values or {}).items()})

    def __getattr__(self, name: str) -> Any:
        if name == "modelinfo":
            name = "model_info"
        if name in self:
            value = self[name]
            if name in _TIMES and isinstance(value, str):
                return datetime.fromisoformat(value)
            return value
        if name in _OPTIONAL:
            return None
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")


def record(value: Any) -> Any:
    """Return JSON with each object as a Record, at any depth."""
    if type(value) is dict:
        return Record(value)
    if type(value) is list:
        return [record(item) for item in value]
    return value

"""Llama with Q4_0 weights for MAX on a CPU; a file for MAX's interpreter, imported by MAX itself.

MAX dequantises the rows of a Q4_0 embedding wrongly (`ggml_q4_0_dequantize`), which ends in NaN or
a crash. Here the table is float32 where tokens are looked up, and Q4_0 where logits are made.
Weights of other kinds take MAX's own way. Imports nothing of the package that it is in.
"""

import dataclasses
import inspect
from typing import Any

import gguf
import numpy as np
from hyperllama_fallback import MisfitError
from max.dtype import DType
from max.graph.quantization import QuantizationEncoding

try:
    from max.graph.weights import WeightData, WeightsFormat
    from max.nn.embedding import Embedding
    from max.pipelines.architectures.llama3.arch import llama_arch
    from max.pipelines.architectures.llama3.llama3 import Llama3
    from max.pipelines.architectures.llama3.model import Llama3Model
    from max.pipelines.architectures.llama3.weight_adapters import convert_gguf_state_dict
    from max.pipelines.lib.graph_specs import GraphSpec
except ImportError as error:
    raise MisfitError(str(error)) from error

_TABLE, _HEAD = "embed_tokens.weight", "lm_head.weight"

_METHODS = {
    "_single_device_spec": ["self", "model_config"],
    "_bind_graph_inputs": ["self", "input_tree"],
}
"""What is overridden or called and is not public, with its parameters."""

_FIELDS = {"model_quantization_encoding", "tie_word_embeddings", "vocab_size", "hidden_size"}


def probe(model: Any = Llama3Model, config: Any = None) -> None:
    """Raise MisfitError unless MAX has the names that are used below, as they are used."""
    for name, expected in _METHODS.items():
        method = getattr(model, name, None)
        if method is None:
            raise MisfitError(f"{model.__name__} has no {name}")
        found = list(inspect.signature(method).parameters)
        if found != expected:
            raise MisfitError(f"{model.__name__}.{name} takes {', '.join(found)}")
    config = config or getattr(model, "config_class", None)
    fields = (
        {f.name for f in dataclasses.fields(config)} if dataclasses.is_dataclass(config) else ()
    )
    missing = sorted(_FIELDS.difference(fields))
    if missing:
        raise MisfitError(f"{getattr(config, '__name__', 'the configuration')} has no {missing[0]}")


def convert(state_dict: Any, **given: Any) -> dict[str, WeightData]:
    """Return a GGUF's weights under MAX's names: a float32 table, its Q4_0 bytes as the head."""
    weights = dict(convert_gguf_state_dict(state_dict, **given))
    table = weights[_TABLE]
    if table.quantization_encoding == QuantizationEncoding.Q4_0:
        if _HEAD not in weights:
            weights[_HEAD] = dataclasses.replace(table, name=_HEAD)
        kind = gguf.GGMLQuantizationType.Q4_0
        plain = gguf.dequantize(np.asarray(table.data).reshape(tuple(map(int, table.shape))), kind)
        weights[_TABLE] = WeightData.from_numpy(plain, _TABLE)
    return weights


class Llama3Q4(Llama3Model):  # type: ignore[misc]
    """Llama whose embedding and head are two weights where the model is quantised."""

    def _single_device_spec(self, model_config: Any) -> GraphSpec:
        if model_config.model_quantization_encoding != QuantizationEncoding.Q4_0:
            return super()._single_device_spec(model_config)
        model_config.tie_word_embeddings = False
        model = Llama3(model_config)
        model.embed_tokens = Embedding(
            model_config.vocab_size,
            model_config.hidden_size,
            DType.float32,
            model_config.devices[0],
        )
        model.load_state_dict(
            self.state_dict, override_quantization_encoding=True, weight_alignment=1, strict=False
        )
        inputs = self._bind_graph_inputs(model.input_tree(self.kv_params))
        return GraphSpec(model, "llama3", inputs, weights=model.state_dict())


probe()

ARCHITECTURES = [
    dataclasses.replace(
        llama_arch,
        pipeline_model=Llama3Q4,
        weight_adapters={**llama_arch.weight_adapters, WeightsFormat.gguf: convert},
    )
]

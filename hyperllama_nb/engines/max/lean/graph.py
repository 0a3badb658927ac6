"""Llama's forward pass as a graph of MAX: of any batch, lengths and context."""

from collections.abc import Callable, Mapping
from typing import Any

from max import tree
from max.dtype import DType
from max.graph import BufferType, DeviceRef, Graph, TensorType, TensorValue, Weight, ops
from max.graph.quantization import QuantizationEncoding
from max.nn.attention import MHAMaskVariant
from max.nn.kernels import flash_attention_ragged, rope_split_store_ragged
from max.nn.kv_cache import KVCacheInputsPerDevice, MHAKVCacheParams
from numpy.typing import NDArray

from .base import PAGE
from .config import Config
from .library import library
from .weights import Checkpoint

_CPU = DeviceRef.CPU()
_Q4_0 = QuantizationEncoding.Q4_0


def cache_layout(config: Config) -> MHAKVCacheParams:
    """Return how keys and values lie: pages of float32, [2, layers, PAGE, KV heads, head size]."""
    return MHAKVCacheParams(
        dtype=DType.float32,
        head_dim=config.head_dim,
        num_layers=config.layers,
        devices=[_CPU],
        n_kv_heads=config.kv_heads,
        page_size=PAGE,
    )


def build(config: Config, checkpoint: Checkpoint, *, own: bool) -> Graph:
    """Return the graph; it depends on the model's sizes, not on the context or the batch.

    Its inputs are the tokens of all rows, int64 [tokens]; where each row begins, uint32 [rows + 1];
    the rotations of all positions, float32 [positions, head size]; and the KV cache's. Its output
    is float32 [rows, vocabulary]: the logits after each row's last token. Query, key and value are
    one product, and so are gate and up: at one token a product's launch is much of its time. With
    `own`, products are our kernel's, for weights in float32; raises RuntimeError if it does not
    compile.
    """
    layout = cache_layout(config)
    weigh = _Weights(checkpoint, own=own)
    inputs: list[TensorType | BufferType] = [
        TensorType(DType.int64, ["tokens"], _CPU),
        TensorType(DType.uint32, ["offsets"], _CPU),
        TensorType(DType.float32, ["positions", config.head_dim], _CPU),
        *layout.flattened_kv_inputs(),
    ]
    extensions = [library()] if own else []
    with Graph("hyperllama", input_types=inputs, custom_extensions=extensions) as graph:
        tokens, offsets, rotations = (value.tensor for value in graph.inputs[:3])
        cache = tree.leaves(
            layout.unflatten_kv_inputs(iter(graph.inputs[3:])), leaf=KVCacheInputsPerDevice
        )[0]

        def attend(index: int, normed: TensorValue) -> TensorValue:
            layer = ops.constant(index, DType.uint32, device=_CPU)
            queries = rope_split_store_ragged(
                layout,
                weigh.product(normed, f"{index}.qkv"),
                offsets,
                rotations,
                cache,
                layer,
                config.heads,
                interleaved=checkpoint.interleaved,
            )
            mixed = flash_attention_ragged(
                layout,
                input=queries.reshape((-1, config.heads, config.head_dim)),
                input_row_offsets=offsets,
                kv_collection=cache,
                layer_idx=layer,
                mask_variant=MHAMaskVariant.CAUSAL_MASK,
                scale=config.head_dim**-0.5,
            )
            return ops.reshape(mixed, (-1, config.heads * config.head_dim))

        hidden = ops.gather(weigh.embedding(), tokens, axis=0)
        for index in range(config.layers):
            mixed = attend(index, weigh.norm(hidden, f"{index}.attention_norm", config.epsilon))
            hidden = hidden + weigh.product(mixed, f"{index}.output")
            normed = weigh.norm(hidden, f"{index}.feed_forward_norm", config.epsilon)
            both = weigh.product(normed, f"{index}.gate_up")
            gate, up = both[:, : config.feed_forward], both[:, config.feed_forward :]
            hidden = hidden + weigh.product(ops.silu(gate) * up, f"{index}.down")
        last = ops.gather(hidden, offsets[1:] - 1, axis=0)
        graph.output(weigh.product(weigh.norm(last, "norm", config.epsilon), "head"))
    return graph


class _Weights:
    """The weights inside the graph, each declared once."""

    def __init__(self, checkpoint: Checkpoint, *, own: bool) -> None:
        self._arrays: Mapping[str, NDArray[Any]] = checkpoint.arrays
        self._packed = checkpoint.encoding == "q4_0"
        self._product: Callable[[TensorValue, TensorValue], TensorValue] = (
            _packed_product if self._packed else own_product if own else plain_product
        )
        self._declared: dict[str, TensorValue] = {}

    def product(self, x: TensorValue, name: str) -> TensorValue:
        return self._product(x, self._declare(name, packed=self._packed))

    def norm(self, x: TensorValue, name: str, epsilon: float) -> TensorValue:
        weight = self._declare(name, packed=False)
        return ops.rms_norm(x, weight, epsilon, weight_offset=0.0, multiply_before_cast=False)

    def embedding(self) -> TensorValue:
        own = "embedding" in self._arrays
        return self._declare("embedding" if own else "head", packed=False)

    def _declare(self, name: str, *, packed: bool) -> TensorValue:
        if name not in self._declared:
            self._declared[name] = TensorValue(
                Weight(
                    name,
                    DType.uint8 if packed else DType.float32,
                    self._arrays[name].shape,
                    device=_CPU,
                    quantization_encoding=_Q4_0 if packed else None,
                )
            )
        return self._declared[name]


def _packed_product(x: TensorValue, weight: TensorValue) -> TensorValue:
    return ops.qmatmul(_Q4_0, None, x, weight)


def plain_product(x: TensorValue, weight: TensorValue) -> TensorValue:
    """Return `x` [rows, inputs] times the matrix [outputs, inputs], by MAX's kernel."""
    return x @ ops.transpose(weight, 0, 1)


def own_product(x: TensorValue, weight: TensorValue) -> TensorValue:
    """Return the same by our kernel, which a graph has with `custom_extensions=[library()]`."""
    shape = TensorType(DType.float32, [x.shape[0], weight.shape[0]], _CPU)
    given = [x, weight]
    return ops.custom("hyperllama.product", _CPU, given, [shape])[0].tensor

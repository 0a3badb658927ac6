"""Two faults of MAX that the lean engine goes round, each in the shortest program that shows it.

    python benchmarks/upstream.py

1. Dequantising rows of Q4_0 (`ops.dequantize`, and so an embedding in Q4_0): of [rows, width] only
   the first `width` rows come out right; with fewer rows than that it writes past its buffer.
2. `Buffer.zeros` on a CPU returns before it has zeroed: a graph that runs at once may read what was
   there, and zeros may overwrite what it stored.
"""

import gguf
import numpy as np
from max.driver import CPU, Buffer
from max.dtype import DType
from max.engine import InferenceSession
from max.graph import BufferType, DeviceRef, Graph, TensorType, ops
from max.graph.quantization import QuantizationEncoding

_CPU = DeviceRef.CPU()
_Q4_0 = gguf.GGMLQuantizationType.Q4_0


def dequantised(session: InferenceSession, rows: int, width: int) -> int:
    """Return how many rows of a random matrix come out right; `rows` >= `width`, or it crashes."""
    numbers = np.random.default_rng(0).standard_normal((rows, width), np.float32)
    packed = gguf.quantize(numbers, _Q4_0)
    with Graph("rows", input_types=[TensorType(DType.uint8, packed.shape, _CPU)]) as graph:
        graph.output(ops.dequantize(QuantizationEncoding.Q4_0, graph.inputs[0].tensor))
    model = session.load(graph)
    found = model.execute(Buffer.from_numpy(np.ascontiguousarray(packed)))[0].to_numpy()
    right = gguf.dequantize(packed, _Q4_0)
    return int(np.isclose(found, right, atol=1e-3).all(axis=1).sum())


def raced(session: InferenceSession, size: int, made: str, times: int = 20) -> int:
    """Return how often adding 1 to so many zeros did not give ones everywhere."""
    with Graph("ones", input_types=[BufferType(DType.float32, [size], _CPU)]) as graph:
        numbers = graph.inputs[0].buffer
        ops.buffer_store(numbers, ops.buffer_load(numbers) + 1)
        graph.output()
    model, wrong = session.load(graph), 0
    for _ in range(times):
        if made == "Buffer.zeros":
            buffer = Buffer.zeros((size,), DType.float32, CPU())
        else:
            buffer = Buffer.from_numpy(np.zeros(size, np.float32))
        model.execute(buffer)
        wrong += not (buffer.to_numpy() == 1).all()
    return wrong


def main() -> None:
    session = InferenceSession([CPU()])
    for rows, width in ((192, 64), (1728, 576)):
        right = dequantised(session, rows, width)
        print(f"Q4_0, {rows} rows of {width}: {right} right")
    for size in (1_000, 50_000_000):
        for made in ("Buffer.zeros", "numpy.zeros"):
            print(f"{made}, {size:,} numbers: wrong {raced(session, size, made)} times of 20")


if __name__ == "__main__":
    main()

"""Our product of float32 on real MAX: right, and a row's numbers whatever is beside it."""

import concurrent.futures
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

SHAPES = ((960, 576), (7, 33))
ROWS = (*range(1, 18), 32, 33, 70)


def apart(work, *arguments):
    """Run a function in a process of its own, which ends with the threads that MAX starts."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(work, *arguments).result()


def products():
    """Return what multiplies an array [rows, inputs] with each of some matrices, and those."""
    from max.driver import CPU, Buffer
    from max.dtype import DType
    from max.engine import InferenceSession
    from max.graph import DeviceRef, Graph, TensorType, TensorValue, Weight

    from hyperllama_nb.engines.max.lean.graph import own_product
    from hyperllama_nb.engines.max.lean.library import library

    device = DeviceRef.CPU()
    matrices = {
        f"m{outputs}": np.random.default_rng(1).standard_normal((outputs, inputs), np.float32)
        for outputs, inputs in SHAPES
    }
    given = [TensorType(DType.float32, ["rows", inputs], device) for _, inputs in SHAPES]
    with Graph("products", input_types=given, custom_extensions=[library()]) as graph:
        weights = [
            TensorValue(Weight(name, DType.float32, matrix.shape, device=device))
            for name, matrix in matrices.items()
        ]
        found = zip(graph.inputs, weights, strict=True)
        graph.output(*(own_product(x.tensor, weight) for x, weight in found))
    model = InferenceSession([CPU()]).load(graph, weights_registry=matrices)

    def multiply(arrays):
        return [one.to_numpy() for one in model.execute(*map(Buffer.from_numpy, arrays))]

    return multiply, list(matrices.values())


def compared():
    """Return by shape the largest error, and the numbers of rows where a row came out otherwise."""
    multiply, matrices = products()
    worst, otherwise = [0.0] * len(matrices), [[] for _ in matrices]
    for rows in ROWS:
        random = np.random.default_rng(rows)
        given = [random.standard_normal((rows, one.shape[1]), np.float32) for one in matrices]
        found = multiply(given)
        alone = [multiply([x[row : row + 1].copy() for x in given]) for row in range(rows)]
        for number, (x, matrix) in enumerate(zip(given, matrices, strict=True)):
            right = x.astype(np.float64) @ matrix.T
            worst[number] = max(worst[number], float(np.abs(found[number] - right).max()))
            together = np.concatenate([one[number] for one in alone])
            if not (together == found[number]).all():
                otherwise[number].append(rows)
    return worst, otherwise


def test_products_are_right_and_a_row_does_not_depend_on_those_beside_it():
    worst, otherwise = apart(compared)
    for (_, inputs), error in zip(SHAPES, worst, strict=True):
        assert error < 1e-6 * inputs
    assert otherwise == [[] for _ in SHAPES]


def compiled(sources):
    """Return what the library says of other sources."""
    from hyperllama_nb.engines.max.lean import library

    library.SOURCES = Path(sources)
    with pytest.raises(RuntimeError) as found:
        library.library()
    return str(found.value)


def test_sources_that_do_not_compile_are_an_error_in_the_compilers_words(tmp_path, monkeypatch):
    monkeypatch.setenv("MODULAR_CACHE_DIR", str(tmp_path / "cache"))
    sources = tmp_path / "kernels"
    sources.mkdir()
    (sources / "__init__.mojo").touch()
    (sources / "wrong.mojo").write_text("from nowhere import nothing\n")
    assert "unable to locate module 'nowhere'" in apart(compiled, str(sources))
    assert list((tmp_path / "cache" / "hyperllama").iterdir()) == []

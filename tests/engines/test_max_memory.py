"""What MAX is expected to take of the memory."""

from dataclasses import replace

import pytest

from hyperllama_nb.engines.max import memory
from hyperllama_nb.engines.memory import GIB, Need
from tests.engines.test_max_devices import GB, GPU, MANIFEST, spec

CACHE = 2 * 30 * 4 * 64 * 4 * 4096
"""Bytes for one request: keys and values, layers, heads, their size, float32, tokens."""


@pytest.mark.parametrize("shape", [memory.SERVE, memory.LEAN])
def test_an_engine_takes_its_weights_its_cache_and_itself(shape):
    need = memory.need(spec(batch=4), shape)
    assert need == Need(int(2 * GB * shape.copies), 4 * CACHE, shape.engine)
    assert need.total == need.weights + need.cache + need.engine
    assert memory.need(spec(task="embed"), shape).cache == 0


def test_weights_that_are_widened_take_twice_as_much():
    widened = memory.need(spec(manifest=replace(MANIFEST, encoding="bfloat16")), memory.SERVE)
    assert widened.weights == 2 * memory.need(spec(), memory.SERVE).weights


def test_a_gpu_holds_the_weights_once_and_a_cache_as_short_as_they_are():
    short = replace(MANIFEST, encoding="bfloat16")
    need = memory.need(spec(placement=GPU, manifest=short, batch=4), memory.SERVE)
    assert (need.weights, need.cache) == (2 * GB, 2 * CACHE)


def test_four_bit_weights_have_a_table_in_float32_beside_them():
    packed = memory.need(spec(manifest=replace(MANIFEST, encoding="q4_0")), memory.LEAN)
    plain = memory.need(spec(), memory.LEAN)
    assert packed.weights - plain.weights >= 4 * 49152 * 576


def test_one_process_takes_less_than_two():
    assert memory.need(spec(), memory.LEAN).total < memory.need(spec(), memory.SERVE).total


def test_a_need_is_told_by_its_parts():
    assert Need(GIB // 2, GIB // 4, GIB // 4).words() == (
        "1.0 GiB (0.5 weights, 0.2 cache, 0.2 engine)"
    )
    assert Need(93 << 20, 45 << 20, 72 << 20).words() == (
        "210 MiB (93 weights, 45 cache, 72 engine)"
    )

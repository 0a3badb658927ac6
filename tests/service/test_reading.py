"""Before a GGUF file is stored, the installed backends are asked whether one runs it as it is."""

from pathlib import Path

import pytest

from hyperllama_nb.errors import CannotRunError, EngineMissingError, NotEnoughMemoryError
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.reading import runs_as_it_is
from hyperllama_nb.testing import FakeBackend
from tests.models.manifests import manifest

MODEL = manifest("tiny:1", encoding="gguf Q4_1")


def backend(refusal=None, missing=False):
    made = FakeBackend()
    made.refusal = refusal
    if missing:

        def available():
            raise EngineMissingError("It is not installed.")

        made.available = available
    return made


def asked(settings=None, **backends):
    return runs_as_it_is(backends, settings or HyperLlamaService(), MODEL, Path("/x.gguf"))


NO = CannotRunError("It reads no GGUF files.")


@pytest.mark.parametrize(
    ("backends", "answer"),
    [
        ({}, False),
        ({"a": backend(NO)}, False),
        ({"a": backend(missing=True)}, False),
        ({"a": backend(NO), "b": backend()}, True),
        ({"a": backend(NotEnoughMemoryError("Later, perhaps."))}, True),
    ],
)
def test_one_that_can_is_enough(backends, answer):
    assert asked(**backends) is answer


def test_a_backend_that_was_chosen_is_asked_alone():
    both = {"a": backend(NO), "b": backend()}
    assert not asked(HyperLlamaService(backend="a"), **both)
    assert asked(HyperLlamaService(backend="b"), **both)
    assert not asked(HyperLlamaService(backend="c"), **both)

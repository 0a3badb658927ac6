"""What the lean engine does when its own kernels do not compile."""

import pytest

from hyperllama_nb.engines.max.lean import model
from hyperllama_nb.engines.max.lean.weights import Checkpoint


class Session:
    """Compiles whatever it is given."""

    def __init__(self, devices):
        del devices

    def compile(self, graph):
        return graph


@pytest.fixture
def built(monkeypatch):
    """Return how the graph was asked for; with our own kernels it fails."""
    asked = []

    def build(config, checkpoint, *, own):
        asked.append(own)
        if own:
            raise RuntimeError("no such intrinsic\nand much more")
        return "a graph"

    monkeypatch.setattr(model, "InferenceSession", Session)
    monkeypatch.setattr(model, "read_config", lambda directory: None)
    monkeypatch.setattr(model, "build", build)
    return asked


def weights(monkeypatch, encoding):
    checkpoint = Checkpoint({}, encoding, interleaved=False)
    monkeypatch.setattr(model, "read_checkpoint", lambda directory, config: checkpoint)


def test_the_product_of_max_is_used_where_ours_does_not_compile(built, monkeypatch, tmp_path):
    weights(monkeypatch, "float32")
    said = []
    model.warm(tmp_path, said.append)
    assert built == [True, False]
    [sentence] = [line for line in said if "does not compile" in line]
    assert sentence.endswith("so MAX's own is used: no such intrinsic")


def test_four_bits_do_not_ask_for_them(built, monkeypatch, tmp_path):
    weights(monkeypatch, "q4_0")
    model.warm(tmp_path, lambda line: None)
    assert built == [False]


def test_an_error_that_is_not_theirs_is_raised(built, monkeypatch, tmp_path):
    weights(monkeypatch, "float32")
    monkeypatch.setattr(Session, "compile", lambda self, graph: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.warm(tmp_path, lambda line: None)
    assert built == [True, False]

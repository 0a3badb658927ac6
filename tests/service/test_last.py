"""The last model that a notebook ran, kept for the next notebook."""

from types import SimpleNamespace

import pytest

from hyperllama_nb.runtime import last_model, remember_last
from hyperllama_nb.service import service as services
from hyperllama_nb.service.last import Last
from tests.service.hosting import hosting


def ask(service, kind):
    with service.lease(kind) as lease:
        header = {"X-HyperLlama-Lease": lease}
        _, lines = service.lines(headers=header, model="tiny", prompt="Hi")
        assert lines[-1]["done"]


@pytest.mark.slow
def test_what_a_notebook_ran_is_kept():
    with hosting("process") as service:
        service.generate()
        ask(service, "python")
        assert last_model() is None
        ask(service, "kernel")
        assert last_model() == "tiny:latest"


def test_a_service_in_a_kernel_forgets_it():
    with hosting("thread") as service:
        remember_last("other:1b")
        ask(service, "kernel")
        assert last_model() is None


def test_what_embeds_does_not_count():
    last = Last()
    last.note(SimpleNamespace(model="minilm", spec=SimpleNamespace(task="embed")))
    assert last_model() is None
    last.note(SimpleNamespace(model="smollm2:135m", spec=SimpleNamespace(task="generate")))
    assert last_model() == "smollm2:135m"
    remember_last(None)


def test_the_host_decides():
    assert services.Service(backends={}).manager.last.kept
    assert not services.Service(host="kernel", backends={}).manager.last.kept

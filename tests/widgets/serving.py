"""Services that a widget of this process finds by itself."""

from contextlib import contextmanager

from hyperllama_nb.client import _start
from tests.service.hosting import PLAIN, hosting


@contextmanager
def serving(scripts=PLAIN, **options):
    """Run a service in a thread, and give back this process's lease on it at the end."""
    with hosting("thread", scripts, **options) as running:
        try:
            yield running
        finally:
            _start.drop(running.socket)

"""One JupyterLab, one browser and one real engine for the whole run."""

from contextlib import ExitStack, contextmanager

import pytest
from playwright.sync_api import expect

from tests.browser.lab import PATIENCE, browser, jupyterlab
from tests.browser.screen import LIGHT, Screen
from tests.integration.conftest import client, models
from tests.service.hosting import Running, hosting

__all__ = ["client", "models"]

LOAD = "get_ipython().run_line_magic('load_ext', 'hyperllama_nb')"

TINY = "get_ipython().run_line_magic('config', 'HyperLlamaMagics.model = \"tiny\"')"

SIZE = {"width": 1000, "height": 800}


@pytest.fixture(scope="session")
def lab(session_place):
    with jupyterlab() as running:
        yield running


@pytest.fixture(scope="session")
def page():
    with browser() as running:
        expect.set_options(timeout=PATIENCE * 1000)
        clipboard = ["clipboard-read", "clipboard-write"]
        yield running.new_context(viewport=SIZE, permissions=clipboard).new_page()


@pytest.fixture(scope="session")
def screen(lab, page):
    return Screen(page, lab)


@pytest.fixture
def notebook(screen, client):
    """Return a function that opens a notebook on the real engine."""
    with opening(screen, LOAD) as open_:
        yield open_


@pytest.fixture
def scripted(screen):
    """Return a function that opens a notebook on a service whose engines follow scripts.

    It gives the notebook and the service, which can be given in place of the scripts.
    """
    with ExitStack() as stack:

        def open_(scripts, *cells, **fields):
            service = scripts
            if not isinstance(service, Running):
                service = stack.enter_context(hosting("process", scripts, **fields))
            place = str(service.socket.parent)
            setup = f"import os; os.environ['HYPERLLAMA_RUNTIME_DIR'] = {place!r}"
            opener = stack.enter_context(opening(screen, f"{setup}\n{LOAD}\n{TINY}"))
            return opener(*cells), service

        yield open_


@contextmanager
def opening(screen, setup):
    """Give a function that opens notebooks, and close them at the end."""
    opened = []

    def open_(*cells):
        opened.append(screen.open(*cells, setup=setup))
        return opened[-1]

    try:
        yield open_
    finally:
        screen.theme(LIGHT)
        for one in opened:
            one.close()

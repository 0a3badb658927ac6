"""TCP addresses that are held open, with a scripted service."""

import threading

from hyperllama_nb.commands.listener import Listener


class Lines:
    """The lines of `/admin/serve`: an address, the log, and then nothing until it is closed."""

    def __init__(self, address: str, log: tuple[str, ...]) -> None:
        self._items = iter([{"address": address}, *({"log": line} for line in log)])
        self.closed = threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        item = next(self._items, None)
        if item is None:
            self.closed.wait(30)
            raise StopIteration
        return item

    def close(self) -> None:
        self.closed.set()


class Client:
    def __init__(self, *log: str) -> None:
        self.log = log
        self.opened: list[Lines] = []

    def serve(self, host: str, port: int) -> Lines:
        self.opened.append(Lines(f"{host}:{port}", self.log))
        return self.opened[-1]


def test_the_log_follows_the_address():
    client = Client("one", "two")
    listener = Listener(client, "127.0.0.1", 1)
    client.opened[0].closed.set()
    assert listener.address == "127.0.0.1:1"
    assert list(listener.lines()) == ["one", "two"]


def test_kept_listeners_stay_until_all_are_closed():
    client = Client("one")
    for port in (1, 2):
        Listener(client, "127.0.0.1", port).keep()
    assert not any(lines.closed.is_set() for lines in client.opened)
    assert sorted(Listener.close_all()) == ["127.0.0.1:1", "127.0.0.1:2"]
    assert all(lines.closed.is_set() for lines in client.opened)
    assert Listener.close_all() == []

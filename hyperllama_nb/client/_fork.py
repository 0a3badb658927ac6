"""Sockets that a forked child must not keep open."""

import contextlib
import os
import socket
import weakref
from collections.abc import Callable

_sockets: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()
_hooks: list[Callable[[], None]] = []


def guard(sock: socket.socket) -> None:
    """Close the socket in children that this process forks, without ending the connection."""
    _sockets.add(sock)


def in_child(hook: Callable[[], None]) -> None:
    """Call the hook in each forked child."""
    _hooks.append(hook)


def _forget() -> None:
    # The descriptor's number is kept and points to nothing: a later close of the socket object
    # would otherwise hit a file that the child has opened since. A shutdown would reach the parent.
    nothing = os.open(os.devnull, os.O_RDWR)
    for sock in list(_sockets):
        with contextlib.suppress(OSError):
            if sock.fileno() >= 0:
                os.dup2(nothing, sock.fileno())
    os.close(nothing)
    _sockets.clear()
    for hook in _hooks:
        hook()


os.register_at_fork(after_in_child=_forget)

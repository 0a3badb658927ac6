"""Faces of the engine service for Python programs."""

from hyperllama_nb.client._achat import achat
from hyperllama_nb.client._async import AsyncClient, AsyncStream
from hyperllama_nb.client._client import Client
from hyperllama_nb.client._default import chat, client, generate, load
from hyperllama_nb.client._engine import Engine
from hyperllama_nb.client._records import Record
from hyperllama_nb.client._response import Response, Timings, Usage
from hyperllama_nb.client._shape import Shape
from hyperllama_nb.client._start import start_in_kernel
from hyperllama_nb.client._stream import Stream

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Client",
    "Engine",
    "Record",
    "Response",
    "Shape",
    "Stream",
    "Timings",
    "Usage",
    "achat",
    "chat",
    "client",
    "generate",
    "load",
    "start_in_kernel",
]

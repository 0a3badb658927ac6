"""The memory that an engine will take, said before it starts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperllama_nb.errors import NotEnoughMemoryError

if TYPE_CHECKING:
    from hyperllama_nb.engines.base import LaunchSpec

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Need:
    """The bytes that an engine will take, by what takes them.

    `weights` are the model's, with the copies that the engine makes of them; `cache` holds the keys
    and values of `batch` requests of the whole context; `engine` is all else: processes, compiled
    code, buffers.
    """

    weights: int
    cache: int
    engine: int

    @property
    def total(self) -> int:
        """Return the bytes in all."""
        return self.weights + self.cache + self.engine

    def plain(self) -> dict[str, int]:
        """Return the figures for JSON."""
        parts = {"weights": self.weights, "cache": self.cache, "engine": self.engine}
        return {"total": self.total, **parts}

    def words(self) -> str:
        """Return the sum and its parts for people.

        >>> Need(1 << 29, 3 << 28, 3 << 28).words()
        '2.0 GiB (0.5 weights, 0.8 cache, 0.8 engine)'
        """
        unit, name, digits = (GIB, "GiB", 1) if self.total >= GIB else (MIB, "MiB", 0)
        parts = {"weights": self.weights, "cache": self.cache, "engine": self.engine}
        told = ", ".join(f"{size / unit:.{digits}f} {part}" for part, size in parts.items())
        return f"{self.total / unit:.{digits}f} {name} ({told})"

    def check(self, spec: "LaunchSpec", free: int, where: str) -> None:
        """Raise NotEnoughMemoryError if it is more than what is free.

        `where` says of what: "of this machine's memory".
        """
        if self.total <= free:
            return
        raise NotEnoughMemoryError(
            f"{spec.manifest.name.display} needs {self.words()} with room for {spec.batch or 1} "
            f"times {spec.context} tokens, and {free / GIB:.1f} GiB {where} is free. Unload "
            "another model (`hyperllama ps`), lower num_ctx or OLLAMA_NUM_PARALLEL, or take a "
            "smaller model."
        )

"""How `max serve` is made to run Q4_0 weights, which its own Llama does not."""

from pathlib import Path

from hyperllama_nb.engines.base import LaunchSpec
from hyperllama_nb.engines.max import devices

ENCODING = "q4_0"

ARCHITECTURES = Path(__file__).with_name("architectures")
"""Files that MAX imports; nothing of this package can be imported there."""

MODULE = "hyperllama_q4_0"


def options(spec: LaunchSpec) -> list[str]:
    """Return the options that a launch needs for its weights: none where they are not Q4_0."""
    if devices.encoding(spec.manifest, spec.placement) != ENCODING:
        return []
    return ["--custom-architectures", f"{ARCHITECTURES}:{MODULE}"]

"""What MAX can run where: encodings, architectures, and the choice of devices."""

import json
from typing import TYPE_CHECKING

from hyperllama_nb.engines.base import LaunchSpec, Placement
from hyperllama_nb.errors import CannotRunError

if TYPE_CHECKING:
    from hyperllama_nb.hardware import Device, Hardware
    from hyperllama_nb.models.manifest import Manifest

CPU_ARCHITECTURES = {
    "LlamaForCausalLM": frozenset({"float32", "q4_0", "q4_k", "q6_k"}),
    **dict.fromkeys(
        (
            "BertModel",
            "GraniteForCausalLM",
            "Lfm2ForCausalLM",
            "MPNetForMaskedLM",
            "MambaForCausalLM",
            "Olmo2ForCausalLM",
            "OlmoForCausalLM",
            "Phi3ForCausalLM",
            "Qwen2ForCausalLM",
            "Qwen3ForCausalLM",
            "Qwen3MoeForCausalLM",
            "Qwen3_5ForCausalLM",
        ),
        frozenset({"float32"}),
    ),
}
"""Architecture → encodings that MAX 26.7 has for it on a CPU."""

WITHOUT_CAST = frozenset({"BertModel", "Lfm2ForCausalLM", "MPNetForMaskedLM"})
"""Architectures whose weights MAX does not convert between bfloat16 and float32."""

EMBEDDERS = frozenset({"BertModel", "MPNetForMaskedLM"})
"""Architectures that make embeddings: the mean over a text's tokens, and nothing else."""

GPU_ENCODINGS = frozenset({"float32", "bfloat16", "float16", "float8_e4m3fn", "gptq"})
"""Encodings that run on a GPU; the 4-bit and 6-bit ones of GGUF run on CPUs only."""

RESERVE = 0.9
"""The share of an accelerator's memory that MAX plans with."""


def encoding(manifest: "Manifest", placement: Placement) -> str:
    """Return the encoding to run: the manifest's, or float32 for bfloat16 weights on a CPU.

    Raises CannotRunError for weights that the device cannot compute with.
    """
    name, found = _display(manifest), manifest.encoding
    if manifest.architecture in WITHOUT_CAST:
        found = {"F32": "float32", "BF16": "bfloat16"}.get(manifest.quantization, found)
    if placement.device == "gpu":
        if found not in GPU_ENCODINGS:
            raise CannotRunError(
                f"{name} has {found} weights, which MAX runs on a CPU only. "
                "Load it on the CPU, or pull the model in bfloat16 or float32."
            )
        return found
    if found == "bfloat16" and manifest.architecture not in WITHOUT_CAST:
        return "float32"
    return found


def place(manifest: "Manifest", hardware: "Hardware") -> Placement:
    """Choose the fewest accelerators of one kind that hold the weights, or else the CPU.

    Apple's GPU is left alone: MAX does not serve on it reliably yet.
    """
    if manifest.encoding in GPU_ENCODINGS:
        for api in ("cuda", "hip"):
            devices = [d for d in hardware.devices if d.api == api]
            devices.sort(key=lambda d: (-d.free, d.index))
            for count in _counts(len(devices), manifest):
                chosen = devices[:count]
                if usable(chosen) >= manifest.weights_size * 1.2:
                    return Placement("gpu", api, tuple(sorted(d.index for d in chosen)))
    return Placement()


def _counts(available: int, manifest: "Manifest") -> list[int]:
    """Return the numbers of devices that a model can be split over, smallest first."""
    heads = max(1, manifest.kv_heads)
    return [count for count in range(1, available + 1) if heads % count == 0]


def usable(devices: "list[Device]") -> float:
    """Return the bytes of the accelerators that MAX plans with."""
    return RESERVE * sum(device.free for device in devices)


def check(spec: LaunchSpec) -> None:
    """Raise CannotRunError, in words, if the model can never run there, whatever is free."""
    manifest, name = spec.manifest, _display(spec.manifest)
    found = encoding(manifest, spec.placement)
    if spec.task == "embed":
        _check_embedder(spec)
    if spec.placement.device == "cpu":
        known = CPU_ARCHITECTURES.get(manifest.architecture)
        if known is None:
            raise CannotRunError(
                f"{name} is a {manifest.architecture}, which MAX runs on a GPU at best, and this "
                "is to run on the CPU. Choose a model of the Llama, Qwen2, Qwen3, Phi-3, Granite "
                "or OLMo family, or a machine with a GPU."
            )
        if found not in known:
            raise CannotRunError(
                f"{name} has {found} weights, and MAX runs {manifest.architecture} on a CPU in "
                f"{' or '.join(sorted(known))}. Pull the model in one of these."
            )
    if spec.context > manifest.context_length:
        raise CannotRunError(
            f"{name} was made for {manifest.context_length} tokens, and {spec.context} were asked "
            "for. Lower num_ctx (OLLAMA_CONTEXT_LENGTH)."
        )


def _check_embedder(spec: LaunchSpec) -> None:
    """Raise CannotRunError for embeddings that MAX does not make, or would make wrongly."""
    name, architecture = _display(spec.manifest), spec.manifest.architecture
    if architecture not in EMBEDDERS:
        raise CannotRunError(
            f"{name} is a {architecture}, and MAX makes embeddings with "
            f"{' and '.join(sorted(EMBEDDERS))}. Choose a model of these, as all-minilm."
        )
    for path in sorted(spec.directory.glob("*_Pooling/config.json")):
        try:
            modes = json.loads(path.read_text("utf-8"))
            used = {key for key, on in modes.items() if key.startswith("pooling_mode") and on}
        except (OSError, ValueError, AttributeError):
            continue  # models without a word about it take the mean
        if used - {"pooling_mode_mean_tokens"}:
            raise CannotRunError(
                f"{name} takes its embeddings by {', '.join(sorted(used))}, and MAX takes the mean "
                "of a text's tokens, which would be another vector. Choose a model that takes the "
                "mean, as all-minilm."
            )


def _display(manifest: "Manifest") -> str:
    return manifest.name.display

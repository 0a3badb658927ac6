"""What this machine has, within control groups and affinity, and what is free of it now."""

import os
import platform
import subprocess
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, Literal, TypeVar

from hyperllama_nb import _cgroup

T = TypeVar("T")
Api = Literal["cpu", "cuda", "hip", "metal"]


@dataclass(frozen=True)
class Device:
    """An accelerator; `index` counts the devices that an engine of this process would see.

    `memory` and `free` are bytes: the machine's, where the GPU shares its memory.
    `utilisation` is the busy share of the last moments in percent, `power` what the device draws in
    watts; None where nobody measures it.
    """

    kind: Literal["cpu", "gpu"]
    api: Api
    index: int
    name: str
    memory: int
    free: int
    utilisation: int | None = None
    power: float | None = None


@dataclass(frozen=True)
class Hardware:
    """A machine as this process may use it; memory in bytes, `devices` are accelerators only."""

    cores: int
    physical_cores: int
    cpu_name: str
    memory_total: int
    memory_available: int
    devices: tuple[Device, ...] = ()


def detect(root: Path = Path("/")) -> Hardware:
    """Look at the machine; never raises, whatever is missing or broken.

    `root` is the directory that holds `proc` and `sys`.
    """
    total, available = _memory(root)
    return Hardware(
        cores=_cores(root),
        physical_cores=_quietly(_physical_cores, 0) or _cores(root),
        cpu_name=cpu_name(root),
        memory_total=total,
        memory_available=available,
        devices=devices(),
    )


def devices() -> tuple[Device, ...]:
    """Return the accelerators, NVIDIA's first, then AMD's, then Apple's; never raises."""
    nothing: list[Device] = []
    return tuple(device for probe in (_nvidia, _amd, _apple) for device in _quietly(probe, nothing))


def sample(root: Path = Path("/"), *, accelerators: bool = True) -> dict[str, Any]:
    """Measure what is in use now; never raises.

    `cpu_busy` of `cpu_total` seconds of the machine's `cpu_cores` were used since it started, so
    that differences between two samples tell the use in between; None where unknown. Memory is in
    bytes. Without `accelerators` none are looked for.
    """
    total, available = _memory(root)
    unknown: tuple[float | None, float | None, int | None] = (None, None, None)
    busy, whole, cores = _quietly(_cpu_seconds, unknown)
    return {
        "cpu_busy": busy,
        "cpu_total": whole,
        "cpu_cores": cores,
        "memory_total": total,
        "memory_available": available,
        "memory_used": total - available,
        "devices": [
            {
                "api": device.api,
                "index": device.index,
                "name": device.name,
                "memory": device.memory,
                "free": device.free,
                "utilisation": device.utilisation,
                "power": device.power,
            }
            for device in (devices() if accelerators else ())
        ],
    }


def _quietly(probe: Callable[[], T], otherwise: T) -> T:
    """Return what a probe finds; vendors' libraries raise anything where their driver is absent."""
    try:
        return probe()
    except Exception:  # noqa: BLE001
        return otherwise


def _cores(root: Path) -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = _cgroup.quota(root)
    return min(cores, limit) if limit else cores


def _physical_cores() -> int:
    import psutil

    return psutil.cpu_count(logical=False) or 0


def _cpu_seconds() -> tuple[float | None, float | None, int | None]:
    import psutil

    times = psutil.cpu_times()
    # A guest's time is part of `user`, and waiting for a disk is not work.
    parts = ("user", "nice", "system", "irq", "softirq", "steal", "idle", "iowait")
    whole = sum(getattr(times, part, 0.0) for part in parts)
    busy = whole - times.idle - getattr(times, "iowait", 0.0)
    return round(busy, 2), round(whole, 2), psutil.cpu_count()


def _memory(root: Path) -> tuple[int, int]:
    """Return the memory this process may use and what is free of it, in bytes; 0 if unknown."""

    def machine() -> tuple[int, int]:
        import psutil

        memory = psutil.virtual_memory()
        return memory.total, memory.available

    total, available = _quietly(machine, (0, 0))
    group = _cgroup.memory(root)
    if group is None:
        return total, available
    if not total:
        return group
    return min(total, group[0]), min(available, group[1])


def cpu_name(root: Path = Path("/")) -> str:
    """Return the processor's model as it calls itself, or its architecture; never raises."""
    try:
        for line in (root / "proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except (OSError, UnicodeDecodeError):
        pass
    if platform.system() == "Darwin":
        name = _quietly(_apple_name, "")
        if name:
            return name
    return platform.processor() or platform.machine() or "unknown"


def _apple_name() -> str:
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=5, check=True
    ).stdout.strip()


def _visible(variable: str, uuids: list[str]) -> list[int]:
    """Return the indices that a vendor's variable leaves, in its order.

    As the vendors do, the list ends at the first entry that names no device.
    """
    value = os.environ.get(variable)
    if value is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for entry in (part.strip() for part in value.split(",")):
        if entry.isdigit():
            found = int(entry) if int(entry) < len(uuids) else None
        else:
            matches = [i for i, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
            found = matches[0] if len(matches) == 1 else None
        if found is None or found in chosen:
            break
        chosen.append(found)
    return chosen


def _nvidia() -> list[Device]:
    import pynvml

    pynvml.nvmlInit()
    try:
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        uuids = [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        found: list[Device] = []
        for index, position in enumerate(_visible("CUDA_VISIBLE_DEVICES", uuids)):
            handle = handles[position]
            name = _text(pynvml.nvmlDeviceGetName(handle))
            # A board that shares the machine's memory has no figures of its own.
            total, free = _quietly(partial(_nvidia_memory, handle), None) or _memory(Path("/"))
            busy = _quietly(partial(_nvidia_busy, handle), None)
            power = _quietly(partial(_nvidia_power, handle), None)
            found.append(Device("gpu", "cuda", index, name, total, free, busy, power))
        return found
    finally:
        pynvml.nvmlShutdown()


def _nvidia_memory(handle: Any) -> tuple[int, int] | None:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return int(memory.total), int(memory.free)


def _nvidia_busy(handle: Any) -> int | None:
    import pynvml

    return int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)


def _nvidia_power(handle: Any) -> float | None:
    import pynvml

    return float(pynvml.nvmlDeviceGetPowerUsage(handle)) / 1000  # milliwatts


def _amd() -> list[Device]:
    # Its import prints a sentence to standard output where the driver's library is absent.
    with redirect_stdout(StringIO()):
        import amdsmi

    amdsmi.amdsmi_init()
    try:
        handles = list(amdsmi.amdsmi_get_processor_handles())
        uuids = [
            _text(_quietly(partial(amdsmi.amdsmi_get_gpu_device_uuid, handle), ""))
            for handle in handles
        ]
        vram = amdsmi.AmdSmiMemoryType.VRAM
        found: list[Device] = []
        for index, position in enumerate(_visible("HIP_VISIBLE_DEVICES", uuids)):
            handle = handles[position]
            name = str(amdsmi.amdsmi_get_gpu_asic_info(handle)["market_name"])
            total = int(amdsmi.amdsmi_get_gpu_memory_total(handle, vram))
            free = max(0, total - int(amdsmi.amdsmi_get_gpu_memory_usage(handle, vram)))
            busy = _quietly(partial(_amd_busy, handle), None)
            power = _quietly(partial(_amd_power, handle), None)
            found.append(Device("gpu", "hip", index, name, total, free, busy, power))
        return found
    finally:
        amdsmi.amdsmi_shut_down()


def _amd_busy(handle: Any) -> int | None:
    import amdsmi

    return int(amdsmi.amdsmi_get_gpu_activity(handle)["gfx_activity"])


def _amd_power(handle: Any) -> float | None:
    import amdsmi

    told = amdsmi.amdsmi_get_power_info(handle)
    # The newer boards tell the one, the older ones the other, and "N/A" for what they do not tell.
    for name in ("current_socket_power", "average_socket_power"):
        if isinstance(told.get(name), int | float) and told[name] > 0:
            return float(told[name])
    return None


def _apple() -> list[Device]:
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return []
    total, available = _memory(Path("/"))
    name = _quietly(_apple_name, "") or "Apple Silicon"
    return [Device("gpu", "metal", 0, name, total, available)]


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

"""Hardware on machines that are made up: control groups as files, vendors' libraries as fakes."""

import os
import platform
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from hyperllama_nb import _cgroup, hardware

GIB = 1 << 30
V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "32 31 0:29 {inner} /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {inner} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
V2_MOUNTS = "31 23 0:28 {inner} /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n"


def tree(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    texts = {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts}
    texts |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = ("0::/user/job\n", V2_MOUNTS.format(inner="/"))
V1 = ("4:memory:/docker/x\n1:cpu,cpuacct:/docker/x\n0::/\n", V1_MOUNTS.format(inner="/"))
V1_INSIDE = (V1[0], V1_MOUNTS.format(inner="/docker/x"))


@pytest.mark.parametrize(
    ("where", "files", "cores"),
    [
        (V2, {"user/job/cpu.max": "150000 100000\n"}, 2),
        (V2, {"user/job/cpu.max": "max 100000\n", "user/cpu.max": "100000 100000"}, 1),
        (V2, {"user/job/cpu.max": "1000 100000\n"}, 1),
        (V2, {"user/job/cpu.max": "max 100000\n"}, None),
        (V2, {"user/job/cpu.max": "nonsense\n"}, None),
        (V2, {}, None),
        (V1, {"cpu/docker/x/cpu.cfs_quota_us": "-1", "cpu/docker/x/cpu.cfs_period_us": "1"}, None),
        (V1, {"cpu/docker/x/cpu.cfs_quota_us": "9", "cpu/docker/x/cpu.cfs_period_us": "3"}, 3),
        (V1, {"cpu/cpu.cfs_quota_us": "8", "cpu/cpu.cfs_period_us": "4"}, 2),
        (V1_INSIDE, {"cpu/cpu.cfs_quota_us": "8", "cpu/cpu.cfs_period_us": "4"}, 2),
        (("garbage", "garbage\n1 2 - \n"), {}, None),
    ],
)
def test_quota_is_the_tightest_of_the_groups(tmp_path, where, files, cores):
    assert _cgroup.quota(tree(tmp_path, *where, files)) == cores


@pytest.mark.parametrize(
    ("where", "files", "expected"),
    [
        (V2, {"user/job/memory.max": "max", "user/job/memory.current": "7"}, None),
        (
            V2,
            {
                "user/job/memory.max": "1000",
                "user/job/memory.current": "700",
                "user/job/memory.stat": "anon 400\ninactive_file 300\n",
            },
            (1000, 600),
        ),
        (
            V2,
            {
                "user/job/memory.max": "1000",
                "user/job/memory.current": "100",
                "user/memory.max": "2000",
                "user/memory.current": "1950",
            },
            (1000, 50),
        ),
        (
            V2,
            {
                "user/job/memory.max": "max",
                "user/job/memory.high": "800",
                "user/job/memory.current": "500",
                "user/job/memory.stat": "inactive_file 100\nactive_file 200\nfile_mapped 50\n",
            },
            (800, 550),
        ),
        (
            V2,
            {
                "user/job/memory.max": "900",
                "user/job/memory.high": "max",
                "user/job/memory.current": "500",
                "user/job/memory.stat": "inactive_file 100\nactive_file 200\nfile_mapped 250\n",
            },
            (900, 500),
        ),
        (
            V1,
            {
                "memory/docker/x/memory.limit_in_bytes": "500",
                "memory/docker/x/memory.usage_in_bytes": "600",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            (500, 0),
        ),
        (
            V1_INSIDE,
            {
                "memory/memory.limit_in_bytes": "500",
                "memory/memory.usage_in_bytes": "100",
                "memory/memory.stat": "cache 9\ntotal_inactive_file 40\n",
            },
            (500, 440),
        ),
        (
            V1_INSIDE,
            {
                "memory/memory.limit_in_bytes": "500",
                "memory/memory.usage_in_bytes": "300",
                "memory/memory.stat": (
                    "active_file 9\ntotal_inactive_file 40\ntotal_active_file 100\n"
                    "total_mapped_file 60\n"
                ),
            },
            (500, 280),
        ),
    ],
)
def test_memory_is_the_tightest_limit_and_the_least_room(tmp_path, where, files, expected):
    assert _cgroup.memory(tree(tmp_path, *where, files)) == expected


def test_detect_takes_the_smaller_of_machine_and_group(tmp_path):
    root = tree(
        tmp_path,
        *V2,
        {"user/job/memory.max": str(1 << 20), "user/job/memory.current": str(1 << 19)},
    )
    (root / "proc/cpuinfo").write_text("processor: 0\nmodel name\t: Testium 9\n")
    found = hardware.detect(root)
    assert found.memory_total == 1 << 20
    assert found.memory_available == 1 << 19
    assert found.cpu_name == "Testium 9"
    assert 1 <= found.cores <= (os.cpu_count() or 1)


def test_detect_and_sample_work_without_any_of_the_files(tmp_path):
    found = hardware.detect(tmp_path)
    live = hardware.sample(tmp_path)
    assert found.cores >= 1
    assert found.cpu_name
    assert live["memory_used"] == live["memory_total"] - live["memory_available"]
    assert live["cpu_busy"] <= live["cpu_total"]


def test_accelerators_are_told_with_what_they_use_and_left_out_on_demand(bare):
    bare.setitem(sys.modules, "pynvml", nvml(1))
    (told,) = hardware.sample()["devices"]
    assert (told["memory"], told["free"]) == (8 * GIB, 0)
    assert (told["utilisation"], told["power"]) == (40, 75.5)
    assert hardware.sample(accelerators=False)["devices"] == []


def nvml(count: int = 2, **broken: BaseException) -> ModuleType:
    module = ModuleType("pynvml")
    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: count,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{'ab'[handle]}",
        "nvmlDeviceGetName": lambda handle: f"Board {handle}".encode(),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=8 * GIB, free=handle * GIB),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=40 + handle),
        "nvmlDeviceGetPowerUsage": lambda handle: 75_500,
    }
    for name, answer in answers.items():
        setattr(module, name, raising(broken[name]) if name in broken else answer)
    return module


def amdsmi(**broken: BaseException) -> ModuleType:
    module = ModuleType("amdsmi")
    answers = {
        "amdsmi_init": lambda: None,
        "amdsmi_shut_down": lambda: None,
        "amdsmi_get_processor_handles": lambda: ["x"],
        "amdsmi_get_gpu_device_uuid": lambda handle: "f00d",
        "amdsmi_get_gpu_asic_info": lambda handle: {"market_name": "Instinct"},
        "amdsmi_get_gpu_memory_total": lambda handle, kind: 16 * GIB,
        "amdsmi_get_gpu_memory_usage": lambda handle, kind: 4 * GIB,
        "amdsmi_get_gpu_activity": lambda handle: {"gfx_activity": "N/A"},
        "amdsmi_get_power_info": lambda handle: {
            "current_socket_power": "N/A",
            "average_socket_power": 90,
        },
    }
    module.AmdSmiMemoryType = SimpleNamespace(VRAM=0)
    for name, answer in answers.items():
        setattr(module, name, raising(broken[name]) if name in broken else answer)
    return module


def raising(error: BaseException):
    def call(*args):
        raise error

    return call


@pytest.fixture
def bare(monkeypatch):
    """Take every vendor's library and variable away."""
    for name in ("pynvml", "amdsmi"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_no_library_means_no_devices(bare):
    assert hardware.devices() == ()


def test_nvidia_devices_are_listed_with_memory_and_load(bare):
    bare.setitem(sys.modules, "pynvml", nvml())
    assert hardware.devices() == (
        hardware.Device("gpu", "cuda", 0, "Board 0", 8 * GIB, 0, 40, 75.5),
        hardware.Device("gpu", "cuda", 1, "Board 1", 8 * GIB, GIB, 41, 75.5),
    )


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["Board 1"]),
        ("1,0", ["Board 1", "Board 0"]),
        ("GPU-b", ["Board 1"]),
        ("GPU-", []),
        ("", []),
        ("-1", []),
        ("0,7,1", ["Board 0"]),
        ("0,0", ["Board 0"]),
    ],
)
def test_the_visible_devices_are_numbered_as_an_engine_sees_them(bare, visible, names):
    bare.setitem(sys.modules, "pynvml", nvml())
    bare.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = hardware.devices()
    assert [device.name for device in found] == names
    assert [device.index for device in found] == list(range(len(names)))


@pytest.mark.parametrize("error", [RuntimeError("driver"), KeyError("lib"), OSError(2, "no")])
def test_a_broken_nvidia_driver_hides_its_devices_only(bare, error):
    bare.setitem(sys.modules, "pynvml", nvml(nvmlInit=error))
    bare.setitem(sys.modules, "amdsmi", amdsmi())
    assert [device.api for device in hardware.devices()] == ["hip"]


def test_a_board_without_memory_of_its_own_has_the_machines(bare):
    bare.setitem(
        sys.modules,
        "pynvml",
        nvml(
            1,
            nvmlDeviceGetMemoryInfo=RuntimeError("not supported"),
            nvmlDeviceGetUtilizationRates=RuntimeError("not supported"),
            nvmlDeviceGetPowerUsage=RuntimeError("not supported"),
        ),
    )
    (found,) = hardware.devices()
    assert found.memory == hardware.detect().memory_total
    assert found.utilisation is None
    assert found.power is None


def test_an_amd_device_is_listed(bare):
    bare.setitem(sys.modules, "amdsmi", amdsmi(amdsmi_get_gpu_device_uuid=ValueError("odd")))
    assert hardware.devices() == (
        hardware.Device("gpu", "hip", 0, "Instinct", 16 * GIB, 12 * GIB, None, 90.0),
    )


@pytest.mark.parametrize("call", ["amdsmi_init", "amdsmi_get_gpu_asic_info"])
def test_a_broken_amd_driver_is_no_error(bare, call):
    bare.setitem(sys.modules, "amdsmi", amdsmi(**{call: KeyError("libamd_smi.so")}))
    assert hardware.devices() == ()


def test_a_vendor_library_that_talks_at_import_keeps_standard_output_clean(bare, tmp_path, capsys):
    (tmp_path / "amdsmi.py").write_text("print('Unable to find')\nraise KeyError('lib')\n")
    bare.delitem(sys.modules, "amdsmi")
    bare.syspath_prepend(tmp_path)
    assert hardware.devices() == ()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("machine", "count"), [("arm64", 1), ("x86_64", 0)])
def test_apple_silicon_shares_the_machines_memory(bare, machine, count):
    bare.setattr(platform, "system", lambda: "Darwin")
    bare.setattr(platform, "machine", lambda: machine)
    bare.setattr(hardware, "_apple_name", lambda: "Apple M9")
    found = hardware.devices()
    assert [(device.api, device.name) for device in found] == [("metal", "Apple M9")] * count
    assert all(device.memory == hardware.detect().memory_total for device in found)

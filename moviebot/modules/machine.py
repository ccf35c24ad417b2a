"""What the machine can run: its GPU or CPU, what torch and bitsandbytes were built for, and its free memory."""

import os
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from moviebot.modules.precision import AMPERE, choose_dtype, cpu_has_bf16

GIB = 2**30
_PRODUCT = 1536  # of the matrices that measure the speed: large enough to reach it, and soon done


@dataclass(frozen=True)
class Machine:
    """What decides whether and how fast a training runs.

    Attributes:
        device: ``cuda`` or ``cpu``.
        name: the GPU's or the CPU's.
        capability: CUDA's, (0, 0) on a CPU.
        architectures: what this torch has GPU kernels for.
        dtype: what is computed in where a config says ``auto``.
        cores: of the CPU that this process may use.
        total_bytes: memory of the device.
        free_bytes: of them, free now.
        versions: torch with its build, bitsandbytes.
    """

    device: str
    name: str
    capability: tuple[int, int]
    architectures: tuple[str, ...]
    dtype: torch.dtype
    cores: int
    total_bytes: int
    free_bytes: int
    versions: dict[str, str]

    def find_faults(self) -> list[str]:
        """Return what keeps this machine from training, each with what to do."""
        faults = []
        wanted = f"sm_{self.capability[0]}{self.capability[1]}"
        if self.device == "cuda":
            known = [name for name in self.architectures if name.startswith("sm_")]
            same_family = any(name[3:-1] == str(self.capability[0]) and name <= wanted for name in known)
            if not same_family:
                faults.append(
                    f"torch {self.versions['torch']} has no kernels for {self.name} ({wanted}; it has "
                    f"{', '.join(known)}): install a build that has (for a V100: torch below 2.15 for CUDA 12.6)"
                )
            if self.capability < (7, 5) and (torch.version.cuda or "").startswith("13"):
                faults.append("bitsandbytes has no kernels before sm_75 in its CUDA 13 builds: install a CUDA 12 build")
        return faults


def look_at_machine() -> Machine:
    """Look at the machine this runs on."""
    versions = {"torch": torch.__version__, "bitsandbytes": version("bitsandbytes")}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
        free, total = torch.cuda.mem_get_info(device)
        versions["CUDA"] = str(torch.version.cuda)
        return Machine(
            "cuda", torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device),
            tuple(torch.cuda.get_arch_list()), choose_dtype("auto", device), cores, total, free, versions,
        )  # fmt: skip
    free, total = read_host_memory()
    dtype = choose_dtype("auto", torch.device("cpu"))
    return Machine("cpu", _name_cpu(), (0, 0), (), dtype, cores, total, free, versions)


def describe_bf16(machine: Machine) -> str:
    """Say whether bfloat16 is real: in hardware, emulated, or absent."""
    if machine.device == "cpu":
        return "in hardware (AVX512-BF16 or AMX)" if cpu_has_bf16() else "not in hardware: float32 is used"
    if machine.capability >= AMPERE:
        return "in hardware"
    return "emulated, whatever torch says: float16 with a gradient scaler is used"


def read_host_memory() -> tuple[int, int]:
    """Return the host's available and total memory in bytes; a container's limit counts."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = total
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        text = Path(limit).read_text(encoding="utf-8").strip() if Path(limit).is_file() else "max"
        if text.isdigit() and int(text) < total:
            total = int(text)
            free = min(free, total - int(Path(used).read_text(encoding="utf-8")))
    return free, total


def measure_matmul_flops(device: str, dtype: torch.dtype) -> float:
    """Return the operations a second of a large matrix product: the best of a few, in half a second."""
    a, b = (torch.randn(_PRODUCT, _PRODUCT, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    ends = time.perf_counter() + 0.5
    while time.perf_counter() < ends:
        started = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * _PRODUCT**3 / best


def _name_cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "CPU"

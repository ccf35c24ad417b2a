"""The questions that ``colab_v100.sh`` asks about the machine: which torch, does 4-bit run, where to resume.

The first runs before anything is installed, so it uses the standard library alone. Each answers on standard output, or
says on standard error what is wrong, with exit code 2.
"""

import argparse
import importlib.util
import os
import re
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
WHEELS = "https://download.pytorch.org/whl"
VOLTA = (7, 0)
TURING = (7, 5)  # the oldest GPU that every CUDA build of PyTorch still serves
BLACKWELL = (10, 0)

Version = tuple[int, ...]


class CheckError(Exception):
    """The machine can't train; the message says why, and what to do."""


class TorchBuild(NamedTuple):
    """An installed torch: its version, and the CUDA it was built for (None for a CPU build)."""

    version: str
    cuda: str | None


def choose_torch(capability: Version, installed: TorchBuild | None, pyproject: Path = PYPROJECT) -> tuple[str, ...]:
    """Decide whether the runtime's torch can stay.

    Args:
        capability: the GPU's compute capability, for example (7, 0).
        installed: the runtime's torch, None where it has none.
        pyproject: the file whose dependencies bound torch's version.

    Returns:
        ``("keep", version)``, or ``("install", index URL, requirement)``.

    Example:
        >>> choose_torch((7, 5), TorchBuild("2.11.0+cu128", "12.8"))
        ('keep', '2.11.0+cu128')
        >>> choose_torch((7, 0), TorchBuild("2.11.0+cu128", "12.8"))[:2]
        ('install', 'https://download.pytorch.org/whl/cu126')
    """
    requirement = _read_requirement(pyproject)
    if installed and _is_within(installed.version, requirement) and _serves(installed, capability):
        return "keep", installed.version
    # CUDA 12.6 builds span sm_50 to sm_90, and bitsandbytes' CUDA 12 libraries go with them; Blackwell came later.
    return "install", f"{WHEELS}/{'cu130' if capability >= BLACKWELL else 'cu126'}", requirement


def _serves(build: TorchBuild, capability: Version) -> bool:
    """Say whether a build of PyTorch has kernels for a GPU.

    Builds for CUDA 12.8 left Volta out from 2.11 on (https://github.com/pytorch/pytorch/issues/172352), and those for
    CUDA 13 never had it; Blackwell needs 12.8.
    """
    if build.cuda is None:
        return False
    cuda = _numbers(build.cuda)
    if capability < TURING:
        return cuda < (12, 7) or (cuda < (13,) and _numbers(build.version) < (2, 11))
    return capability < BLACKWELL or cuda >= (12, 8)


def find_torch() -> TorchBuild | None:
    """Read the version of this Python's torch without importing it (which takes seconds).

    ``$COLAB_TORCH_VERSION`` (such as 2.11.0+cu128) stands in for it in a dry run.
    """
    if given := os.environ.get("COLAB_TORCH_VERSION"):
        found = re.search(r"\+cu(\d+)(\d)$", given)
        return TorchBuild(given, f"{found[1]}.{found[2]}" if found else None)
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = (Path(spec.origin).parent / "version.py").read_text()
    version = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    cuda = re.search(r"^cuda(?:: [^=]*)? = '([^']+)'", text, re.MULTILINE)
    return TorchBuild(version[1], cuda[1] if cuda else None) if version else None


def check_gpu() -> str:
    """Check that torch has kernels for this GPU and that a 4-bit layer runs on it, forward and backward.

    Raises:
        CheckError: it does not, with what to do.
    """
    import torch

    if not torch.cuda.is_available():
        raise CheckError(f"torch {torch.__version__} sees no GPU: delete the runtime and start again")
    capability, architectures = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
    if not has_kernels(capability, architectures):
        raise CheckError(
            f"torch {torch.__version__} has no kernels for sm_{capability[0]}{capability[1]}, only for "
            f"{', '.join(architectures)}: delete the environment that this script made and run it again"
        )
    dtype = torch.bfloat16 if capability >= (8, 0) else torch.float16
    error = measure_four_bit_error(torch.device("cuda"), dtype)
    return f"torch {torch.__version__} and bitsandbytes run in 4 bits on this GPU (relative error {error:.1e})"


def has_kernels(capability: Version, architectures: list[str]) -> bool:
    """Say whether one of torch's architectures runs on a GPU.

    Machine code (``sm_XY``) runs on the same major version from its minor version on; PTX (``compute_XY``) on
    everything newer.

    Example:
        >>> has_kernels((8, 9), ["sm_75", "sm_80", "sm_90"]), has_kernels((7, 0), ["sm_75", "sm_80", "compute_90"])
        (True, False)
    """
    for name in architectures:
        if not (found := re.fullmatch(r"(sm|compute)_(\d+)(\d)", name)):
            continue  # sm_90a and the like hold the few kernels of just that GPU
        version = (int(found[2]), int(found[3]))
        if version <= capability and (found[1] == "compute" or version[0] == capability[0]):
            return True
    return False


def measure_four_bit_error(device: "torch.device", dtype: "torch.dtype") -> float:
    """Compare a NF4 product, and its gradient, with the product by the dequantised weight.

    Returns:
        The largest relative error of the two.

    Raises:
        CheckError: bitsandbytes fails on this device, or its result is wrong.
    """
    import torch

    try:
        import bitsandbytes
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        weight = torch.randn(128, 256, device=device, dtype=dtype)
        packed, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
        batch = torch.randn(16, 256, device=device, dtype=dtype, requires_grad=True)
        dense = dequantize_4bit(packed, state)  # (128, 256)
        product = bitsandbytes.matmul_4bit(batch, packed.t(), quant_state=state)  # (16, 128)
        (gradient,) = torch.autograd.grad(product.sum(), batch)
        wanted = (batch @ dense.t(), dense.sum(0).expand_as(batch))
    except (ImportError, RuntimeError, OSError) as error:
        line = " ".join(str(error).split())[:200]
        raise CheckError(f"a 4-bit product of bitsandbytes fails on {device} ({line})") from error
    relative: float = max(
        ((got - want).float().norm() / want.float().norm()).item()
        for got, want in zip((product, gradient), wanted, strict=True)
    )
    if not relative < MAX_FOUR_BIT_ERROR:  # NaN is wrong too
        raise CheckError(f"a 4-bit product of bitsandbytes is wrong on {device} (relative error {relative:.2g})")
    return relative


MAX_FOUR_BIT_ERROR = 0.03  # bfloat16 rounds at 2^-8 = 0.004; a wrong kernel is off by about 1


def find_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole ``last*.ckpt`` below a folder; one that a disconnect cut short is passed over."""
    for path in sorted(folder.rglob("last*.ckpt"), key=lambda item: item.stat().st_mtime, reverse=True):
        if zipfile.is_zipfile(path):  # the zip's directory is written last
            return path
        print(f"colab: {path} is cut short: passed over", file=sys.stderr)
    return None


def _read_requirement(pyproject: Path) -> str:
    dependencies: list[str] = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    return next(item for item in dependencies if re.match(r"torch\W", item))


def _is_within(version: str, requirement: str) -> bool:
    numbers = _numbers(version)
    bounds = re.findall(r"(>=|<)([\d.]+)", requirement)
    return all(numbers >= _numbers(bound) if sign == ">=" else numbers < _numbers(bound) for sign, bound in bounds)


def _numbers(version: str) -> Version:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0]))


def main(arguments: list[str] | None = None) -> int:
    """Run one check; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    checks = parser.add_subparsers(dest="check", required=True)
    checks.add_parser("torch").add_argument("capability", help="the GPU's, such as 7.0")
    checks.add_parser("checkpoint").add_argument("folder", type=Path)
    checks.add_parser("gpu")
    given = parser.parse_args(arguments)
    try:
        match given.check:
            case "torch":
                print(*choose_torch(_numbers(given.capability), find_torch()), sep="\n")
            case "checkpoint":
                print(find_checkpoint(given.folder) or "")
            case _:
                print(check_gpu())
    except CheckError as error:
        print(f"colab: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a bundle from a stranger must not do: lead out of its own folder, or bring weights that run code when read.

The hashes of ``bundle.yaml`` protect from damage only: who makes a bundle writes them. So names and kinds of files are
checked before any part is opened.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from moviebot.errors import UserError

# Formats that libraries read with pickle, under their usual names; `.npz` and `.npy` are read with pickle refused.
_PICKLE_SUFFIXES = frozenset((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".py"))
_ZIP_SUFFIXES = frozenset((".npz",))
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_SAFETENSORS = ".safetensors"
_HEADER_LENGTH_BYTES = 8  # a safetensors file begins with its header's length; a header is a JSON object
_RESTORE = "it may run code when it is read; take a bundle that `moviebot bundle` built"


def check_parts(folder: Path, manifest: Mapping[str, Any], known: Collection[str], adapter: str) -> None:
    """Check what a manifest names: parts by their fixed names only, the adapter among them.

    Args:
        folder: the bundle's.
        manifest: of ``bundle.yaml``, untrusted.
        known: the names that parts have.
        adapter: the adapter's name.

    Raises:
        UserError: another name, whether it leads out of the folder or not.
    """
    parts = manifest["parts"]
    for part in parts:
        if part not in {*known, adapter}:
            raise UserError(f"the bundle {folder} names a part {str(part)[:80]!r} that no bundle has: don't use it")
    named = manifest["adapter"]
    if named is not None and (named != adapter or adapter not in parts):
        raise UserError(f"the bundle {folder} names an adapter {str(named)[:80]!r} outside its parts: don't use it")
    if not isinstance(manifest["base"], str) or not manifest["base"]:
        raise UserError(f"the bundle {folder} names no base model: build it again with `moviebot bundle`")


def check_files(folder: Path) -> None:
    """Check every file of a bundle's folder, without opening more than its first bytes.

    Raises:
        UserError: a link leads out of the folder, a file is pickled or is code, or weights are not what their name
            says.
    """
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if not path.resolve().is_relative_to(root):
            raise UserError(f"{path} leads out of the bundle's folder: don't use this bundle")
        if not path.is_file():
            continue
        suffix = path.suffix.lower()
        if suffix in _PICKLE_SUFFIXES:
            raise UserError(f"{path} is no part of a bundle: {_RESTORE}")
        if suffix == _SAFETENSORS:
            _check_safetensors(path)
        elif _is_pickled(path):
            raise UserError(f"{path} is pickled: {_RESTORE}")
        elif path.name == "modules.json":
            _check_modules(path)


def _check_safetensors(path: Path) -> None:
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(_HEADER_LENGTH_BYTES), "little")
        opening = handle.read(1)
    if opening != b"{" or length > path.stat().st_size:
        raise UserError(f"{path} is not safetensors, whatever its name says: {_RESTORE}")


def _is_pickled(path: Path) -> bool:
    with path.open("rb") as handle:
        head = handle.read(len(_ZIP))
    # A Parquet file begins with PAR1, an array with \x93NUMPY, text with neither: \x80 begins no UTF-8.
    return head.startswith(_PICKLE) or (head == _ZIP and path.suffix.lower() not in _ZIP_SUFFIXES)


def _check_modules(path: Path) -> None:
    """Check the list of an encoder's modules: of the library's own kinds, and inside the encoder's folder."""
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
        named = [(str(module["type"]), str(module["path"])) for module in modules]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path} is damaged: build the bundle again with `moviebot bundle`") from error
    root = path.parent.resolve()
    for kind, place in named:
        if not kind.startswith("sentence_transformers."):
            raise UserError(f"{path} names a module {kind[:80]!r} of another library: {_RESTORE}")
        if not (path.parent / place).resolve().is_relative_to(root):
            raise UserError(f"{path} names a folder {place[:80]!r} outside the bundle: {_RESTORE}")

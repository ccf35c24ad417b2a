"""The checks behind ``tools/colab_v100.sh``: which torch, does 4-bit run, is the gated model within reach."""

import doctest
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
from pytest_httpserver import HTTPServer

REPO = Path(__file__).resolve().parents[2]
LLAMA = "meta-llama/Llama-2-7b-hf"


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPO / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = load_tool("colab_check")
access = load_tool("colab_access")


@pytest.mark.parametrize("module", [check, access])
def test_examples_of_the_docstrings(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("capability", "version", "cuda", "kept"),
    [
        ((7, 0), "2.11.0+cu126", "12.6", True),
        ((7, 0), "2.10.0+cu128", "12.8", True),
        ((7, 0), "2.11.0+cu128", "12.8", False),
        ((7, 0), "2.10.0+cu130", "13.0", False),
        ((7, 0), "2.15.0+cu126", "12.6", False),
        ((8, 9), "2.14.1+cu130", "13.0", True),
        ((8, 9), "2.15.0+cu130", "13.0", False),
        ((8, 9), "2.6.0+cu124", "12.4", False),
        ((8, 9), "2.13.0+cpu", None, False),
        ((12, 0), "2.11.0+cu126", "12.6", False),
        ((12, 0), "2.11.0+cu128", "12.8", True),
    ],
)
def test_torch_stays_where_it_fits(capability: tuple[int, int], version: str, cuda: str | None, kept: bool) -> None:
    choice = check.choose_torch(capability, check.TorchBuild(version, cuda))
    assert choice[0] == ("keep" if kept else "install")
    index = "cu130" if capability[0] == 12 else "cu126"
    assert kept or choice[1].endswith(index)
    assert check.choose_torch(capability, None)[0] == "install"


def test_installed_torch_is_read_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert check.find_torch() == check.TorchBuild(torch.__version__, torch.version.cuda)
    monkeypatch.setenv("COLAB_TORCH_VERSION", "2.11.0+cu128")
    assert check.find_torch() == check.TorchBuild("2.11.0+cu128", "12.8")


def test_four_bit_product_is_checked() -> None:
    import torch

    assert check.measure_four_bit_error(torch.device("cpu"), torch.float32) < check.MAX_FOUR_BIT_ERROR


def test_wrong_four_bit_product_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes
    import torch

    right = bitsandbytes.matmul_4bit
    monkeypatch.setattr(bitsandbytes, "matmul_4bit", lambda *args, **kwargs: 1.1 * right(*args, **kwargs))
    with pytest.raises(check.CheckError, match="wrong on cpu"):
        check.measure_four_bit_error(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    ("status", "headers", "token", "message"),
    [
        (200, {}, None, None),
        (307, {"Location": "https://elsewhere.invalid/"}, "hf_x", None),
        (401, {"X-Error-Code": "GatedRepo"}, None, "is gated and no Hugging Face token is set: do these three things"),
        (403, {"X-Error-Code": "GatedRepo"}, "hf_x", "your token has no access yet: accept its licence at http"),
        (401, {}, "hf_wrong", "the Hugging Face token is not valid"),
        (401, {"X-Error-Code": "RepoNotFound"}, None, "is neither a folder nor a model on"),
        (404, {}, "hf_x", "is neither a folder nor a model on"),
        (503, {}, "hf_x", "answered 503"),
    ],
)
def test_access(
    httpserver: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    status: int,
    headers: Mapping[str, str],
    token: str | None,
    message: str | None,
) -> None:
    sent = {"Authorization": f"Bearer {token}"} if token else {}
    request = httpserver.expect_request(f"/{LLAMA}/resolve/main/config.json", method="HEAD", headers=sent)
    request.respond_with_data(status=status, headers=headers)
    monkeypatch.setenv("HF_ENDPOINT", httpserver.url_for("/"))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    if message is None:
        assert access.check_access(LLAMA) == f"{LLAMA}: access granted"
    else:
        with pytest.raises(access.AccessError) as caught:
            access.check_access(LLAMA)
        assert message in caught.value.args[0]


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert access.main([LLAMA]) == 2
    assert "can't be reached" in capsys.readouterr().err
    assert access.main([str(REPO)]) == 0

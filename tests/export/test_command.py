"""``moviebot export`` as a person calls it."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM

from moviebot.artefact import hash_path
from moviebot.cli import run
from moviebot.export import command, llama_cpp
from moviebot.export.merge import merge_adapter
from tests.export.conftest import MakeAdapter


@pytest.fixture
def arguments(small_base: Path, make_adapter: MakeAdapter, qa_data_dir: Path, tmp_path: Path) -> list[str]:
    adapter = make_adapter(base=small_base, std=0.05)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.jsonl").write_text('{"step": 1, "val/loss": 2.5}\n{"step": 2, "val/loss": 0.125}\n')
    return [
        "export", "--base", str(small_base), "--adapter", str(adapter), "--out", str(tmp_path / "out"),
        "--data", str(qa_data_dir), "--run", str(tmp_path / "run"), "--prompts", "4",
        "--compute_dtype", "float32", "--trained_quantised", "false", "--dtype", "float16", "--max_new_tokens", "6",
    ]  # fmt: skip


def complain(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    capsys.readouterr()
    assert run(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("moviebot: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("small_base", ["llama"], indirect=True)
def test_everything_is_written_and_told(
    arguments: list[str], tmp_path: Path, qa_data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A random model's 4-bit answers are of no use to compare: that is for the real model below.
    arguments += ["--formats", "safetensors,gguf_f16,gguf_q8,vllm,ollama"]
    assert run(arguments) == 0, capsys.readouterr().err
    out = tmp_path / "out"
    assert sorted(path.relative_to(out).as_posix() for path in out.iterdir()) == [
        "README.md", "export.json", "gguf", "safetensors", "vllm",
    ]  # fmt: skip
    assert sorted(path.name for path in (out / "gguf").iterdir()) == ["Modelfile", "model-f16.gguf", "model-q8_0.gguf"]
    assert "FROM ./model-q8_0.gguf" in (out / "gguf/Modelfile").read_text()
    AutoModelForCausalLM.from_pretrained(out / "safetensors")
    report = json.loads((out / "export.json").read_text())
    assert report["parts"]["safetensors"]["verification"]["prompts"] == 4
    assert report["made_from"]["hashes"]["qa.jsonl"] == hash_path(qa_data_dir / "qa.jsonl")
    assert report["metrics"] == {"val/loss": 0.125}
    if llama_cpp.is_available():
        assert report["parts"]["gguf/model-f16.gguf"]["llama_cpp"]["same_facts"] >= 0.9
    card = (out / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert (head["base_model"], head["license"]) == ("base_llama", "other")
    assert str(tmp_path) not in card + json.dumps(report)  # no path of this machine
    assert report["made_from"]["hashes"]["qa.jsonl"] in card
    assert "0.125" in card
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert run(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before  # up to date: nothing was done
    assert run([*arguments[:-1], "vllm"]) == 0  # other formats: the export is replaced as a whole
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "export.json", "vllm"]
    assert json.loads((out / "export.json").read_text())["verification"]["prompts"] == 4


@pytest.mark.parametrize("small_base", ["gpt-2"], indirect=True)
class TestRefused:
    def test_diverging_merge_leaves_what_was_there(
        self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments += ["--formats", "vllm"]
        assert run(arguments) == 0
        before = hash_path(tmp_path / "out")

        def merge_wrongly(model: object, dtype: object) -> object:
            for module in model.modules():  # type: ignore[attr-defined]
                if hasattr(module, "lora_A"):
                    module.scaling = {name: 3 * value for name, value in module.scaling.items()}
            return merge_adapter(model, dtype)  # type: ignore[arg-type]

        monkeypatch.setattr(command, "merge_adapter", merge_wrongly)
        line = complain(capsys, [*arguments, "--prompts", "3"])
        assert "does not answer as the adapter does: " in line
        assert "nothing was exported" in line
        assert hash_path(tmp_path / "out") == before

    def test_wrong_gguf_is_not_kept(
        self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not llama_cpp.is_available():
            pytest.skip("xllamacpp is not installed")
        monkeypatch.setattr("moviebot.export.gguf_file._arrange", lambda tensor, config: tensor.read())
        assert "tell what the merged model's do" in complain(capsys, [*arguments, "--formats", "gguf_f16"])
        assert not (tmp_path / "out").exists()

    def test_tokenizer_read_otherwise_is_not_kept(
        self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not llama_cpp.is_available():
            pytest.skip("xllamacpp is not installed")
        monkeypatch.setattr("moviebot.export.gguf_vocabulary.adds_start_token", lambda tokenizer: True)
        line = complain(capsys, [*arguments, "--formats", "gguf_f16"])
        assert "reads 4 of 4 prompts as other tokens than training did" in line
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("flags", "told"),
        [
            (["--formats", "onnx"], "onnx"),
            (["--formats", "ollama,vllm"], "--formats ollama needs a GGUF file"),
            (["--formats", ""], "formats"),
            (["--prompts", "0"], "--prompts 0 is not allowed"),
            (["--base", "no-such/model-at-all"], "no-such/model-at-all is neither a folder here nor"),
            (["--adapter", "nowhere"], "nowhere is no whole adapter folder"),
            (["--data", "nowhere"], "nowhere/catalogue.parquet"),
            (["--run", "nowhere"], "metrics.jsonl is not there"),
        ],
    )
    def test_bad_input_is_one_line(
        self, arguments: list[str], flags: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert told in complain(capsys, [*arguments, *flags])
        assert not (tmp_path / "out").exists()

    def test_place_in_use_is_one_line(
        self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/thesis.txt").write_text("mine")
        assert "holds files that no export wrote (thesis.txt)" in complain(capsys, arguments)
        assert (tmp_path / "out/thesis.txt").read_text() == "mine"

    def test_adapter_of_another_base_is_one_line(
        self, arguments: list[str], tiny_llama: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "was trained on" in complain(capsys, [*arguments, "--base", str(tiny_llama)])

    def test_tokenizer_that_gguf_has_no_name_for_is_found_at_once(
        self, arguments: list[str], tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        base = tmp_path / "base_gpt-2"
        shutil.copy(tiny_llama / "tokenizer.json", base / "tokenizer.json")
        assert "has no GGUF name for" in complain(capsys, arguments)
        assert not (tmp_path / ".out.partial").exists()

    def test_without_llama_cpp_the_card_says_so(
        self, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(llama_cpp, "is_available", lambda: False)
        assert run([*arguments, "--formats", "gguf_q8"]) == 0
        assert "pip install xllamacpp" in capsys.readouterr().err
        assert "were not run in llama.cpp" in (tmp_path / "out/README.md").read_text()
        assert not (tmp_path / "out/safetensors").exists()

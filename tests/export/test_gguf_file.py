"""GGUF files: read by llama.cpp, they tokenise and answer as the model does in Transformers."""

from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from moviebot.data.prompts import render_question_prompt
from moviebot.data.schemas import Movie
from moviebot.data.tokenise import encode_prompt
from moviebot.errors import UserError
from moviebot.export.gguf_file import KINDS, GgufFormat, check_architecture, write_gguf
from moviebot.export.gguf_vocabulary import read_vocabulary
from moviebot.export.llama_cpp import is_available, run_gguf
from moviebot.export.merge import save_merged
from moviebot.export.verify import answer
from moviebot.modules.dense import greedy_decoding

ODD_TEXTS = [
    "in 1999, 12 Angry Men  3   ", "Ocean's 11: Böhm & Šárka; it's 東京 🎬", "a\n\n b\tc  \n", "< s> < |x|>", " lead",
]  # fmt: skip
needs_llama_cpp = pytest.mark.skipif(not is_available(), reason="xllamacpp is not installed")


def save_small(base: Path, folder: Path) -> tuple[Path, PreTrainedTokenizerFast]:
    """Save a base as an export does, without an adapter."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    save_merged(AutoModelForCausalLM.from_pretrained(base), tokenizer, folder)
    return folder, tokenizer


@needs_llama_cpp
def test_llama_cpp_reads_and_answers_as_transformers(small_base: Path, tmp_path: Path, movies: list[Movie]) -> None:
    folder, tokenizer = save_small(small_base, tmp_path / "merged")
    prompts = [render_question_prompt(f"How long is {movie.label}?", movie) for movie in movies[:6]] + ODD_TEXTS
    write_gguf(folder, "gguf_f16", tmp_path / "m.gguf", "tiny")
    run = run_gguf(tmp_path / "m.gguf", prompts, 12, threads=1)
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    assert run.prompt_ids == encoded
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    expected = answer(model, tokenizer, encoded, greedy_decoding(tokenizer, 12), "test").ids
    assert len({tuple(ids) for ids in expected}) > 3  # the model does not answer everything alike
    same = sum(left == right for left, right in zip(run.answer_ids, expected, strict=True))
    assert same >= len(prompts) - 1  # weights are rounded to 16 bits: random weights have near ties


@needs_llama_cpp
def test_heads_must_be_rearranged(
    small_base: Path, tmp_path: Path, movies: list[Movie], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the permutation of query and key, llama.cpp answers otherwise: the proof would see it."""
    folder, tokenizer = save_small(small_base, tmp_path / "merged")
    prompts = [render_question_prompt(f"How long is {movie.label}?", movie) for movie in movies[:6]]
    monkeypatch.setattr("moviebot.export.gguf_file._arrange", lambda tensor, config: tensor.read())
    write_gguf(folder, "gguf_f16", tmp_path / "m.gguf", "tiny")
    run = run_gguf(tmp_path / "m.gguf", prompts, 12, threads=1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    expected = answer(model, tokenizer, encoded, greedy_decoding(tokenizer, 12), "test").ids
    assert sum(left == right for left, right in zip(run.answer_ids, expected, strict=True)) <= 2


@pytest.mark.parametrize("form", list(KINDS))
def test_types_of_tensors(small_base: Path, tmp_path: Path, form: GgufFormat) -> None:
    folder, tokenizer = save_small(small_base, tmp_path / "merged")
    write_gguf(folder, form, tmp_path / "m.gguf", "tiny")
    reader = GGUFReader(tmp_path / "m.gguf")
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert {kind for name, kind in types.items() if "norm" in name} == {"F32"}
    assert types["blk.1.attn_q.weight"] == KINDS[form].inner.name
    tender = {types[name] for name in ("token_embd.weight", "blk.0.attn_v.weight", "blk.1.ffn_down.weight")}
    assert tender == {KINDS[form].outer.name}
    assert ("output.weight" in types) == ("llama" in small_base.name)  # tied embeddings have no head of their own
    assert reader.get_field("tokenizer.ggml.eos_token_id").contents() == tokenizer.eos_token_id
    assert reader.get_field("tokenizer.ggml.add_bos_token").contents() == ("llama" in small_base.name)
    assert "### Instruction:" in reader.get_field("tokenizer.chat_template").contents()
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    assert len(tokens) == 448
    assert tokens[-1] == "[PAD447]"  # the model has more rows than the tokenizer has tokens


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            "positions are of type linear",
        ),
        ({"attention_bias": True}, "projections have biases"),
        ({"hidden_act": "gelu"}, "activation is gelu"),
    ],
)
def test_variants_of_llama_are_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_architecture(LlamaConfig(**change))


def test_other_architectures_are_refused() -> None:
    from transformers import GPT2Config

    with pytest.raises(UserError, match=r"Llama architecture only .* architecture is gpt2: leave the gguf formats"):
        check_architecture(GPT2Config())


def test_unknown_splitting_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(UserError, match="splits text in a way that this version has no GGUF name for"):
        read_vocabulary(AutoTokenizer.from_pretrained(tiny_llama), 320)


def test_too_small_a_model_is_refused(small_base: Path) -> None:
    with pytest.raises(UserError, match="the model only 100"):
        read_vocabulary(AutoTokenizer.from_pretrained(small_base), 100)


def test_weights_too_large_for_16_bits_are_refused(small_base: Path, tmp_path: Path) -> None:
    folder, _ = save_small(small_base, tmp_path / "merged")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    model.save_pretrained(folder)
    with pytest.raises(UserError, match="too large for 16-bit"):
        write_gguf(folder, "gguf_f16", tmp_path / "m.gguf", "tiny")

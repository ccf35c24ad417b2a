"""The real SmolLM2 through the whole way: merged, written as GGUF, answered by llama.cpp."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from moviebot.data.tokenise import encode_prompt
from moviebot.export.gguf_file import KINDS, write_gguf
from moviebot.export.held_out import read_held_out
from moviebot.export.llama_cpp import is_available, run_gguf
from moviebot.export.merge import load_adapted, load_base_tokenizer, merge_adapter, save_merged
from moviebot.export.verify import answer, read_logits
from moviebot.modules.dense import greedy_decoding
from moviebot.pretrained import SMOLLM2, resolve_model
from tests.export.conftest import MakeAdapter

PROMPTS, FEW_PROMPTS, NEW_TOKENS = 20, 8, 16
# How far apart the best two logits may be where 16-bit arithmetic may choose the other (merging moves one by 0.03).
NEAR_TIE = 0.05


@pytest.mark.slow
@pytest.mark.skipif(not is_available(), reason="xllamacpp is not installed")
def test_llama_cpp_answers_as_transformers(make_adapter: MakeAdapter, tmp_path: Path) -> None:
    """Float32 in Transformers against the f16 file in llama.cpp; the 8- and 4-bit files must come near."""
    adapter = make_adapter(base=resolve_model(SMOLLM2), std=0.02, r=8, lora_alpha=16)
    model = merge_adapter(load_adapted(SMOLLM2, adapter, None, torch.device("cpu")), torch.bfloat16)
    save_merged(model, load_base_tokenizer(SMOLLM2), tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    prompts = [one.sample.prompt for one in read_held_out(None, PROMPTS)]
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    expected = answer(merged, tokenizer, encoded, greedy_decoding(tokenizer, NEW_TOKENS), "Transformers")
    assert len(set(expected.texts)) >= PROMPTS - 2  # the answers tell the prompts apart

    same = {}
    for form, kind in KINDS.items():
        write_gguf(tmp_path / "merged", form, tmp_path / kind.file, "test")
        asked = prompts if form == "gguf_f16" else prompts[:FEW_PROMPTS]
        run = run_gguf(tmp_path / kind.file, asked, NEW_TOKENS)
        assert run.prompt_ids == encoded[: len(asked)]
        same[form] = [left == right for left, right in zip(run.answer_ids, expected.ids, strict=False)]
        if form == "gguf_f16":
            differing = [row for row in range(PROMPTS) if not same[form][row]]
            logits = read_logits(merged, [encoded[row] for row in differing], [expected.ids[row] for row in differing])
            for row, scores in zip(differing, logits, strict=True):
                pairs = zip(run.answer_ids[row], expected.ids[row], strict=False)
                first = next(n for n, (left, right) in enumerate(pairs) if left != right)
                best, second = scores[first].topk(2).values.tolist()
                assert best - second < NEAR_TIE
    shares = {form: sum(rows) / len(rows) for form, rows in same.items()}
    assert shares["gguf_f16"] >= 0.9
    assert shares["gguf_q8"] >= 0.3  # a random update leaves near ties everywhere; a trained one: see the README
    sizes = [(tmp_path / kind.file).stat().st_size for kind in KINDS.values()]
    assert sizes == sorted(sizes, reverse=True)

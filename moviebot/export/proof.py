"""Does a GGUF file answer in llama.cpp as the merged model does in Transformers?"""

import os
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from moviebot.data.tokenise import encode_prompt
from moviebot.errors import UserError
from moviebot.export.gguf_file import GgufFormat
from moviebot.export.held_out import HeldOut
from moviebot.export.llama_cpp import run_gguf
from moviebot.export.verify import Behaviour

# The least share of answers that tell the same as the merged model's (the README has what was measured).
MIN_SAME_FACTS: dict[GgufFormat, float] = {"gguf_f16": 0.9, "gguf_q8": 0.8, "gguf_q4": 0.5}


def prove_gguf(
    path: Path,
    form: GgufFormat,
    held_out: Sequence[HeldOut],
    tokenizer: PreTrainedTokenizerBase,
    reference: Behaviour,
    max_new_tokens: int,
) -> dict[str, float]:
    """Run a GGUF file in llama.cpp on held-out prompts.

    Args:
        path: the file.
        form: its format.
        held_out: the prompts.
        tokenizer: the base's own, whose tokens llama.cpp must give.
        reference: the merged model's answers in Transformers.
        max_new_tokens: where those were cut.

    Returns:
        ``same_answers`` (token for token), ``same_facts`` (telling the same) and ``ended``, shares.

    Raises:
        UserError: llama.cpp reads a prompt as other tokens, or too few answers tell the same.
    """
    prompts = [one.sample.prompt for one in held_out]
    # Its default is half of the cores it sees; on a small machine that is one.
    run = run_gguf(path, prompts, max_new_tokens, threads=max(1, min(len(os.sched_getaffinity(0)), 16)))
    wrong = [
        prompt
        for prompt, ids in zip(prompts, run.prompt_ids, strict=True)
        if ids != encode_prompt(tokenizer, prompt)
    ]  # fmt: skip
    if wrong:
        raise UserError(
            f"llama.cpp reads {len(wrong)} of {len(prompts)} prompts as other tokens than training did, so that "
            f"{path.name} would answer worse: leave the gguf formats out of --formats"
        )
    n = len(prompts)
    same = sum(
        _strip_end(left, tokenizer) == _strip_end(right, tokenizer)
        for left, right in zip(run.answer_ids, reference.ids, strict=True)
    )
    facts = sum(
        one.agree(left, right) for one, left, right in zip(held_out, run.texts, reference.texts, strict=True)
    )  # fmt: skip
    if facts / n < MIN_SAME_FACTS[form]:
        raise UserError(
            f"{facts} of {n} answers of {path.name} in llama.cpp tell what the merged model's do (at least "
            f"{MIN_SAME_FACTS[form]:.0%} must): leave {form} out of --formats"
        )
    ended = sum(len(ids) < max_new_tokens for ids in run.answer_ids)
    return {"same_answers": round(same / n, 4), "same_facts": round(facts / n, 4), "ended": round(ended / n, 4)}


def _strip_end(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Leave the end token out: whether llama.cpp hands it over depends on its version."""
    return ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] else ids

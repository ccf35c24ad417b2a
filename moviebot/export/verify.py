"""Does the merged model on disk answer as the adapter did? Measured on held-out prompts, never assumed.

Three models answer the same prompts greedily: (a) the adapter on the base it was trained against (NF4 rounds its
weights), (b) the adapter beside the 16-bit base, (c) the merged model, read back from disk with its own tokenizer and
settings. (c) must be (b) but for rounding; against (a) the answers must say the same. Shapes: T answer tokens,
V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from peft import PeftModel
from rich.progress import track
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from moviebot.data.tokenise import collate_prompts, encode_prompt, pad_id_of
from moviebot.errors import UserError
from moviebot.export.chat_template import split_prompt
from moviebot.export.held_out import HeldOut
from moviebot.export.merge import MAX_NEW_TOKENS, load_adapted
from moviebot.modules.dense import greedy_decoding, load_dense_model
from moviebot.modules.precision import ComputeDtype, choose_dtype

# The first three, by one trained SmolLM2 adapter: a right merge has 100 %, 0.4 % and 100 % in float32,
# 100 %, 2 % and 95 % in bfloat16. A scale wrong by a tenth has 7 % and changes no answer: only the logits show it.
# The fourth: an adapter trained on the 4-bit base told the same as there in 100 %; one trained on the plain base, asked
# on the 4-bit one, told the same in 70 to 75 %, and is rightly refused.
MIN_TOKEN_AGREEMENT = 0.97  # the share of the adapter's answer tokens that are the merged model's first choice too
MAX_ERROR_SHARE = 0.05  # the mean change of a logit by merging, over the mean change by the adapter
MIN_SAME_ANSWERS = 0.8  # the share of answers (c) that are word for word (b)'s
MIN_SAME_FACTS = 0.8  # the share of answers (c) that tell what (a)'s tell
_BATCH = 8


@dataclass(frozen=True)
class Behaviour:
    """What a model answered.

    Attributes:
        ids: the new tokens of each answer, its end token included where it ended.
        texts: the answers, stripped, without special tokens.
    """

    ids: list[list[int]]
    texts: list[str]


@dataclass(frozen=True)
class Verification:
    """How close the merged model is to the adapter.

    Attributes:
        prompts: how many held-out prompts were answered.
        same_answers: share of answers that are token for token those of the adapter on the 16-bit base.
        token_agreement: share of that adapter's answer tokens that the merged model would choose too.
        logit_error_mean: mean absolute difference of their logits.
        logit_error_max: the largest.
        adapter_effect_mean: mean absolute difference of the logits with and without the adapter, for comparison.
        same_as_trained: share of answers that are token for token those of the adapter on its training base (NF4).
        same_facts_as_trained: share that tell the same facts, decline alike, or have the same words.
        ended: share of the merged model's answers that end with the end token.
        ended_adapter: the same of the adapter on the 16-bit base.
        compute_dtype: what all were computed in.
    """

    prompts: int
    same_answers: float
    token_agreement: float
    logit_error_mean: float
    logit_error_max: float
    adapter_effect_mean: float
    same_as_trained: float
    same_facts_as_trained: float
    ended: float
    ended_adapter: float
    compute_dtype: str

    def find_faults(self) -> list[str]:
        """Return what diverges, in words; empty where the merge is right."""
        faults = []
        if self.token_agreement < MIN_TOKEN_AGREEMENT:
            faults.append(f"{self.token_agreement:.1%} of the tokens agree (at least {MIN_TOKEN_AGREEMENT:.0%})")
        if self.logit_error_mean > MAX_ERROR_SHARE * self.adapter_effect_mean:
            faults.append(
                f"merging moves a logit by {self.logit_error_mean:.3f} on the mean, the adapter itself by "
                f"{self.adapter_effect_mean:.3f} (at most {MAX_ERROR_SHARE:.0%} of that)"
            )
        if self.same_answers < MIN_SAME_ANSWERS:
            faults.append(f"{self.same_answers:.0%} of the answers are the same (at least {MIN_SAME_ANSWERS:.0%})")
        if self.ended < self.ended_adapter - (1 - MIN_SAME_ANSWERS):
            faults.append(f"{self.ended:.0%} of the answers end, {self.ended_adapter:.0%} of the adapter's")
        if self.same_facts_as_trained < MIN_SAME_FACTS:
            faults.append(
                f"{self.same_facts_as_trained:.0%} of the answers tell what the adapter on its training base tells "
                f"(at least {MIN_SAME_FACTS:.0%}; give --trained_quantised false where that base was not in 4 bits)"
            )
        return faults

    def as_dict(self) -> dict[str, float | int | str]:
        """Return the figures, rounded, for a report."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


def verify_merged(
    folder: Path,
    base: str,
    adapter: Path,
    held_out: Sequence[HeldOut],
    *,
    compute_dtype: ComputeDtype = "auto",
    trained_quantised: bool = True,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Verification:
    """Compare a merged model on disk with the adapter it was made from.

    One model is in memory at a time.

    Args:
        folder: what :func:`moviebot.export.merge.save_merged` wrote.
        base: the base model, a folder or a hub name.
        adapter: the PEFT folder.
        held_out: see :func:`moviebot.export.held_out.read_held_out`.
        compute_dtype: what all three compute in; ``auto`` takes bfloat16 where the hardware has it.
        trained_quantised: the adapter was trained on the 4-bit base; False compares (a) on the plain one.
        max_new_tokens: where an answer without an end token is cut.

    Returns:
        The figures; :meth:`Verification.find_faults` judges them.

    Raises:
        UserError: the folder's tokenizer or template gives other tokens than training did.
    """
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    dtype = choose_dtype(compute_dtype, device)
    prompts = [one.sample.prompt for one in held_out]

    model_a, tokenizer = load_dense_model(base, adapter, compute_dtype, as_quantised=trained_quantised)
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    greedy = greedy_decoding(tokenizer, max_new_tokens)
    trained = answer(model_a, tokenizer, encoded, greedy, "Adapter on its training base")
    del model_a

    model_b = load_adapted(base, adapter, dtype, device)
    beside = answer(model_b, tokenizer, encoded, greedy, "Adapter on the 16-bit base")
    reference = read_logits(model_b, encoded, beside.ids)
    with model_b.disable_adapter():
        untuned = read_logits(model_b, encoded, beside.ids)
    effect = _mean_difference(untuned, reference)
    del model_b, untuned

    exported: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    check_tokens(exported, prompts, encoded)
    model_c = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map={"": device}).eval()
    check_end(exported, model_c.generation_config, tokenizer.eos_token_id)
    # Its own settings, as everyone who loads the folder gets them: a lost end token must show here.
    merged = answer(model_c, exported, encoded, model_c.generation_config, "Merged model from disk")
    logits = read_logits(model_c, encoded, beside.ids)
    del model_c

    n = len(held_out)
    chosen = [(left.argmax(-1) == right.argmax(-1)).float() for left, right in zip(logits, reference, strict=True)]
    errors = [(left - right).abs() for left, right in zip(logits, reference, strict=True)]
    agreeing = [one.agree(left, right) for one, left, right in zip(held_out, merged.texts, trained.texts, strict=True)]
    return Verification(
        prompts=n,
        same_answers=_share(left == right for left, right in zip(merged.ids, beside.ids, strict=True)),
        token_agreement=float(torch.cat(chosen).mean()),
        logit_error_mean=_mean_difference(logits, reference),
        logit_error_max=max(float(error.max()) for error in errors),
        adapter_effect_mean=effect,
        same_as_trained=_share(left == right for left, right in zip(merged.ids, trained.ids, strict=True)),
        same_facts_as_trained=_share(agreeing),
        ended=_share(ids[-1:] == [tokenizer.eos_token_id] for ids in merged.ids),
        ended_adapter=_share(ids[-1:] == [tokenizer.eos_token_id] for ids in beside.ids),
        compute_dtype=str(dtype).removeprefix("torch."),
    )


def check_tokens(exported: PreTrainedTokenizerBase, prompts: Sequence[str], encoded: Sequence[Sequence[int]]) -> None:
    """See that an exported tokenizer reads prompts as training did, as plain text and through its chat template.

    Raises:
        UserError: it does not.
    """
    for prompt, ids in zip(prompts, encoded, strict=True):
        if encode_prompt(exported, prompt) != list(ids):
            raise UserError("the exported tokenizer gives other tokens than the base's: export again from a whole base")
        parts = split_prompt(prompt)
        messages = [{"role": "system", "content": parts.facts}, {"role": "user", "content": parts.instruction}]
        text = exported.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        if exported(text, add_special_tokens=False)["input_ids"] != list(ids):
            raise UserError("the exported chat template does not give the training prompt: export again")


def check_end(exported: PreTrainedTokenizerBase, settings: GenerationConfig, eos: int) -> None:
    """See that an exported model stops where training taught it to.

    Raises:
        UserError: its tokenizer or its settings name another end token, or none.
    """
    stops = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    if exported.eos_token_id != eos or eos not in stops:
        raise UserError("the exported model has lost its end token, and would never stop: export again")


@torch.inference_mode()
def answer(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Sequence[Sequence[int]],
    settings: GenerationConfig,
    description: str,
) -> Behaviour:
    """Let a model answer prompts.

    Args:
        model: in eval mode.
        tokenizer: the model's own.
        encoded: the prompts' ids.
        settings: how to decode, and where to stop.
        description: of the progress bar.

    Returns:
        Ids and texts, in the prompts' order.
    """
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    found: dict[int, list[int]] = {}
    device = next(model.parameters()).device
    for start in track(range(0, len(order), _BATCH), description=description, transient=True):
        rows = order[start : start + _BATCH]
        batch = collate_prompts([encoded[row] for row in rows], pad_id_of(tokenizer))  # (B, T)
        inputs = {name: tensor.to(device) for name, tensor in batch.items()}
        output = model.generate(**inputs, generation_config=settings)  # (B, T + new)
        new = output[:, batch["input_ids"].shape[1] :].tolist()
        found |= {row: _cut_at_end(ids, tokenizer.eos_token_id) for row, ids in zip(rows, new, strict=True)}
    ids = [found[row] for row in range(len(encoded))]
    return Behaviour(ids, [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)])


@torch.inference_mode()
def read_logits(
    model: PreTrainedModel | PeftModel, encoded: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Return a model's logits for each token of given answers, one (T, V) each, float32, on the CPU.

    The answers are the same for every model, so that one other token does not make all that follow differ.
    """
    device = next(model.parameters()).device
    logits = []
    for prompt, reply in zip(encoded, answers, strict=True):
        ids = torch.tensor([[*prompt, *reply]], device=device)  # (1, P + T)
        output = model(input_ids=ids, logits_to_keep=len(reply) + 1, use_cache=False).logits[0, :-1]  # (T, V)
        logits.append(output.float().cpu())
    return logits


def _cut_at_end(ids: list[int], eos: int) -> list[int]:
    """Cut the padding behind the first end token."""
    return ids[: ids.index(eos) + 1] if eos in ids else ids


def _mean_difference(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    total = sum(float((one - other).abs().sum()) for one, other in zip(left, right, strict=True))
    return total / max(sum(one.numel() for one in left), 1)


def _share(flags: Iterable[bool]) -> float:
    values = list(flags)
    return sum(values) / max(len(values), 1)

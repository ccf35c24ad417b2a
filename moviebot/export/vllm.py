"""The adapter as a folder that vLLM serves beside the base, without merging: many adapters can share one base."""

import json
import shlex
from pathlib import Path

import torch
from peft.tuners.lora import LoraConfig
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from moviebot.errors import UserError
from moviebot.export.chat_template import render_jinja
from moviebot.modules.dense import ADAPTER_FILES

# What vLLM's --max-lora-rank may be; it makes room for this rank, so the least that holds the adapter is right.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
TEMPLATE_NAME = "chat_template.jinja"


def check_for_vllm(config: LoraConfig, adapter: Path) -> int:
    """See that vLLM can serve an adapter.

    Args:
        config: the adapter's configuration.
        adapter: its folder, for the message.

    Returns:
        The least ``--max-lora-rank`` that holds it.

    Raises:
        UserError: vLLM has no such LoRA.
    """
    if config.use_dora or config.rank_pattern or config.alpha_pattern:
        kind = "a DoRA" if config.use_dora else "of different ranks or scales"
        raise UserError(f"{adapter} is {kind}, which vLLM can't serve beside a base: leave vllm out of --formats")
    fitting = [rank for rank in _RANKS if rank >= config.r]
    if not fitting:
        raise UserError(f"{adapter} has rank {config.r}, vLLM takes at most {_RANKS[-1]}: leave vllm out of --formats")
    return fitting[0]


def write_vllm_folder(
    adapter: Path, folder: Path, config: LoraConfig, tokenizer: PreTrainedTokenizerBase, base: str, dtype: torch.dtype
) -> None:
    """Write the folder.

    Args:
        adapter: the PEFT folder.
        folder: the new folder.
        config: the adapter's configuration.
        tokenizer: the base's own.
        base: the base's name, for the command.
        dtype: of the matrices: what vLLM computes in.

    Raises:
        UserError: vLLM has no such LoRA.
    """
    rank = check_for_vllm(config, adapter)
    folder.mkdir()
    matrices = {key: value.to(dtype).contiguous() for key, value in load_file(adapter / ADAPTER_FILES[1]).items()}
    save_file(matrices, folder / ADAPTER_FILES[1], metadata={"format": "pt"})
    settings = json.loads((adapter / ADAPTER_FILES[0]).read_text(encoding="utf-8"))
    settings |= {"inference_mode": True, "modules_to_save": None, "lora_dropout": 0.0}
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    (folder / ADAPTER_FILES[0]).write_text(text, encoding="utf-8")
    (folder / TEMPLATE_NAME).write_text(render_jinja(tokenizer), encoding="utf-8")
    command = (
        f"vllm serve {shlex.quote(base)} --enable-lora --lora-modules moviebot=. --max-lora-rank {rank} "
        f"--dtype {str(dtype).removeprefix('torch.')} --chat-template {TEMPLATE_NAME}"
    )
    # A code block of spaces: nothing in the command can end it.
    (folder / "README.md").write_text(
        f"# The adapter for vLLM\n\nIn this folder:\n\n    {' '.join(command.split())}\n\n"
        "The base is used as it is, in 16 bits. Ask with the model name `moviebot`, temperature 0, the facts as the "
        "system message and the question as the user message; or send the training prompt to `/v1/completions`.\n",
        encoding="utf-8",
    )

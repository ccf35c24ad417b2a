"""Write a Llama of a known shape with random weights: for measuring memory and speed where the weights can't be had.

    python tools/random_llama.py --out llama7b            # Llama-2-7B's shape: 13.5 GB on disk, little memory

The folder holds what ``from_pretrained`` reads: a config, safetensors files (one a layer, bfloat16), and SmolLM2's
tokenizer, whose ids beyond the vocabulary a benchmark must fold. What such a model says means nothing.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from rich.progress import track
from safetensors.torch import save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from moviebot.artefact import write_whole
from moviebot.pretrained import SMOLLM2, resolve_model

SHAPES = {
    "llama2_7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    "llama2_13b": {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40},
}
VOCABULARY = 32000
DEVIATION = 0.02  # Llama's initializer_range


def main() -> int:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Write a Llama of a known shape with random weights.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shape", choices=SHAPES, default="llama2_7b")
    given = parser.parse_args()
    write_random_llama(given.out, LlamaConfig(**SHAPES[given.shape], vocab_size=VOCABULARY, dtype=torch.bfloat16))
    return 0


def write_random_llama(folder: Path, config: LlamaConfig) -> None:
    """Write a model folder, a layer at a time, so that no more than a layer is ever in memory.

    Args:
        folder: replaced where it exists.
        config: the shape.
    """
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in LlamaForCausalLM(config).state_dict().items()}
    parts: dict[str, list[str]] = {}
    for name in shapes:
        words = name.split(".")
        parts.setdefault(words[2] if "layers" in words else "ends", []).append(name)
    with write_whole(folder) as temporary:
        temporary.mkdir(parents=True)
        where: dict[str, str] = {}
        for part, names in track(parts.items(), "writing layers", disable=not sys.stderr.isatty()):
            tensors = {
                name: torch.ones(shapes[name], dtype=torch.bfloat16)
                if "norm" in name
                else torch.empty(shapes[name], dtype=torch.bfloat16).normal_(std=DEVIATION)
                for name in names
            }
            file = f"model-{part}.safetensors"
            save_file(tensors, temporary / file, metadata={"format": "pt"})
            where |= dict.fromkeys(names, file)
        index = {"metadata": {"total_size": sum(2 * shape.numel() for shape in shapes.values())}, "weight_map": where}
        (temporary / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
        config.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(resolve_model(SMOLLM2)).save_pretrained(temporary)


if __name__ == "__main__":
    sys.exit(main())

"""A small model that has something to say: a tiny Llama, LoRA of random matrices, and two kinds of tokenizer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from moviebot.modules.quantisation import quiet_peft

TEXTS = [
    "Below is a question regarding movies and shows paired with an input that provides further context.",
    "Write a response that appropriately completes the request. Who directed The Red Lantern (1931)?",
    "Release Year: 1987, Runtime(in minutes): 112, Genre: Drama, Romance. Rating: 6.4 Votes: 14000",
    "In The Clockmaker's Son, story number 5 unfolds. A fantasy tale follows its people; it's Ida's own.",
] * 4
MakeAdapter = Callable[..., Path]


@pytest.fixture
def make_adapter(tiny_llama: Path, tmp_path: Path) -> MakeAdapter:
    """Write a PEFT folder of random, non-zero matrices; keywords are LoraConfig's."""

    def make(name: str = "adapter", base: Path = tiny_llama, std: float = 0.2, **settings: object) -> Path:
        torch.manual_seed(3)
        settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]} | settings
        with quiet_peft():
            model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**settings))
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_A" in key or "lora_B" in key:
                    parameter.normal_(std=std)
        model.peft_config["default"].base_model_name_or_path = str(base)
        model.save_pretrained(str(tmp_path / name), save_embedding_layers=False)
        return tmp_path / name

    return make


def train_byte_level(digits: bool) -> Tokenizer:
    """GPT-2's kind of tokenizer; with ``digits`` it splits numbers first, as SmolLM2's does."""
    backend = Tokenizer(models.BPE())
    steps: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    steps = [pre_tokenizers.Digits(individual_digits=True), *steps] if digits else steps
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps) if digits else steps[0]
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator(TEXTS, trainer)
    return backend


def train_sentencepiece() -> Tokenizer:
    """Llama 2's kind: spaces are U+2581, one stands before the text, unknown letters become bytes, ``<s>`` begins."""
    pieces = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    pieces.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # Words apart while training only, as SentencePiece does.
    pieces.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    numbers = [f"<0x{n:02X}>" for n in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 3 + 150, special_tokens=["<unk>", "<s>", "</s>", *numbers], show_progress=False
    )  # fmt: skip
    pieces.train_from_iterator(TEXTS, trainer)
    spec = json.loads(pieces.to_str())
    spec["pre_tokenizer"] = None
    spec["added_tokens"] = spec["added_tokens"][:3]  # bytes are ordinary pieces
    backend = Tokenizer.from_str(json.dumps(spec))
    backend.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return backend


@pytest.fixture(params=["gpt-2", "smollm", "llama"])
def small_base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A 2-layer Llama with grouped heads, and a tokenizer of each kind that GGUF files can hold."""
    kind = str(request.param)
    backend = train_sentencepiece() if kind == "llama" else train_byte_level(digits=kind == "smollm")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token=AddedToken("</s>", special=True), unk_token="<unk>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=448, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=kind != "llama", initializer_range=0.2,
    )  # fmt: skip
    folder = tmp_path / f"base_{kind}"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

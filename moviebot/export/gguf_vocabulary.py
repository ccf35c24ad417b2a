"""A tokenizer, as GGUF files hold it: read from ``tokenizer.json``, never guessed from a model's name.

Two kinds: byte-level BPE (GPT-2's; SmolLM2, which also splits numbers into digits) and SentencePiece BPE with bytes to
fall back on (Llama 2). llama.cpp has the splitting of text into words compiled in, under a name
(``tokenizer.ggml.pre``); a tokenizer that splits otherwise would be read wrongly without a word, so it is refused.
"""

import json
import re
from typing import Any, NamedTuple

from gguf import GGUFWriter
from gguf.constants import TokenType
from transformers import PreTrainedTokenizerBase

from moviebot.data.tokenise import pad_id_of
from moviebot.errors import UserError
from moviebot.export.chat_template import adds_start_token

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_BYTE_LEVEL: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_DIGITS: dict[str, Any] = {"type": "Digits", "individual_digits": True}


class Vocabulary(NamedTuple):
    """What llama.cpp needs to tokenise as the model's own tokenizer does.

    Attributes:
        model: ``gpt2`` (byte-level BPE) or ``llama`` (SentencePiece).
        pre: the name of the way text is split into words.
        tokens: the text of each id.
        types: a :class:`gguf.constants.TokenType` for each id.
        scores: SentencePiece only: the higher, the earlier a pair is joined.
        merges: byte-level BPE only: pairs, joined by a space, first to be joined first.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float]
    merges: list[str]


def read_vocabulary(tokenizer: PreTrainedTokenizerBase, size: int) -> Vocabulary:
    """Read a tokenizer's vocabulary.

    Args:
        tokenizer: a fast tokenizer.
        size: the model's number of embeddings; ids without a token become unused ones.

    Returns:
        The vocabulary.

    Raises:
        UserError: the tokenizer is of a kind that llama.cpp would read otherwise.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError("the base's tokenizer has no tokenizer.json: GGUF needs one; leave the gguf formats out")
    spec: dict[str, Any] = json.loads(backend.to_str())
    model = spec["model"]
    if model["type"] != "BPE" or model.get("ignore_merges") or model.get("dropout"):
        raise UserError(
            f"a {model['type']} tokenizer of this kind can't be written as GGUF: leave the gguf formats out"
        )
    merges = [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
    added = {entry["id"]: entry for entry in spec["added_tokens"]}
    texts = {number: text for text, number in model["vocab"].items()} | {n: e["content"] for n, e in added.items()}
    if max(texts) >= size:
        raise UserError(f"the tokenizer has {max(texts) + 1} tokens, the model only {size}: get the whole base again")
    tokens = [texts.get(number, f"[PAD{number}]") for number in range(size)]
    sentencepiece = bool(model.get("byte_fallback"))
    pre = "default" if sentencepiece else _name_splitting(spec)
    if sentencepiece and not _prepends_space(spec):
        raise UserError("the base's SentencePiece tokenizer treats spaces otherwise than Llama 2's: leave GGUF out")
    types = [_find_type(number, text, texts, added, model.get("unk_token")) for number, text in enumerate(tokens)]
    if not sentencepiece:
        return Vocabulary("gpt2", pre, tokens, types, [], [" ".join(pair) for pair in merges])
    # SentencePiece joins the pair with the best score of what it makes, tokenizer.json the pair that stands first:
    # the rank of the first pair that makes a token gives the same order.
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    scores = [
        0.0 if kind != TokenType.NORMAL else -float(ranks.get(text, len(merges)))
        for text, kind in zip(tokens, types, strict=True)
    ]
    return Vocabulary("llama", pre, tokens, types, scores, [])


def add_vocabulary(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary) -> None:
    """Write a vocabulary and its special tokens into a GGUF file's head."""
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    writer.add_eos_token_id(int(tokenizer.eos_token_id))
    writer.add_pad_token_id(pad_id_of(tokenizer))
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(int(tokenizer.bos_token_id))
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(int(tokenizer.unk_token_id))
    # Said outright: llama.cpp's own guess is by the kind of tokenizer.
    writer.add_add_bos_token(adds_start_token(tokenizer))
    writer.add_add_eos_token(False)
    if vocabulary.model == "llama":
        writer.add_add_space_prefix(True)


def _name_splitting(spec: dict[str, Any]) -> str:
    """Return llama.cpp's name for the way a byte-level tokenizer splits text into words."""
    splitter = spec.get("pre_tokenizer") or {}
    steps = splitter.get("pretokenizers", [splitter])
    known = [{key: step.get(key) for key in want} == want for step, want in zip(steps[-1:], [_BYTE_LEVEL], strict=True)]
    if spec.get("normalizer") is None and all(known):
        if len(steps) == 1:
            return "gpt-2"
        if len(steps) == 2 and {key: steps[0].get(key) for key in _DIGITS} == _DIGITS:
            return "smollm"
    raise UserError(
        "the base's tokenizer splits text in a way that this version has no GGUF name for (it knows GPT-2's, SmolLM2's "
        "and Llama 2's): leave the gguf formats out, and serve the safetensors folder or the vllm one"
    )


def _prepends_space(spec: dict[str, Any]) -> bool:
    """Say whether a SentencePiece tokenizer puts a space before the text and writes spaces as U+2581, no more."""
    normalizer, splitter = spec.get("normalizer") or {}, spec.get("pre_tokenizer") or {}
    if splitter.get("type") == "Metaspace":
        return not normalizer and splitter.get("prepend_scheme") in ("first", "always") and not splitter.get("split")
    steps = [step.get("type") for step in normalizer.get("normalizers", [])]
    return not splitter and steps == ["Prepend", "Replace"]


def _find_type(
    number: int, text: str, texts: dict[int, str], added: dict[int, dict[str, Any]], unknown: str | None
) -> TokenType:
    if number not in texts:
        return TokenType.UNUSED
    if number in added:
        if text == unknown:
            return TokenType.UNKNOWN
        return TokenType.CONTROL if added[number]["special"] else TokenType.USER_DEFINED
    return TokenType.BYTE if _BYTE.fullmatch(text) else TokenType.NORMAL

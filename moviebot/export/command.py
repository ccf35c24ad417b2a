"""``moviebot export``: from an adapter to files that other programs run, each verified before it is kept."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from peft.tuners.lora import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from moviebot import __version__
from moviebot.artefact import METRICS_NAME, hash_path, remove, write_whole
from moviebot.data.catalogue import CATALOGUE_NAME
from moviebot.data.cleaning import QA_NAME, RECOMMENDATIONS_NAME
from moviebot.data.tokenise import encode_prompt
from moviebot.errors import UserError
from moviebot.export import llama_cpp
from moviebot.export.chat_template import render_jinja
from moviebot.export.gguf_file import KINDS, GgufFormat, check_architecture, write_gguf
from moviebot.export.gguf_vocabulary import read_vocabulary
from moviebot.export.held_out import HeldOut, read_held_out
from moviebot.export.merge import (
    DTYPES,
    MAX_NEW_TOKENS,
    ExportDtype,
    check_lora,
    load_adapted,
    load_base_config,
    load_base_tokenizer,
    merge_adapter,
    save_merged,
)
from moviebot.export.model_card import (
    LLAMA2_NOTICE,
    describe_machine,
    find_licence,
    public_name,
    read_metrics,
    render_card,
    short_name,
)
from moviebot.export.ollama import MODELFILE_NAME, render_modelfile
from moviebot.export.proof import prove_gguf
from moviebot.export.verify import Behaviour, answer, verify_merged
from moviebot.export.vllm import check_for_vllm, write_vllm_folder
from moviebot.export.workplace import CARD_NAME, Workplace, check_out, is_exported, open_workplace
from moviebot.modules.precision import ComputeDtype, choose_dtype
from moviebot.pretrained import resolve_model

ExportFormat = Literal["safetensors", "gguf_f16", "gguf_q8", "gguf_q4", "vllm", "ollama"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
MERGED = "safetensors"
# What Ollama is given where there is a choice: 8 bits answer as 16 do and are half as large.
_FOR_OLLAMA: tuple[GgufFormat, ...] = ("gguf_q8", "gguf_q4", "gguf_f16")
logger = logging.getLogger(__name__)


def export_model(
    base: str,
    adapter: Path,
    out: Path,
    data: Path | None = None,
    run: Path | None = None,
    formats: tuple[ExportFormat, ...] = FORMATS,
    prompts: int = 24,
    dtype: ExportDtype = "bfloat16",
    compute_dtype: ComputeDtype = "auto",
    trained_quantised: bool = True,
    check_gguf: bool = True,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> None:
    """Merge an adapter, verify the merged model on held-out prompts, and write it for other programs.

    The merge is kept only where its answers are the adapter's; the GGUF files are run in llama.cpp where that is
    installed (pip install xllamacpp). ``README.md`` is a model card with the figures, ``export.json`` the same for
    programs. Nothing is uploaded. An interrupted export goes on when the command is given again.

    Args:
        base: the base model the adapter was trained on, a folder or a name on the hub; its 16-bit weights are used.
        adapter: the trained LoRA adapter (a PEFT folder, for example RUN/adapter).
        out: the folder to write; an earlier export is replaced when the new one is whole.
        data: the data folder the adapter was trained with: its test movies give the prompts, its hashes go into the
            card. Without it, questions about the embedded sample's test movies are asked.
        run: the training run's folder, whose metrics go into the card.
        formats: any of safetensors, gguf_f16, gguf_q8, gguf_q4, vllm and ollama (needs a GGUF format).
        prompts: how many held-out prompts are answered.
        dtype: of the merged weights.
        compute_dtype: what the verification computes in; float32 is the most exact, auto takes what the hardware is
            quick in.
        trained_quantised: the adapter was trained on the base in 4 bits, which the answers are compared with as well;
            false where it was trained with --model.init_args.quantise false.
        check_gguf: run the GGUF files in llama.cpp where it is installed.
        max_new_tokens: where an answer without an end token is cut, here and in what is written.

    Raises:
        UserError: an input is absent, damaged or does not fit; or answers diverge.
    """
    for flag, value in (("prompts", prompts), ("max_new_tokens", max_new_tokens)):
        if value < 1:
            raise UserError(f"--{flag} {value} is not allowed: give at least 1")
    settings = _Settings(
        tuple(dict.fromkeys(formats)), prompts, dtype, compute_dtype, trained_quantised, check_gguf, max_new_tokens
    )
    task = _Export(base, adapter, data, settings)
    task.check()
    check_out(out, {"adapter": adapter, "data": data, "run": run, "base": Path(base) if Path(base).is_dir() else None})
    metrics = read_metrics(run)
    made_from = task.describe(run)
    if is_exported(out, made_from):
        logger.info("%s is up to date", out)
        return
    with open_workplace(out, made_from) as place:
        task.write_parts(place)
        _finish(place, metrics)
    logger.info("%s: %s; the model card is %s", out, ", ".join(task.settings.formats), out / CARD_NAME)


@dataclass(frozen=True)
class _Settings:
    """How to export, as plain values: see :func:`export_model`."""

    formats: tuple[ExportFormat, ...]
    prompts: int
    dtype: ExportDtype
    compute_dtype: ComputeDtype
    trained_quantised: bool
    check_gguf: bool
    max_new_tokens: int


class _Export:
    """What is exported, and how each part is made."""

    def __init__(self, base: str, adapter: Path, data: Path | None, settings: _Settings) -> None:
        self.base = base
        self.adapter = adapter
        self.data = data
        if settings.check_gguf and not llama_cpp.is_available():
            if set(KINDS) & set(settings.formats):
                logger.warning("llama.cpp is not installed, so the GGUF files will not be run: pip install xllamacpp")
            settings = replace(settings, check_gguf=False)
        self.settings = settings

    @property
    def ggufs(self) -> list[GgufFormat]:
        return [form for form in KINDS if form in self.settings.formats]

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_base_tokenizer(self.base)

    @cached_property
    def lora(self) -> LoraConfig:
        return check_lora(self.adapter, self.base)

    @cached_property
    def held_out(self) -> list[HeldOut]:
        return read_held_out(self.data, self.settings.prompts)

    def check(self) -> None:
        """Find what can't work before anything takes long."""
        if not self.settings.formats:
            raise UserError(f"--formats is empty: give some of {','.join(FORMATS)}")
        if "ollama" in self.settings.formats and not self.ggufs:
            raise UserError(f"--formats ollama needs a GGUF file: add one of {','.join(KINDS)}")
        config = load_base_config(self.base)
        if not self.lora.r:
            raise UserError(f"{self.adapter} has rank 0: train one with `moviebot fit`")
        if "vllm" in self.settings.formats:
            check_for_vllm(self.lora, self.adapter)
        if self.ggufs:
            check_architecture(config)
            read_vocabulary(self.tokenizer, config.vocab_size)
        render_jinja(self.tokenizer)

    def describe(self, run: Path | None) -> dict[str, Any]:
        """Return what decides the export, as plain values."""
        files = {"adapter": self.adapter, "base": resolve_model(self.base)}
        if self.data is not None:
            files |= {name: self.data / name for name in (CATALOGUE_NAME, QA_NAME, RECOMMENDATIONS_NAME)}
        if run is not None:
            files |= {METRICS_NAME: run / METRICS_NAME}
        absent = [str(path) for path in files.values() if not path.exists()]
        if absent:
            raise UserError(
                f"{', '.join(absent)}: not there; give --data and --run as `moviebot clean` and `fit` wrote"
            )
        return {
            "moviebot": __version__,
            "base": public_name(self.base),
            "hashes": {name: hash_path(path) for name, path in files.items()},
            "data": self.data is not None,
            **asdict(self.settings),
            "formats": list(self.settings.formats),  # as JSON gives it back
        }

    def write_parts(self, place: Workplace) -> None:
        """Write what is not there yet."""
        place.make(MERGED, self._merge)
        merged = place.folder / MERGED
        if self.ggufs:
            reference = self._answer(merged) if self.settings.check_gguf else None
            for form in self.ggufs:
                place.make(f"gguf/{KINDS[form].file}", partial(self._write_gguf, merged, form, reference))
        if "ollama" in self.settings.formats:
            place.make(f"gguf/{MODELFILE_NAME}", self._write_modelfile)
        if "vllm" in self.settings.formats:
            place.make("vllm", self._write_vllm)

    def _merge(self, path: Path) -> dict[str, Any]:
        logger.info("Merging into %s, in %s", self.base, self.settings.dtype)
        model = load_adapted(self.base, self.adapter, None, torch.device("cpu"))
        merged = merge_adapter(model, DTYPES[self.settings.dtype])
        save_merged(merged, self.tokenizer, path, self.settings.max_new_tokens)
        del model, merged
        logger.info("Verifying on %d held-out prompts", len(self.held_out))
        found = verify_merged(
            path, self.base, self.adapter, self.held_out,
            compute_dtype=self.settings.compute_dtype, trained_quantised=self.settings.trained_quantised,
            max_new_tokens=self.settings.max_new_tokens,
        )  # fmt: skip
        if faults := found.find_faults():
            raise UserError(
                f"the merged model does not answer as the adapter does: {'; '.join(faults)}; nothing was exported. "
                "Give --dtype float16 or --compute_dtype float32, or train the adapter longer"
            )
        logger.info("Verified: %s", found.as_dict())
        return {"verification": found.as_dict()}

    def _answer(self, merged: Path) -> Behaviour:
        """Let the merged model answer in Transformers: what llama.cpp is compared with."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = choose_dtype(self.settings.compute_dtype, device)
        model = AutoModelForCausalLM.from_pretrained(merged, dtype=dtype, device_map={"": device}).eval()
        encoded = [encode_prompt(self.tokenizer, one.sample.prompt) for one in self.held_out]
        return answer(model, AutoTokenizer.from_pretrained(merged), encoded, model.generation_config, "Merged model")

    def _write_gguf(
        self, merged: Path, form: GgufFormat, reference: Behaviour | None, path: Path
    ) -> dict[str, Any] | None:
        write_gguf(merged, form, path, f"moviebot-{short_name(self.base)}")
        if reference is None:
            return None
        found = prove_gguf(path, form, self.held_out, self.tokenizer, reference, self.settings.max_new_tokens)
        logger.info("%s in llama.cpp: %s", KINDS[form].file, found)
        return {"llama_cpp": found}

    def _write_modelfile(self, path: Path) -> None:
        best = next(form for form in _FOR_OLLAMA if form in self.ggufs)
        path.write_text(
            render_modelfile(KINDS[best].file, self.tokenizer, self.settings.max_new_tokens), encoding="utf-8"
        )

    def _write_vllm(self, path: Path) -> None:
        base = public_name(self.base)
        write_vllm_folder(self.adapter, path, self.lora, self.tokenizer, base, DTYPES[self.settings.dtype])


def _finish(place: Workplace, metrics: Mapping[str, float]) -> None:
    """Drop what was only a step, and write the card and the report."""
    made_from = place.made_from
    extra = {"metrics": dict(metrics), "machine": describe_machine(), "finished": True}
    report = {"made_from": made_from, "parts": place.parts, **extra}
    sizes = {name: _measure(place.folder / name) for name in place.parts}
    if MERGED not in made_from["formats"]:
        del sizes[MERGED]
    with write_whole(place.folder / CARD_NAME) as temporary:
        temporary.write_text(render_card(report, sizes), encoding="utf-8")
    if find_licence(made_from["base"])[0] == "llama2":
        (place.folder / "NOTICE").write_text(LLAMA2_NOTICE, encoding="utf-8")
    if MERGED not in made_from["formats"]:
        extra["verification"] = place.parts.pop(MERGED)["verification"]
        remove(place.folder / MERGED)
    place.write_report(extra)


def _measure(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )

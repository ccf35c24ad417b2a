"""The training command line: one LightningCLI for every model, with errors a person can act on.

``moviebot fit|validate|test|predict`` come here. The model and the data are chosen by the config (``class_path``), so
that a new experiment is a new YAML and nothing else.
"""

import difflib
import importlib
import inspect
import json
import logging
import os
import pkgutil
import re
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
import wandb
from docstring_parser import DocstringStyle
from jsonargparse import set_parsing_settings
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger

import moviebot.callbacks
import moviebot.data
import moviebot.modules
from moviebot.data.preview import show_preview
from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.errors import UserError
from moviebot.pretrained import SMOLLM2

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.yaml"


class LogConfigCallback(SaveConfigCallback):
    """Saves the resolved config beside the run's results, and in W&B under the one key ``cli``.

    One key, because a sweep locks the keys it sets itself (wandb/wandb#2641).
    """

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the resolved config to each W&B logger of the trainer (rank zero only)."""
        config = self.config.as_dict() if hasattr(self.config, "as_dict") else dict(self.config)
        for run_logger in trainer.loggers:
            if isinstance(run_logger, WandbLogger):
                plain = {key: config.get(key) for key in ("seed_everything", "trainer", "model", "data")}
                run_logger.experiment.config.update({"cli": _make_plain(plain)}, allow_val_change=True)


class MovieBotCLI(LightningCLI):
    """LightningCLI in subclass mode, with this project's links and folders.

    * the datamodule's ``tokenizer`` is the model's ``base``, wherever the datamodule has that argument;
    * everything a run writes goes under ``trainer.default_root_dir`` (a trial of a sweep gets a folder of its own);
    * what the person writes wins: a checkpoint's hyperparameters never override the config or the flags.
    """

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:  # noqa: ANN401 (Lightning's signature)
        """Make parsers that raise instead of exiting (the caller words the error) and take no abbreviated flags."""
        return super().init_parser(exit_on_error=False, allow_abbrev=False, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link what must agree. A link whose target the chosen datamodule lacks does nothing."""
        parser.link_arguments("model.init_args.base", "data.init_args.tokenizer")

    def before_instantiate_classes(self) -> None:
        """Give the run its folder, and the loggers the same one."""
        trainer = self._get(self.config, "trainer")
        root = _run_folder(trainer)
        trainer["default_root_dir"] = str(root)
        loggers = trainer.get("logger")
        for entry in loggers if isinstance(loggers, list) else [loggers]:
            init_args = entry.get("init_args") if hasattr(entry, "get") else None
            if init_args is not None and "save_dir" in init_args and init_args["save_dir"] in (None, "."):
                init_args["save_dir"] = str(root)

    def before_fit(self) -> None:
        """Begin the run's own records anew, unless it goes on from a checkpoint."""
        if not self.config["fit"].get("ckpt_path"):
            for name in ("metrics.jsonl", "answers.jsonl"):
                Path(self.trainer.default_root_dir, name).unlink(missing_ok=True)

    def _parse_ckpt_path(self) -> None:
        """Choose the checkpoint to measure where none is given, and say where it differs from the config.

        Lightning's own version takes the checkpoint's values over the command line's without a word.
        """
        subcommand = self.config.get("subcommand")
        if subcommand in ("validate", "test", "predict") and not self.config[subcommand].get("ckpt_path"):
            self.config[subcommand]["ckpt_path"] = _find_checkpoint(_run_folder(self.config[subcommand].trainer))
        path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if not path or not Path(path).is_file():
            return
        saved = torch.load(path, weights_only=True, map_location="cpu").get("hyper_parameters", {})
        given = self.config[subcommand].model.init_args.as_dict()
        changed = [name for name in sorted(given.keys() & saved.keys()) if given[name] != saved[name]]
        refused = [name for name in changed if subcommand == "fit" and name not in _FREE_ON_RESUME]
        if refused:
            told = ", ".join(f"{name} was {saved[name]} and is {given[name]}" for name in refused)
            raise UserError(
                f"{path} can't go on with other settings ({told}): the optimiser's state belongs to the old ones; give "
                "those, or start anew without --ckpt_path"
            )
        for name in changed:
            logger.warning("%s was trained with %s=%s; the config's %s is used", path, name, saved[name], given[name])


# What decides how something is computed, not what is learnt: a resumed training may have others.
_FREE_ON_RESUME = {
    "cache_dequantised", "checkpoint_every", "checkpoint_offload", "compile_layers", "encode_chunk", "fast_layers",
    "generate_batch_size", "gradient_cache_chunk", "gradient_checkpointing", "max_new_tokens",
}  # fmt: skip


def run_lightning(args: list[str] | None = None, run: bool = True) -> LightningCLI:
    """Parse a training command line and run it.

    Args:
        args: the arguments, beginning with ``fit``, ``validate``, ``test`` or ``predict`` (``sys.argv`` where None).
        run: False only instantiates model, data and trainer (no subcommand in ``args`` then): no weights are loaded
            and nothing is downloaded.

    Returns:
        The CLI, with ``model``, ``datamodule`` and ``trainer``.

    Raises:
        UserError: a misspelt key or a wrong value, with the closest allowed key.
    """
    _refuse_class_flags(sys.argv[1:] if args is None else args)
    _import_classes()
    _quieten()
    set_parsing_settings(docstring_parse_style=DocstringStyle.GOOGLE)
    try:
        return MovieBotCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=LogConfigCallback,
            save_config_kwargs={"overwrite": True, "config_filename": CONFIG_NAME},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            args=args,
            run=run,
        )
    except ArgumentError as error:
        raise UserError(describe_parser_error(str(error))) from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into exit(1)
            raise KeyboardInterrupt from error
        raise
    finally:
        if wandb.run is not None:
            wandb.finish()  # else the next run of this process would log into this one's


def preview(
    config: Sequence[Path] = (),
    data: Path | None = None,
    flags: Sequence[str] = (),
    base: str = SMOLLM2,
    n: int = 4,
    seed: int = 0,
) -> None:
    """Print the very samples that a language model will be trained on, and what is wrong with them.

    Exits with 1 where the set is bad. Nothing is written but the datamodule's token cache.

    Args:
        config: the training's config, as for `moviebot fit`; may be given several times, and later ones win.
        data: the data folder that `moviebot clean` wrote; without it, the config's.
        flags: the training's flags; they may also be written as for `moviebot fit`
            (--data.init_args.max_length=512).
        base: without a config, the language model whose tokenizer is used: a folder or a name.
        n: how many training samples of each task to print.
        seed: draws which.

    Raises:
        UserError: neither a config nor a data folder, or the config has no such samples.
    """
    if config:
        datamodule = instantiate_config(config, data, flags)[1]
    elif data:
        if flags:
            raise UserError(f"{flags[0]} belongs to a config: give --config too, for example configs/llm/*.yaml")
        datamodule = MovieQADataModule(data, base)
    else:
        raise UserError("give --config FILE, as for `moviebot fit`, or --data DIR, or both")
    if not isinstance(datamodule, MovieQADataModule):
        raise UserError(
            f"the config's data are those of {type(datamodule).__name__}, which has no prompts: give a language "
            "model's config (configs/llm)"
        )
    show_preview(datamodule, n, seed)


def instantiate_config(
    config: Sequence[Path], data: Path | None = None, flags: Sequence[str] = ()
) -> tuple[LightningModule, LightningDataModule, Trainer]:
    """Return the module, the datamodule and the trainer of a training's config, without weights.

    What the training runs on is not looked at: a GPU's config is examined on any machine.

    Args:
        config: YAML files, as for `moviebot fit`; later ones win.
        data: a data folder in place of the config's.
        flags: the training's flags.
    """
    machine = ["accelerator=cpu", "devices=1", "strategy=auto", "precision=32-true", "logger=false"]
    words = [f"--config={path}" for path in config] + [*flags, *(f"--trainer.{setting}" for setting in machine)]
    words += [f"--data.init_args.data_dir={data}"] if data else []
    cli = run_lightning(words, run=False)
    return cli.model, cli.datamodule, cli.trainer


def _refuse_class_flags(args: Sequence[str]) -> None:
    """Refuse a class given after a config: it would silently keep what the config says of same-named arguments."""
    configs = [place for place, arg in enumerate(args) if re.match(r"(--config|-c)(=|$)", arg)]
    flags = [arg for arg in args[configs[0] :] if _CLASS_FLAG.match(arg)] if configs else []
    if flags:
        raise UserError(
            f"{flags[0].partition('=')[0]} after --config: another class would keep the config's arguments of the same "
            "names; write its class_path and init_args into a config of its own"
        )


def describe_parser_error(text: str) -> str:
    """Turn jsonargparse's many lines into one: the key, and the closest keys that are allowed.

    Args:
        text: the parser's message.

    Returns:
        One line.

    Example:
        >>> describe_parser_error("Subcommand 'fit' does not accept option 'trainer.max_epoch'")
        'trainer.max_epoch is no setting; the closest are trainer.max_epochs, trainer.min_epochs, trainer.max_steps'
    """
    if match := _UNKNOWN_KEY.search(text):
        key = next(group for group in match.groups() if group).split("=")[0]
        owners: list[str] = _CLASS_PATH.findall(text[: match.start()])
        owner = owners[-1] if owners else None
        allowed = _allowed_keys(owner)
        close = difflib.get_close_matches(key, allowed, n=3, cutoff=0.5)
        close = close or difflib.get_close_matches(key.split(".")[0], allowed, n=3, cutoff=0.5)
        where = f" of {owner.rpartition('.')[2]}" if owner else ""
        advice = f"the closest are {', '.join(close)}" if close else "--help lists them"
        return f"{key} is no setting{where}; {advice}"
    if match := _WRONG_VALUE.search(text):
        return f"{match['key']}: {match['value']!r} is not allowed; it must be {_name_types(match['expected'])}"
    if match := _NO_UNION_MEMBER.search(text):
        given = text.rpartition("Given value: ")[2].strip()
        reasons = [_name_types(reason) for reason in re.findall(r"^ +- (.*)$", text, re.MULTILINE)]
        return f"{match['key']}: {given!r} is not allowed ({'; '.join(dict.fromkeys(reasons))})"
    telling = [line.strip(" -") for line in text.splitlines() if line.strip(" -")]
    return ": ".join(line.rstrip(":") for line in telling[:2])


_CLASS_FLAG = re.compile(r"--(model|data)(\.class_path)?(=|$)")
_UNKNOWN_KEY = re.compile(
    r"Option '([^']+)' is not accepted|does not accept option '([^']+)'|unrecognized arguments: --(\S+)"
)
_CLASS_PATH = re.compile(r"Problem with given class_path '([^']+)'")
_WRONG_VALUE = re.compile(r'Parser key "(?P<key>[^"]+)":\s*(?P<expected>Expected[^\n]*?)\. Got value: (?P<value>.*)')

_NO_UNION_MEMBER = re.compile(r'Parser key "(?P<key>[^"]+)":.*?Union subtypes', re.DOTALL)


def _allowed_keys(owner: str | None) -> list[str]:
    """List a class's arguments (and those of its dataclass arguments), or the top level's and the trainer's."""
    if owner is None:
        return [*_TOP_LEVEL, *(f"trainer.{name}" for name in inspect.signature(Trainer).parameters)]
    module, _, name = owner.rpartition(".")
    keys = []
    for key, parameter in inspect.signature(getattr(importlib.import_module(module), name)).parameters.items():
        keys.append(key)
        if is_dataclass(parameter.annotation):
            keys.extend(f"{key}.{field.name}" for field in fields(parameter.annotation))
    return keys


_TOP_LEVEL = ["seed_everything", "trainer", "model", "data", "ckpt_path", "config"]


def _name_types(expected: str) -> str:
    return expected.removeprefix("Expected ").removeprefix("a ").replace("<class '", "").replace("'>", "")


def _import_classes() -> None:
    """Import every module, datamodule and callback: short class names resolve, and checkpoints load.

    Lightning refuses a checkpoint whose class is not yet imported.
    """
    for package in (moviebot.modules, moviebot.data, moviebot.callbacks):
        for entry in pkgutil.iter_modules(package.__path__):
            if package is not moviebot.data or entry.name.endswith("_datamodule"):
                importlib.import_module(f"{package.__name__}.{entry.name}")


def _run_folder(trainer: Any) -> Path:  # noqa: ANN401 (jsonargparse's Namespace)
    """Return the folder that a run writes to, from the trainer's part of its config."""
    return Path(trainer.get("default_root_dir") or "runs") / _trial_name()


def _find_checkpoint(root: Path) -> str | None:
    """Return the best checkpoint that a run left in its folder, else its last, and say so."""
    folder = root / "checkpoints"
    for path in (folder / "best.ckpt", folder / "last.ckpt"):
        if path.is_file():
            logger.info("no --ckpt_path is given: %s is used", path)
            return str(path)
    logger.warning("no --ckpt_path is given and %s has no checkpoint: the untrained model is used", folder)
    return None


def _trial_name() -> str:
    """Return the name of this trial's folder where a sweep started us (FACTS: trial folders must differ), else ''."""
    if os.environ.get("WANDB_SWEEP_ID"):
        return os.environ.get("WANDB_RUN_ID", "")
    return os.environ.get("MOVIEBOT_TRIAL", "")


def _make_plain(value: object) -> Any:  # noqa: ANN401 (any JSON value)
    """Turn a parsed config into plain dicts, lists and numbers."""
    return json.loads(json.dumps(value, default=_plain_item))


def _plain_item(item: object) -> object:
    return item.as_dict() if hasattr(item, "as_dict") else str(item)


# Warnings a person can do nothing about. (The tests turn warnings into errors, with the same exceptions.)
_IDLE_WARNINGS = (
    "LightningCLI's args parameter is intended",  # we are the command line, and pass it on
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning-AI/pytorch-lightning#21326
    "Checkpoint directory .* exists and is not empty",  # as it does wherever an interrupted run goes on
    "The '.*_dataloader' does not have many workers",  # samples are cached tensors: workers would only cost time
    r"\s*Found keys that are in the model state dict but not in the checkpoint",  # adapters-only, as meant
)


def _quieten() -> None:
    """Drop Lightning's advertisements from the log, and what a person can't change; its other messages stay."""
    for message in _IDLE_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.trainer.connectors.logger_connector"):
        logging.getLogger(name).addFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()

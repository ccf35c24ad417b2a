"""One command, ``moviebot``: each stage is a typed function, and its flags are that function's arguments.

Exit codes: 0 success; 1 a failure that is not the person's (with a traceback), or what `preview` or `doctor` found;
2 the person's mistake (one line on standard error); 130 interrupted. The modules behind a command are imported when it
is called, so that ``--help`` is quick.
"""

import errno
import importlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn, get_args, get_origin, get_type_hints

from docstring_parser import DocstringStyle
from jsonargparse import ArgumentParser, set_parsing_settings

from moviebot import __version__
from moviebot.errors import UserError

logger = logging.getLogger(__name__)


class Command(NamedTuple):
    """A stage that is a plain function: where it is, one line on what it does, and the argument that needs no flag."""

    module: str
    function: str
    summary: str
    positional: str | None = None


COMMANDS = {
    "catalogue": Command("moviebot.data.catalogue", "build_catalogue", "build a catalogue from IMDb's TSVs or a table"),
    "describe": Command("moviebot.data.descriptions", "describe", "add descriptions from web services or from a file"),
    "teach": Command("moviebot.data.teacher", "teach", "let a teacher write questions, answers and recommendations"),
    "clean": Command("moviebot.data.cleaning", "clean", "clean them, count every rejection, write the training sets"),
    "stats": Command("moviebot.data.stats", "show_stats", "print and plot what the sets hold", positional="data"),
    "doctor": Command("moviebot.doctor", "doctor", "say what this machine can run, and whether a training fits it"),
    "preview": Command("moviebot.training", "preview", "print and check the samples that training will see"),
    "export_data": Command("moviebot.data.export", "export_data", "write them as a Hugging Face dataset with its card"),
    "bundle": Command("moviebot.rag.bundle", "build_bundle", "put all that answering needs into one folder"),
    "export": Command("moviebot.export.command", "export_model", "merge an adapter, verify it, write it for others"),
    "chat": Command("moviebot.rag.chat", "chat", "talk to a bundle in the terminal", positional="bundle"),
    "serve": Command("moviebot.rag.serve", "serve", "talk to a bundle in the browser", positional="bundle"),
    "answer": Command("moviebot.rag.predict", "predict", "answer a file of queries with a bundle", positional="bundle"),
    "evaluate": Command(
        "moviebot.evaluation.report", "evaluate", "measure a bundle beside the untuned models", positional="bundle"
    ),
    "annotate": Command(
        "moviebot.evaluation.annotate", "annotate", "let people judge answers drawn at random", positional="answers"
    ),
    "demo": Command("moviebot.demo", "run_demo", "all of the above on the embedded sample, with a report"),
}
TRAINING = {
    "fit": "train a model from a YAML config (LightningCLI)",
    "validate": "measure a checkpoint on the validation movies",
    "test": "measure a checkpoint on the test movies",
    "predict": "write a checkpoint's predictions (answers, or an index)",
}
# The disk is full; the quota is; the file is larger than the process may write.
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What a mistyped or forbidden path raises, wherever it is first used.
_UNUSABLE_PATH = (NotADirectoryError, IsADirectoryError, FileNotFoundError, FileExistsError, PermissionError)


class OneLineParser(ArgumentParser):
    """A parser whose complaint is one line: what was given, what is allowed, where to look."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a :class:`UserError` instead of printing the usage and exiting."""
        raise UserError(f"{message.rstrip('. ')}; see `{self.prog} --help`") from ex


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The exit code.
    """
    _set_up_terminal()
    try:
        _dispatch(list(arguments))
    except UserError as error:
        print(f"moviebot: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nmoviebot: interrupted; what was finished is kept: run the same command to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe (`| head`) has left: nothing to complain about
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, RuntimeError, MemoryError) as error:
        if isinstance(error, _UNUSABLE_PATH) and error.filename is not None:
            print(f"moviebot: {error.filename}: {error.strerror}: give a path that you may use", file=sys.stderr)
            return 2
        if is_out_of_memory(error):
            print(
                "moviebot: out of memory: halve --data.init_args.batch_size and double "
                "--trainer.accumulate_grad_batches, or give --model.init_args.gradient_checkpointing true; "
                "`moviebot doctor --config ...` says what fits; what was finished is kept",
                file=sys.stderr,
            )
            return 2
        if not is_disk_full(error):
            raise
        print(
            f"moviebot: the disk is full ({' '.join(str(error).split())}): free some space and run the same command "
            "again; what was finished is kept",
            file=sys.stderr,
        )
        return 2
    except SystemExit as error:  # argparse after --help and --version; Lightning after Ctrl-C
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error comes from memory that could not be had, on a GPU (torch, CUDA) or on the host."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator: can't allocate memory" in text
        or "CUDA out of memory" in text
    )


def is_disk_full(error: BaseException | None) -> bool:
    """Say whether an error, or one that caused it, comes from a disk without room (PyTorch and Arrow wrap it)."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            return True
        text = str(error)
        if "No space left on device" in text or "File too large" in text or "PytorchStreamWriter failed" in text:
            return True
        error = error.__cause__ or error.__context__
    return False


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        print(f"moviebot {__version__}")
    elif name in TRAINING:
        from moviebot.training import run_lightning

        run_lightning(arguments)
    elif name in COMMANDS:
        call_command(name, COMMANDS[name], gather_fit_flags(rest) if name in CALLED_AS_FIT else rest)
    else:
        known = ", ".join([*COMMANDS, *TRAINING])
        raise UserError(f"{name!r} is no command; the commands are {known}; see `moviebot --help`")


def call_command(name: str, command: Command, arguments: list[str]) -> None:
    """Parse a command's flags from its function's signature, and call it.

    Raises:
        UserError: a flag is unknown, missing or has a value of the wrong kind.
    """
    function = load_function(command)
    parser = build_parser(name, command)
    values = parser.instantiate(parser.parse_args(expand_shorthand(function, arguments)))
    function(**values.as_dict())


def load_function(command: Command) -> Callable[..., object]:
    """Import the function behind a command."""
    function: Callable[..., object] = getattr(importlib.import_module(command.module), command.function)
    return function


def build_parser(name: str, command: Command) -> OneLineParser:
    """Build a command's parser from its function's signature and docstring."""
    set_parsing_settings(docstring_parse_style=DocstringStyle.GOOGLE)
    parser = OneLineParser(prog=f"moviebot {name}", description=f"{command.summary[0].upper()}{command.summary[1:]}.")
    if command.positional is not None:
        parser.add_argument(command.positional, type=Path, help=f"The {command.positional}'s folder.")
    skip: set[str | int] = {command.positional} if command.positional else set()
    parser.add_function_arguments(load_function(command), as_positional=False, fail_untyped=True, skip=skip)
    return parser


def expand_shorthand(function: Callable[..., object], arguments: list[str]) -> list[str]:
    """Let flags be written as people write them.

    ``--task qa,recommend`` becomes the parser's ``--task [qa,recommend]``, ``--columns title=Film,year=Jahr`` becomes
    ``--columns {"title": "Film", "year": "Jahr"}``, and a bare ``--no_llm`` is ``--no_llm true``.
    """
    kinds = {f"--{name}": kind for name, kind in get_type_hints(function).items()}
    expanded: list[str] = []
    for position, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        before = arguments[position - 1] if position else ""
        if equals and _is_list(kinds.get(flag)) and not value.startswith("["):
            expanded.append(f"{flag}=[{value}]")
        elif _is_list(kinds.get(before)) and not word.startswith(("[", "--")):
            expanded.append(f"[{word}]")
        elif equals and _is_mapping(kinds.get(flag)) and not value.lstrip().startswith("{"):
            expanded.append(f"{flag}={_write_mapping(flag, value)}")
        elif _is_mapping(kinds.get(before)) and not word.lstrip().startswith(("{", "--", "null")):
            expanded.append(_write_mapping(before, word))
        else:
            expanded.append(word)
        if not equals and kinds.get(flag) is bool and arguments[position + 1 : position + 2] not in _BOOLEANS:
            expanded.append("true")
    return expanded


def gather_fit_flags(arguments: Sequence[str]) -> list[str]:
    """Let `preview` and `doctor` be called as `fit` is: several ``--config``, and the training's own flags.

    Example:
        >>> gather_fit_flags(["--config", "a.yaml", "--n", "2", "--config=b.yaml", "--data.init_args.seed", "1"])
        ['--n', '2', '--config=["a.yaml", "b.yaml"]', '--flags=["--data.init_args.seed=1"]']
    """
    configs: list[str] = []
    flags: list[str] = []
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        name = word.partition("=")[0]
        target = configs if name in ("--config", "-c") else flags if _FIT_FLAG.match(name) else rest
        if target is rest:
            rest.append(word)
            continue
        if "=" not in word:
            if not words or words[0].startswith("--"):
                raise UserError(f"{word} is given no value; see `moviebot fit --help`")
            word = f"{word}={words.pop(0)}"
        target.append(word.partition("=")[2] if target is configs else word)
    for name, values in (("config", configs), ("flags", flags)):
        rest += [f"--{name}={json.dumps(values)}"] if values else []
    return rest


CALLED_AS_FIT = {"doctor", "preview"}
_FIT_FLAG = re.compile(r"--(seed_everything$|(trainer|model|data)\.)")
_BOOLEANS = (["true"], ["false"])


def _is_list(kind: object) -> bool:
    return get_origin(kind) in (list, tuple)


def _is_mapping(kind: object) -> bool:
    return any(get_origin(part) is dict for part in (kind, *get_args(kind)))


def _write_mapping(flag: str, text: str) -> str:
    """Write ``a=b,c=d`` as JSON."""
    pairs = [part.partition("=") for part in text.split(",")]
    mapping = {key.strip(): value.strip() for key, equals, value in pairs if equals}
    if len(mapping) < len(pairs):
        raise UserError(
            f"{flag} {text}: give NAME=VALUE,NAME=VALUE with each name once, or JSON where a value holds a comma: "
            '\'{"NAME": "VALUE, VALUE"}\''
        )
    return json.dumps(mapping)


def _overview() -> str:
    summaries = [(name, command.summary) for name, command in COMMANDS.items()]
    data_stages = list(COMMANDS).index("export_data") + 1  # training comes behind them
    rows = [*summaries[:data_stages], *TRAINING.items(), *summaries[data_stages:]]
    lines = "\n".join(f"  {name:<11} {summary}" for name, summary in rows)
    return (
        "usage: moviebot COMMAND [--help] ...\n\n"
        "Turn a table of movies into a movie chatbot, and train every model in it.\n\n"
        f"commands, in the order of a whole run:\n{lines}\n\n"
        "`moviebot COMMAND --help` lists a command's flags; `moviebot fit --config FILE --print_config` shows a config."
    )


def _set_up_terminal() -> None:
    """Show our own log as plain lines on standard error; the libraries keep theirs."""
    ours = logging.getLogger("moviebot")
    ours.setLevel(logging.INFO)
    if not ours.handlers:
        ours.addHandler(_StderrHandler())
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a log file needs no bars
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # forked loader workers would warn


class _StderrHandler(logging.Handler):
    """Writes to whatever ``sys.stderr`` is at the time (tests and progress bars replace it)."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        print(self.format(record), file=sys.stderr)

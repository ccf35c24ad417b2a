"""The README is true: its tree is on the disk, its commands parse, its targets exist."""

import re
import shlex
from pathlib import Path

import pytest

from moviebot.cli import (
    CALLED_AS_FIT,
    COMMANDS,
    TRAINING,
    build_parser,
    expand_shorthand,
    gather_fit_flags,
    load_function,
)

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
LINES = [line.split("#")[0].strip() for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
MOVIEBOT = [line for line in LINES if line.startswith("moviebot ")]


def read_tree() -> list[Path]:
    """Return the paths that the README's tree names, by its indentation of two spaces a level."""
    block = next(block for kind, block in BLOCKS if not kind and "configs/" in block)
    paths: list[Path] = []
    folders: list[str] = []
    for line in block.splitlines():
        name = line.split("#")[0].rstrip()
        depth = (len(name) - len(name.lstrip())) // 2
        folders = [*folders[:depth], name.strip()]
        paths.append(Path(*folders))
    return paths


def test_every_path_of_the_tree_is_on_the_disk() -> None:
    paths = read_tree()
    assert len(paths) > 25
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_file_of_the_top_levels_is_in_the_tree() -> None:
    named = {path.as_posix() for path in read_tree()}
    package = {f"moviebot/{path.name}" for path in (ROOT / "moviebot").iterdir() if not path.name.startswith("__")}
    package -= {"moviebot/py.typed"}
    tools = {f"tools/{path.name}" for path in (ROOT / "tools").iterdir() if path.suffix in (".py", ".sh")}
    assert package | tools <= named
    assert {f"configs/{path.name}" for path in (ROOT / "configs").iterdir()} <= named


@pytest.mark.parametrize("line", [line for line in MOVIEBOT if line.split()[1] in COMMANDS])
def test_every_stage_command_parses(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = COMMANDS[name]
    if name in CALLED_AS_FIT:
        arguments = gather_fit_flags(arguments)
    build_parser(name, command).parse_args(expand_shorthand(load_function(command), arguments))


@pytest.mark.parametrize("line", [line for line in MOVIEBOT if line.split()[1] in TRAINING])
def test_every_training_command_instantiates(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from moviebot.training import run_lightning

    monkeypatch.chdir(ROOT)
    arguments = shlex.split(line)[2:]
    cli = run_lightning(
        [
            *arguments,
            "--trainer.accelerator=cpu",
            "--trainer.precision=32-true",
            f"--trainer.default_root_dir={tmp_path}",
        ],
        run=False,
    )
    assert str(cli.datamodule.data_dir) == "data_out"


def test_every_make_target_exists() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"^make (\w+)", "\n".join(LINES), re.MULTILINE)
    assert {"demo", "test"} <= set(named) <= set(targets)


def test_every_tool_command_names_a_file() -> None:
    tools = re.findall(r"(?:python|bash) (tools/\S+?)[`\s]", README)
    assert len(tools) >= 3
    assert [tool for tool in tools if not (ROOT / tool).is_file()] == []

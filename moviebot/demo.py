"""``moviebot demo``: the whole flow on the embedded sample, each step the command a person would type.

Every step runs as a process of its own, so that its memory is given back, and is shown before it runs. A step whose
inputs have not changed is skipped; an interrupted fit goes on from its last checkpoint.
"""

import importlib.resources
import json
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from moviebot.artefact import hash_path, is_current, remove, write_jsonl, write_stage_report
from moviebot.errors import UserError
from moviebot.pretrained import SMOLLM2

GIB_IN_KIB = 2**20
DIALOGUES = (  # questions, a follow-up, what the facts don't tell, wishes with conditions, small talk
    ("Who directed The Godfather?", "and how long is it?", "What was the budget of Alien?"),
    (
        "I loved Blade Runner (1982). What else should I watch?", "something newer", "seen the first one",
        "why the second one?",
    ),
    ("a comedy from the nineties under two hours, but no romance", "who stars in the first one?", "thanks!"),
)  # fmt: skip
_DATA_FILES = ("catalogue.parquet", "qa.jsonl", "recommendations.jsonl")


@dataclass(frozen=True)
class Fit:
    """One model's training: its config, the artefacts it reads and the folder that it leaves.

    Attributes:
        name: the step's name and its folder.
        config: below ``configs/``.
        reads: artefacts of the data folder; another content trains the model anew.
        result: the folder it must leave, below its own.
        flags: what the small sample wants otherwise than the config.
    """

    name: str
    config: str
    reads: tuple[str, ...]
    result: str
    flags: tuple[str, ...] = ()


FITS = (
    Fit(
        "question",
        "retriever/question_minilm.yaml",
        ("catalogue.parquet", "question_pairs.parquet"),
        "encoder/best",
        ("--data.init_args.limit_train", "1280", "--data.init_args.described_pairs", "192"),  # a minute or two
    ),
    Fit(
        "recommend", "retriever/recommend_minilm.yaml", ("catalogue.parquet", "recommend_pairs.parquet"), "encoder/best"
    ),
    Fit("llm", "llm/smollm2_135m_qlora.yaml", _DATA_FILES, "adapter"),
)


def run_demo(out: Path = Path("runs/demo"), seed: int = 0) -> None:
    """Build, train, measure and talk to the whole chatbot on the embedded sample.

    Args:
        out: the folder for everything it writes; the report is ``report.md`` there.
        seed: of the questions, the pairs and the training.
    """
    console = Console(stderr=True, highlight=False)
    data, bundle = out / "data", out / "bundle"
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    _run(console, "1/8 build the catalogue", ["catalogue", "--sample", "--out", str(data)])
    _run(console, "2/8 write questions and lists", ["teach", "--seed", str(seed), "--out", str(data)])
    _run(console, "3/8 clean them", ["clean", "--seed", str(seed), "--out", str(data)])
    for number, fit in enumerate(FITS, start=4):
        _fit(console, f"{number}/8 train the {fit.name} model", fit, data, out / fit.name, seed)
    question, recommend, llm = (out / fit.name / fit.result for fit in FITS)
    _run(
        console,
        "7/8 bundle them",
        ["bundle", "--data", str(data), "--question_retriever", str(question), "--recommend_retriever", str(recommend),
         "--base", SMOLLM2, "--adapter", str(llm), "--out", str(bundle)],
    )  # fmt: skip
    _run(
        console,
        "8/8 measure untuned against tuned, on movies that were never trained on",
        ["evaluate", str(bundle), "--data", str(data), "--runs", str(out), "--out", str(out)],
    )
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / GIB_IN_KIB
    minutes = (time.perf_counter() - started) / 60
    console.print(
        f"[bold]{minutes:.1f} minutes, at most {peak_gib:.1f} GiB of memory; the report: {out / 'report.md'}[/bold]"
    )
    _talk(console, bundle, out)


def find_config(name: str) -> Path:
    """Return a shipped config: the repository's ``configs/``, or the copy that an installed package carries.

    Raises:
        UserError: there is none of that name.
    """
    package = Path(str(importlib.resources.files("moviebot")))
    for folder in (package.parent / "configs", package / "configs"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"no shipped config {name}: install moviebot again")


def _fit(console: Console, title: str, fit: Fit, data: Path, folder: Path, seed: int) -> None:
    """Train one model, unless it stands; go on from its last checkpoint where the same training was interrupted."""
    config = find_config(fit.config)
    inputs = [config, *(data / name for name in fit.reads)]
    outputs = [folder / fit.result]
    settings = {"flags": list(fit.flags)}
    if is_current(folder, "fit", settings=settings, inputs=inputs, outputs=outputs, seed=seed):
        console.print(f"[bold]{title}[/bold]: stands, skipped")
        return
    # The hashes of an unfinished fit's inputs: only a fit of the very same inputs may go on from its checkpoint.
    wanted = {str(path): hash_path(path) for path in inputs} | {"seed": str(seed), "flags": " ".join(fit.flags)}
    stamp = folder / "inputs.json"
    if not stamp.is_file() or json.loads(stamp.read_text(encoding="utf-8")) != wanted:
        remove(folder)
        folder.mkdir(parents=True)
        stamp.write_text(json.dumps(wanted), encoding="utf-8")
    arguments = [
        "fit", "--config", str(config), "--seed_everything", str(seed), "--trainer.default_root_dir", str(folder),
        "--data.init_args.data_dir", str(data), *fit.flags,
    ]  # fmt: skip
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if checkpoint.is_file():
        arguments += ["--ckpt_path", str(checkpoint)]
    started = time.perf_counter()
    _run(console, title, arguments)
    if not outputs[0].is_dir():
        raise UserError(f"{title}: left no {outputs[0]}: look at the messages above, then run the demo again")
    write_stage_report(
        folder, "fit", counts={}, seconds=time.perf_counter() - started, settings=settings, inputs=inputs,
        outputs=outputs, seed=seed,
    )  # fmt: skip


def _run(console: Console, title: str, arguments: Sequence[str]) -> None:
    console.print(f"[bold]{title}[/bold]\n[dim]$ moviebot {shlex.join(arguments)}[/dim]")
    done = subprocess.run([sys.executable, "-m", "moviebot", *arguments], check=False)
    if done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode < 0:  # killed: it had no chance to say why
        raise UserError(
            f"{title}: ended by signal {-done.returncode} (9: out of memory?); what was finished is kept: "
            "free memory and run the same command to go on"
        )
    if done.returncode != 0:
        raise SystemExit(done.returncode)  # the step has said why


def _talk(console: Console, bundle: Path, out: Path) -> None:
    """Chat where there is a terminal; answer three example conversations where there is none."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        subprocess.run([sys.executable, "-m", "moviebot", "chat", str(bundle)], check=False)
        return
    queries, answers = out / "example_queries.jsonl", out / "example_answers.jsonl"
    rows = [
        {"id": f"{number}.{turn}", "query": query, "conversation": str(number)}
        for number, dialogue in enumerate(DIALOGUES, start=1)
        for turn, query in enumerate(dialogue, start=1)
    ]
    write_jsonl(queries, rows)
    _run(
        console,
        "Three conversations (there is no terminal to chat in)",
        ["answer", str(bundle), "--input", str(queries), "--output", str(answers)],
    )
    for line in answers.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        print(f"\n> {row['query']}\n{row['answer']}")
    print(f"\nmoviebot chat {bundle} talks to you here, moviebot serve {bundle} in the browser.")

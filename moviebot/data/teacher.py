"""The second stage: a teacher writes questions, answers and recommendation lists about the catalogue's movies."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from rich.progress import Progress

from moviebot.artefact import is_current, write_stage_report
from moviebot.data.catalogue import CATALOGUE_NAME, SIMILAR_NAME
from moviebot.data.endpoints import Preset, find_endpoint, read_key
from moviebot.data.lesson import OFFERED, RECOMMENDED, Lesson, pick_taught
from moviebot.data.movielens import find_movielens
from moviebot.data.movielens_teacher import MovieLensTeacher
from moviebot.data.replies import (
    RAW_NAME,
    RUNS_NAME,
    Reply,
    ReplyLog,
    Request,
    Run,
    keep_latest,
    read_replies,
    record_runs,
)
from moviebot.data.schemas import Task, read_catalogue
from moviebot.data.splits import SPLITS_VERSION
from moviebot.data.teacher_cost import Budget, CostLimitError, Prices, forecast, sum_cost
from moviebot.data.template_teacher import TEMPLATE_VERSION
from moviebot.data.worked_examples import MAX_EXAMPLES
from moviebot.errors import UserError

Answering = Callable[[Sequence[Request]], Iterator[tuple[Request, Reply | None]]]
log = logging.getLogger(__name__)


def teach(
    out: Path,
    teacher: Literal["template", "openai", "movielens"] = "template",
    task: tuple[Task, ...] = ("qa", "recommend"),
    limit: int | None = None,
    questions_per_movie: int = 9,
    endpoint: Preset | None = None,
    model: str = "gpt-4o-mini",
    base_url: str | None = None,
    api_key_env: str | None = None,
    examples: int = 3,
    offered: int = OFFERED,
    concurrency: int = 8,
    temperature: float = 0.7,
    max_tokens: int = 2048,
    timeout_s: float = 300.0,
    dry_run: bool = False,
    price_in: float | None = None,
    price_out: float | None = None,
    max_cost: float | None = None,
    seed: int = 0,
    movielens_dir: Path | None = None,
) -> None:
    """Let a teacher write question/answer pairs and recommendation lists; replies are added to teacher_raw.jsonl.

    Replies already there are not asked for again, so that a run that was stopped goes on where it was; at most what was
    in flight (``--concurrency``) is asked, and paid, twice after a kill. What the run consists of is written to
    ``teacher_runs.json``: `moviebot clean` leaves out the replies of runs it replaced. Rows carry the time;
    ``SOURCE_DATE_EPOCH`` stops it, for byte-equal files.

    Args:
        out: the data folder, with ``catalogue.parquet`` in it.
        teacher: ``template`` works offline from written wordings; ``openai`` asks a language model at an
            OpenAI-compatible endpoint, and the arguments from ``endpoint`` to ``max_cost`` are for that alone;
            ``movielens`` writes lists (no questions) from what people liked together.
        task: what to write: ``qa`` pairs, ``recommend`` lists, or both.
        limit: teach only this many movies, those with the most votes.
        questions_per_movie: question/answer pairs a movie.
        endpoint: sets address and key's variable: ``openai`` (OPENAI_API_KEY), ``gemini`` (GEMINI_API_KEY), ``cohere``
            (COHERE_API_KEY), ``ollama`` (port 11434), ``vllm`` or ``transformers`` (port 8000), the last three on this
            machine, without a key. Default: ``openai``, or the server at ``base_url``.
        model: the language model's name there.
        base_url: an endpoint of your own, for example http://localhost:8000/v1; wins over ``endpoint``'s.
        api_key_env: the environment variable that holds the key; wins over ``endpoint``'s.
        examples: worked examples about invented movies in each prompt, 0 to 3; fewer are cheaper.
        offered: movies on the list that a recommendation is chosen from; fewer for a small model.
        concurrency: requests in flight at the most; fewer while the server says that it is overloaded.
        temperature: of the language model, 0 to 2.
        max_tokens: the longest reply; one that is cut there says so in its ``finish_reason``.
        timeout_s: seconds for one whole request; one that takes longer is sent again.
        dry_run: say how many requests would be sent, their tokens and cost; send and write nothing.
        price_in: US dollars a million tokens of the prompts; see the server's price list.
        price_out: US dollars a million tokens of the replies.
        max_cost: stop before this many US dollars are spent, what this model's rows in the log cost counted in.
        seed: decides the template's wordings; `moviebot clean` must be given the same.
        movielens_dir: a folder with MovieLens' ratings.csv, links.csv and movies.csv (movielens only).

    Raises:
        UserError: no catalogue, a setting out of range, a server that refuses or fails requests, or ``max_cost``.
    """
    started = time.monotonic()
    _check(task=task, limit=limit, questions_per_movie=questions_per_movie, concurrency=concurrency,
           temperature=temperature, examples=examples, offered=offered, max_tokens=max_tokens, timeout_s=timeout_s,
           price_in=price_in, price_out=price_out, max_cost=max_cost)  # fmt: skip
    if teacher == "movielens":
        if "recommend" not in task:
            raise UserError(
                "--teacher movielens writes lists only, and --task has no recommend: give --task [recommend]"
            )
        task = ("recommend",)
    prices = Prices(price_in, price_out) if price_in is not None and price_out is not None else None
    where = find_endpoint(endpoint, base_url, api_key_env)
    catalogue, raw = out / CATALOGUE_NAME, out / RAW_NAME
    outputs = [raw, out / RUNS_NAME]
    inputs = [path for path in (catalogue, out / SIMILAR_NAME) if path.is_file()]
    settings: dict[str, object] = {
        "teacher": teacher, "task": sorted(task), "limit": limit, "questions_per_movie": questions_per_movie,
        "template_version": TEMPLATE_VERSION, "splits_version": SPLITS_VERSION,
    }  # fmt: skip
    people_files = find_movielens(movielens_dir) if teacher == "movielens" else {}
    inputs += people_files.values()
    if teacher == "openai":
        settings |= {"model": model, "base_url": where.base_url, "temperature": temperature, "examples": examples,
                     "offered": offered, "max_tokens": max_tokens}  # fmt: skip
    current = bool(inputs) and is_current(out, "teach", settings=settings, inputs=inputs, outputs=outputs, seed=seed)
    if current and not dry_run:
        log.info("%s is up to date", raw)
        return
    movies = read_catalogue(catalogue)
    lesson = Lesson(movies, out, questions_per_movie, seed)
    taught, tasks = pick_taught(movies, limit), sorted(set(task))
    people = MovieLensTeacher(movielens_dir, movies) if teacher == "movielens" else None
    if people:
        requests = people.requests(taught, catalogue)
    elif teacher == "template":
        requests = [lesson.template_request(movie, kind) for movie in taught for kind in tasks]
    else:
        requests = list(lesson.model_requests(taught, tasks, model, examples, offered))
    present = read_replies(raw) if raw.is_file() else []
    if dry_run:
        free = teacher != "openai"
        ahead = forecast(requests, present, pairs=questions_per_movie, titles=RECOMMENDED, max_tokens=max_tokens)
        print(ahead.describe(prices, free=free))
        return
    answer: Answering = people.answers if people else lesson.template_answers
    if teacher == "openai":
        key = read_key(where)
        budget = None
        if prices and max_cost is not None:
            budget = Budget(prices, max_cost, max_tokens, spent=sum_cost(present, model, prices))
        from moviebot.data.openai_teacher import connect

        answer = connect(where, key, model=model, temperature=temperature, seed=seed, max_tokens=max_tokens,
                         timeout_s=timeout_s, concurrency=concurrency, budget=budget).ask_all  # fmt: skip
    # Before anything is asked, so that a run that is stopped is known for what it is.
    name = model if teacher == "openai" else teacher
    ids = {kind: tuple(request.request_id for request in requests if request.task == kind) for kind in tasks}
    record_runs(out, [Run(kind, name, seed, limit, ids[kind]) for kind in tasks])
    with ReplyLog(raw, sync_every=1 if teacher == "openai" else 256) as replies:
        counts = _fill(replies, requests, present, answer)
    got = f"{counts['resumed'] + counts['answered']} of {len(requests)} replies are in {raw}"
    if counts["costly"]:
        raise UserError(f"--max_cost {max_cost:g} is reached: {got}: run it again with a higher --max_cost to go on")
    if counts["failed"]:
        raise UserError(
            f"{counts['failed']} of {counts['asked']} requests failed; the other replies are kept in {raw}: run the "
            "same command again to ask for the rest"
        )
    write_stage_report(
        out, "teach",
        counts={"in": len(requests), "kept": len(requests), "rejected": {}, "resumed": counts["resumed"],
                "movies": len(taught), **({"without_support": people.without_support} if people else {})},
        seconds=time.monotonic() - started, settings=settings, inputs=inputs, outputs=outputs, seed=seed,
    )  # fmt: skip
    log.info("%s: %d replies, %d of them from before", raw, len(requests), counts["resumed"])


def _fill(replies: ReplyLog, requests: Sequence[Request], present: Sequence[Reply], answer: Answering) -> Counter[str]:
    """Put the answers that lack into the log, and say how many were there, asked for and failed."""
    counts: Counter[str] = Counter()
    latest, by_id = keep_latest(present), {reply.request_id: reply for reply in present}
    pending: list[Request] = []
    for request in requests:
        known = by_id.get(request.request_id)
        if known is None:
            pending.append(request)
            continue
        counts["resumed"] += 1
        if latest[known.key].request_id != known.request_id:
            replies.append(known)  # an earlier setting is back: its reply counts again, without asking
    with Progress(transient=True) as progress:
        bar = progress.add_task("teach", total=len(pending))
        try:
            for _, reply in answer(pending):
                progress.advance(bar)
                counts["asked"] += 1
                counts["failed" if reply is None else "answered"] += 1
                if reply is not None:
                    replies.append(reply)
        except CostLimitError as error:
            log.info("%s", error)
            counts["costly"] += 1
    return counts


def _check(
    *, task: Sequence[Task], limit: int | None, questions_per_movie: int, concurrency: int, temperature: float,
    examples: int, offered: int, max_tokens: int, timeout_s: float, price_in: float | None, price_out: float | None,
    max_cost: float | None,
) -> None:  # fmt: skip
    problems = []
    if not task:
        problems.append("--task is empty: give qa, recommend or both")
    if limit is not None and limit < 1:
        problems.append(f"--limit {limit}: give at least 1, or leave it out for all movies")
    at_least_one = {"questions_per_movie": questions_per_movie, "concurrency": concurrency, "offered": offered,
                    "max_tokens": max_tokens}  # fmt: skip
    problems += [f"--{name} {value}: give at least 1" for name, value in at_least_one.items() if value < 1]
    if not 0 <= temperature <= 2:
        problems.append(f"--temperature {temperature}: give 0 to 2")
    if not 0 <= examples <= MAX_EXAMPLES:
        problems.append(f"--examples {examples}: give 0 to {MAX_EXAMPLES}")
    if not (timeout_s > 0 and math.isfinite(timeout_s)):
        problems.append(f"--timeout_s {timeout_s}: give seconds, more than 0")
    for name, value in {"price_in": price_in, "price_out": price_out, "max_cost": max_cost}.items():
        if value is not None and not (value >= 0 and math.isfinite(value)):
            problems.append(f"--{name} {value}: give US dollars, 0 or more")
    if max_cost is not None and None in (price_in, price_out):
        problems.append(f"--max_cost {max_cost:g} needs --price_in and --price_out, US dollars a million tokens")
    if problems:
        raise UserError("; ".join(problems))

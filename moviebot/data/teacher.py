"""The second stage: a teacher writes questions, answers and recommendation lists about the catalogue's movies."""

import hashlib
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from rich.progress import Progress

from moviebot.artefact import hash_path, is_current, read_jsonl, write_stage_report
from moviebot.data.catalogue import CATALOGUE_NAME, SIMILAR_NAME, SIMILAR_SOURCE
from moviebot.data.movielens import find_movielens
from moviebot.data.movielens_teacher import MovieLensTeacher
from moviebot.data.prompts import render_facts
from moviebot.data.replies import RAW_NAME, RUNS_NAME, ReplyLog, Request, Run, keep_latest, read_replies, record_runs
from moviebot.data.schemas import Movie, Task, read_catalogue
from moviebot.data.splits import SPLITS_VERSION, normalise_title, split_movies
from moviebot.data.template_teacher import TEMPLATE_VERSION, write_questions, write_recommendations
from moviebot.data.wordings import WORDINGS
from moviebot.errors import UserError

RECOMMENDED = 12  # a train movie keeps about nine of them: the others are val and test movies
log = logging.getLogger(__name__)


def teach(
    out: Path,
    teacher: Literal["template", "openai", "movielens"] = "template",
    task: tuple[Task, ...] = ("qa", "recommend"),
    limit: int | None = None,
    questions_per_movie: int = 9,
    model: str = "gpt-4o-mini",
    base_url: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 8,
    temperature: float = 0.7,
    seed: int = 0,
    movielens_dir: Path | None = None,
) -> None:
    """Let a teacher write question/answer pairs and recommendation lists; replies are added to teacher_raw.jsonl.

    Replies already there are not asked for again, so that a run that was stopped goes on where it was. What the run
    consists of is written to ``teacher_runs.json``: `moviebot clean` leaves out the replies of runs it replaced.

    Args:
        out: the data folder, with ``catalogue.parquet`` in it.
        teacher: ``template`` works offline from written wordings; ``openai`` asks a language model;
            ``movielens`` writes lists (no questions) from what people liked together.
        task: what to write: ``qa`` pairs, ``recommend`` lists, or both.
        limit: teach only this many movies, those with the most votes.
        questions_per_movie: question/answer pairs a movie.
        model: the language model's name (openai only).
        base_url: an OpenAI-compatible endpoint, for example http://localhost:8000/v1 (openai only).
        api_key_env: the environment variable that holds the key (openai only).
        concurrency: requests in flight at the most (openai only).
        temperature: of the language model, 0 to 2 (openai only).
        seed: decides the template's wordings; `moviebot clean` must be given the same.
        movielens_dir: a folder with MovieLens' ratings.csv, links.csv and movies.csv (movielens only).

    Raises:
        UserError: no catalogue, a setting out of range, or a server that refuses or fails requests.
    """
    started = time.monotonic()
    _check(task=task, limit=limit, questions_per_movie=questions_per_movie, concurrency=concurrency,
           temperature=temperature)  # fmt: skip
    if teacher == "movielens":
        if "recommend" not in task:
            raise UserError(
                "--teacher movielens writes lists only, and --task has no recommend: give --task [recommend]"
            )
        task = ("recommend",)
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
        settings |= {"model": model, "base_url": base_url, "temperature": temperature}
    if inputs and is_current(out, "teach", settings=settings, inputs=inputs, outputs=outputs, seed=seed):
        log.info("%s is up to date", raw)
        return
    movies = read_catalogue(catalogue)
    lesson = Lesson(movies, out, questions_per_movie, seed)
    taught = pick_taught(movies, limit)
    requests: Iterable[Request]
    people = MovieLensTeacher(movielens_dir, movies) if teacher == "movielens" else None
    if people:
        requests = people.requests(taught, catalogue)
    elif teacher == "template":
        requests = [lesson.template_request(movie, kind) for movie in taught for kind in sorted(set(task))]
    else:
        requests = lesson.model_requests(taught, sorted(set(task)), model)
    present = read_replies(raw) if raw.is_file() else []
    latest, by_id = keep_latest(present), {reply.request_id: reply for reply in present}
    pending: list[Request] = []
    wanted: dict[Task, list[str]] = {kind: [] for kind in sorted(set(task))}
    counts = Counter(requests=0, resumed=0)
    with ReplyLog(raw, sync_every=1 if teacher == "openai" else 256) as replies, Progress(transient=True) as progress:
        for request in requests:
            counts["requests"] += 1
            wanted[request.task].append(request.request_id)
            known = by_id.get(request.request_id)
            if known is None:
                pending.append(request)
            else:
                counts["resumed"] += 1
                if latest[known.key].request_id != known.request_id:
                    replies.append(known)  # an earlier setting is back: its reply counts again, without asking
        # Before anything is asked, so that a run that is stopped is known for what it is.
        name = model if teacher == "openai" else teacher
        record_runs(out, [Run(kind, name, seed, limit, tuple(ids)) for kind, ids in wanted.items()])
        bar = progress.add_task("teach", total=len(pending))
        for request, reply in _answer(
            pending, lesson, people, teacher, model, base_url, api_key_env, temperature, concurrency
        ):
            progress.advance(bar)
            counts["asked"] += 1
            if reply is None:
                counts["failed"] += 1
            else:
                replies.append(request.answer(reply))
    if counts["failed"]:
        raise UserError(
            f"{counts['failed']} of {counts['asked']} requests failed; the other replies are kept in {raw}: run the "
            "same command again to ask for the rest"
        )
    write_stage_report(
        out, "teach",
        counts={"in": counts["requests"], "kept": counts["requests"], "rejected": {}, "resumed": counts["resumed"],
                "movies": len(taught), **({"without_support": people.without_support} if people else {})},
        seconds=time.monotonic() - started, settings=settings, inputs=inputs, outputs=outputs, seed=seed,
    )  # fmt: skip
    log.info("%s: %d replies, %d of them from before", raw, counts["requests"], counts["resumed"])


def pick_taught(movies: Sequence[Movie], limit: int | None) -> list[Movie]:
    """Return the ``limit`` movies with the most votes, in the catalogue's order."""
    if limit is None or limit >= len(movies):
        return list(movies)
    chosen = {movie.tconst for movie in sorted(movies, key=lambda movie: -(movie.votes or 0))[:limit]}
    return [movie for movie in movies if movie.tconst in chosen]


class Lesson:
    """What is asked of a teacher, and what the template teacher answers.

    Args:
        movies: the whole catalogue.
        out: the data folder; lists in its ``similar.jsonl`` are preferred to computed ones.
        questions_per_movie: question/answer pairs a movie.
        seed: of the wordings and the splits.
    """

    def __init__(self, movies: Sequence[Movie], out: Path, questions_per_movie: int, seed: int) -> None:
        self.movies = {movie.tconst: movie for movie in movies}
        self.n, self.seed = questions_per_movie, seed
        self.splits = split_movies(movies, seed)
        titles = Counter(normalise_title(movie.title) for movie in movies)
        self.ambiguous = {movie.tconst for movie in movies if titles[normalise_title(movie.title)] > 1}
        similar = out / SIMILAR_NAME
        rows = read_jsonl(similar) if similar.is_file() else []
        self.similar: dict[str, list[str]] = {row["tconst"]: row["recommended"] for row in rows}
        self._words_hash = hashlib.sha256(repr(WORDINGS).encode()).hexdigest()
        self._catalogue_hash = hash_path(out / CATALOGUE_NAME)

    def template_request(self, movie: Movie, task: Task) -> Request:
        """Return the request whose prompt names all that the template's answer depends on."""
        start = f"template {TEMPLATE_VERSION}, seed {self.seed}"
        if task == "qa":
            decided = f"{self.n} {movie.tconst in self.ambiguous} {self.splits[movie.tconst]}"
            prompt = "\n".join((start, self._words_hash, decided, movie.label, render_facts(movie)))
            return Request(task, movie.tconst, "template", prompt)
        if movie.tconst in self.similar:
            return Request(task, movie.tconst, SIMILAR_SOURCE, "\n".join((start, *self.similar[movie.tconst])))
        return Request(task, movie.tconst, "template", "\n".join((start, self._catalogue_hash)))

    def model_requests(self, taught: Sequence[Movie], tasks: Sequence[Task], model: str) -> Iterator[Request]:
        """Yield the requests to a language model."""
        from moviebot.data.openai_teacher import OFFERED, build_questions_prompt, build_recommend_prompt

        ranked = self._rank([movie.tconst for movie in taught], OFFERED) if "recommend" in tasks else {}
        for movie in taught:
            for task in tasks:
                if task == "qa":
                    prompt = build_questions_prompt(movie, self.n, ambiguous=movie.tconst in self.ambiguous)
                else:
                    candidates = [self.movies[tconst] for tconst in ranked[movie.tconst]]
                    prompt = build_recommend_prompt(movie, candidates, RECOMMENDED)
                yield Request(task, movie.tconst, model, prompt)

    def template_answers(self, requests: Sequence[Request]) -> Iterator[tuple[Request, str]]:
        """Yield each request with the template's answer."""
        computed = [r.tconst for r in requests if r.task == "recommend" and r.tconst not in self.similar]
        ranked = self._rank(computed, RECOMMENDED + 3) | self.similar
        for request in requests:
            movie = self.movies[request.tconst]
            if request.task == "recommend":
                others = [self.movies[tconst] for tconst in ranked[movie.tconst]]
                others = [other for other in others if other.label != movie.label]  # another film of this name and year
                yield request, write_recommendations(others[:RECOMMENDED])
            else:
                split = self.splits[movie.tconst]
                rng = random.Random(f"{self.seed}:{movie.tconst}")
                yield (
                    request,
                    write_questions(movie, split, self.n, rng, ambiguous=movie.tconst in self.ambiguous),
                )

    def _rank(self, tconsts: Sequence[str], n: int) -> dict[str, list[str]]:
        if not tconsts:
            return {}
        from moviebot.data.recommendations import ContentRecommender

        return dict(ContentRecommender(list(self.movies.values())).rank(tconsts, n))


def _answer(
    requests: Sequence[Request], lesson: Lesson, people: MovieLensTeacher | None, teacher: str, model: str,
    base_url: str | None, api_key_env: str, temperature: float, concurrency: int,
) -> Iterator[tuple[Request, str | None]]:  # fmt: skip
    if people:
        yield from people.answers(requests)
    elif teacher == "template":
        yield from lesson.template_answers(requests)
    elif requests:
        from moviebot.data.openai_teacher import OpenAITeacher

        asked = OpenAITeacher(model, base_url, api_key_env, temperature, lesson.seed, concurrency)
        yield from asked.ask_all(requests)


def _check(
    *, task: Sequence[Task], limit: int | None, questions_per_movie: int, concurrency: int, temperature: float
) -> None:
    problems = []
    if not task:
        problems.append("--task is empty: give qa, recommend or both")
    if limit is not None and limit < 1:
        problems.append(f"--limit {limit}: give at least 1, or leave it out for all movies")
    if questions_per_movie < 1:
        problems.append(f"--questions_per_movie {questions_per_movie}: give at least 1")
    if concurrency < 1:
        problems.append(f"--concurrency {concurrency}: give at least 1")
    if not 0 <= temperature <= 2:
        problems.append(f"--temperature {temperature}: give 0 to 2")
    if problems:
        raise UserError("; ".join(problems))

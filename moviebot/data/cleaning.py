"""The third stage: what the teachers wrote is judged, counted, split by movie, and turned into pairs."""

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from moviebot.artefact import is_current, read_report, write_jsonl, write_stage_report
from moviebot.data.catalogue import CATALOGUE_NAME
from moviebot.data.judging import find_text, is_encodable, is_supported, names_movie, parse_reply
from moviebot.data.list_judging import ListJudge
from moviebot.data.pairs import PairBuilder, write_pairs
from moviebot.data.rejects import CleanReason, Rejects
from moviebot.data.replies import RAW_NAME, RUNS_NAME, Key, Reply, read_replies, read_runs
from moviebot.data.schemas import TOPICS, Movie, QAPair, RecommendationList, Split, Topic, read_catalogue
from moviebot.data.splits import normalise_title, split_movies
from moviebot.errors import UserError

QA_NAME = "qa.jsonl"
RECOMMENDATIONS_NAME = "recommendations.jsonl"
QUESTION_PAIRS_NAME = "question_pairs.parquet"
RECOMMEND_PAIRS_NAME = "recommend_pairs.parquet"
log = logging.getLogger(__name__)


def clean(out: Path, seed: int = 0) -> None:
    """Judge what the teachers wrote, keep what is good, and write the samples to train on.

    Reads ``catalogue.parquet``, ``teacher_raw.jsonl`` and, with what the last runs of `moviebot teach` consist of,
    ``teacher_runs.json`` (all replies count where it is absent); writes ``qa.jsonl``, ``recommendations.jsonl``,
    ``question_pairs.parquet``, ``recommend_pairs.parquet`` and, with the reason for each, ``rejects.jsonl``.

    Args:
        out: the data folder.
        seed: decides splits, negatives and typos; the same that `moviebot teach` was given.

    Raises:
        UserError: an input is absent or damaged, the seeds differ, or nothing good is left.
    """
    started = time.monotonic()
    _check_seed(out, seed)
    inputs = [out / CATALOGUE_NAME, out / RAW_NAME]
    inputs += [out / RUNS_NAME] if (out / RUNS_NAME).is_file() else []
    outputs = [out / name for name in (QA_NAME, RECOMMENDATIONS_NAME, QUESTION_PAIRS_NAME, RECOMMEND_PAIRS_NAME)]
    if is_current(out, "clean", settings={}, inputs=inputs, outputs=outputs, seed=seed):
        log.info("%s is up to date", outputs[0])
        return
    movies = read_catalogue(inputs[0])
    replies = read_replies(inputs[1])
    judge = Judge(movies, split_movies(movies, seed))
    runs = read_runs(out)
    pairs, lists = judge.judge(replies, {id_ for run in runs for id_ in run.request_ids} if runs else None)
    if not pairs and not lists:
        found = ", ".join(f"{reason} {number}" for reason, number in judge.rejects.count().items() if number)
        raise UserError(f"nothing good is left of the {len(replies)} replies in {inputs[1]} ({found or 'no replies'}): "
                        "look at what the teacher wrote, and teach again")  # fmt: skip
    builder = PairBuilder(movies, judge.splits, seed)
    question_rows, recommend_rows = builder.pair_questions(pairs), builder.pair_recommendations(lists)
    write_jsonl(outputs[0], map(asdict, pairs))
    write_jsonl(outputs[1], map(asdict, lists))
    write_pairs(outputs[2], question_rows)
    write_pairs(outputs[3], recommend_rows)
    judge.rejects.write(out)
    write_stage_report(
        out, "clean",
        counts={
            "in": len(replies),
            "kept": len(pairs) + len(lists),
            "rejected": judge.rejects.count(),
            **judge.counts,
            "qa": {"in": judge.counts["pairs_in"], "kept": len(pairs), "splits": dict(Counter(p.split for p in pairs)),
                   "topics": dict(sorted(Counter(str(p.topic) for p in pairs).items()))},
            "recommendations": {"in": judge.counts["lists_in"], "kept": len(lists),
                                "splits": dict(Counter(row.split for row in lists))},
            "question_pairs": len(question_rows),
            "recommend_pairs": len(recommend_rows),
        },
        seconds=time.monotonic() - started, settings={}, inputs=inputs, outputs=outputs, seed=seed,
    )  # fmt: skip
    log.info("%s: %d pairs and %d lists kept, %d thrown away", out, len(pairs), len(lists), len(judge.rejects.rows))


@dataclass(frozen=True)
class _Candidate:
    pair: QAPair
    supported: bool
    votes: int


class Judge:
    """Judges a teacher's replies.

    Args:
        movies: the catalogue.
        splits: the split of each movie.
    """

    def __init__(self, movies: Sequence[Movie], splits: Mapping[str, Split]) -> None:
        self.splits = splits
        self.rejects = Rejects("clean")
        self.counts = Counter(pairs_in=0, lists_in=0, mended_json=0, outside_split=0)
        self._movies = {movie.tconst: movie for movie in movies}
        self._order = {movie.tconst: n for n, movie in enumerate(movies)}
        self._titles = Counter(normalise_title(movie.title) for movie in movies)
        self._lists = ListJudge(movies, splits, self.rejects, self.counts)

    def judge(
        self, replies: Sequence[Reply], current: Set[str] | None = None
    ) -> tuple[list[QAPair], list[RecommendationList]]:
        """Return what is good, in the catalogue's order whatever order the replies came in; count the rest.

        Args:
            replies: what the teachers wrote.
            current: the request ids whose replies count; None: all do.
        """
        latest: dict[Key, Reply] = {}
        for reply in replies:
            if current is not None and reply.request_id not in current:
                self._reject("superseded", reply.tconst, reply.request_id)
                continue
            if reply.key in latest:  # several teachers' pairs add up, and their lists are fused
                self._reject("superseded", latest[reply.key].tconst, latest[reply.key].request_id)
            latest[reply.key] = reply
        known = [reply for reply in latest.values() if reply.tconst in self._movies]
        for reply in latest.values():
            if reply.tconst not in self._movies:
                self._reject("unknown_movie", reply.tconst, reply.reply)
        known.sort(key=lambda reply: (self._order[reply.tconst], reply.task, reply.model))
        candidates: list[_Candidate] = []
        lists: list[Reply] = []
        for reply in track(known, "clean", transient=True):
            if reply.task == "recommend" and is_encodable(reply.model):
                lists.append(reply)
                continue
            content, mended = parse_reply(reply.reply) if is_encodable(reply.model) else (None, False)
            self.counts["mended_json"] += mended and content is not None
            candidates += self._read_pairs(reply, content, mended)
        return self._drop_duplicates(candidates), self._lists.judge(lists)

    def _read_pairs(self, reply: Reply, content: object, mended: bool) -> list[_Candidate]:
        listed = content.get("pairs") if isinstance(content, dict) else None
        if not isinstance(listed, list):
            self._reject("malformed_json", reply.tconst, reply.reply)
            return []
        found = []
        for number, pair in enumerate(listed, start=1):
            self.counts["pairs_in"] += 1
            raw = json.dumps(pair, ensure_ascii=False)
            question = find_text(pair, "question") if isinstance(pair, dict) else None
            answer = find_text(pair, "answer") if isinstance(pair, dict) else None
            cut_off = mended and number == len(listed) and not (answer or "").endswith((".", "!", "?", '"', "…"))
            if question is None or answer is None or cut_off:
                self._reject("malformed_json", reply.tconst, raw)
                continue
            candidate = self._judge_pair(reply, question, answer, pair.get("topic"), raw)
            found += [candidate] if candidate else []
        return found

    def _judge_pair(self, reply: Reply, question: str, answer: str, topic: object, raw: str) -> _Candidate | None:
        movie = self._movies[reply.tconst]
        fault: CleanReason | None = None
        if not question or not answer:
            fault = "empty"
        elif not names_movie(question, movie):
            fault = "title_absent"
        elif self._titles[normalise_title(movie.title)] > 1 and not _says_year(question, movie):
            fault = "ambiguous_title"
        if fault:
            self._reject(fault, reply.tconst, raw)
            return None
        known: Topic | None = next((name for name in TOPICS if name == topic), None)
        pair = QAPair(reply.tconst, question, answer, reply.model, self.splits[reply.tconst], known)
        return _Candidate(pair, is_supported(question, answer, known, movie), movie.votes or 0)

    def _drop_duplicates(self, candidates: Sequence[_Candidate]) -> list[QAPair]:
        best: dict[str, _Candidate] = {}
        for candidate in candidates:
            question = normalise_title(candidate.pair.question)
            other = best.get(question)
            if other is None or (candidate.supported, candidate.votes) > (other.supported, other.votes):
                best[question] = candidate
        kept = []
        for candidate in candidates:
            winner = best[normalise_title(candidate.pair.question)]
            raw = json.dumps({"question": candidate.pair.question, "answer": candidate.pair.answer}, ensure_ascii=False)
            if candidate is not winner:
                same = (candidate.pair.tconst, candidate.pair.answer) == (winner.pair.tconst, winner.pair.answer)
                self._reject("repeated_pair" if same else "duplicate_question", candidate.pair.tconst, raw)
            elif not candidate.supported:
                self._reject("unsupported_answer", candidate.pair.tconst, raw)
            else:
                kept.append(candidate.pair)
        return kept

    def _reject(self, reason: CleanReason, tconst: str, raw: str) -> None:
        self.rejects.add(reason, tconst, raw)


def _says_year(question: str, movie: Movie) -> bool:
    return movie.year is not None and str(movie.year) in normalise_title(question).split()


def _check_seed(out: Path, seed: int) -> None:
    taught: Any = read_report(out).get("teach")
    given = {"": taught.get("seed")} if isinstance(taught, dict) and not (out / RUNS_NAME).is_file() else {}
    for task, other in (given | {f" --task {run.task}": run.seed for run in read_runs(out)}).items():
        if other not in (None, seed):
            raise UserError(
                f"--seed {seed}, but `moviebot teach{task}` was given --seed {other}: give the same to both, or movies "
                "and wordings of the test would be in the training"
            )

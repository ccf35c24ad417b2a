"""The third stage: what the teachers wrote is judged, counted, split by movie, and turned into pairs."""

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import track

from moviebot.artefact import is_current, read_report, write_jsonl, write_stage_report
from moviebot.data.catalogue import CATALOGUE_NAME
from moviebot.data.judging import JudgedPair, is_encodable, judge_all
from moviebot.data.leakage import find_leakage
from moviebot.data.list_judging import ListJudge
from moviebot.data.pairs import PairBuilder, write_pairs
from moviebot.data.rejects import CleanReason, Rejects
from moviebot.data.replies import RAW_NAME, RUNS_NAME, Key, Reply, read_replies, read_runs
from moviebot.data.schemas import Movie, QAPair, RecommendationList, Split, read_catalogue
from moviebot.data.similarity import SIMILAR_COSINE, measure_similarity
from moviebot.data.splits import SPLITS_VERSION, split_movies
from moviebot.data.thumbs import Liked, Thumbs, make_key, name_shown, read_thumbs
from moviebot.errors import UserError

QA_NAME = "qa.jsonl"
RECOMMENDATIONS_NAME = "recommendations.jsonl"
QUESTION_PAIRS_NAME = "question_pairs.parquet"
RECOMMEND_PAIRS_NAME = "recommend_pairs.parquet"
JUDGING_VERSION = 2  # count up when pairs or lists are judged otherwise: the stage then runs anew
QUIET_REPLIES = 1000  # fewer take less than two seconds, so no progress bar
log = logging.getLogger(__name__)


def clean(out: Path, similarity: bool = True, feedback: Path | None = None, seed: int = 0) -> None:
    """Judge what the teachers wrote, keep what is good, and write the samples to train on.

    Reads ``catalogue.parquet``, ``teacher_raw.jsonl`` and, with what the last runs of `moviebot teach` consist of,
    ``teacher_runs.json`` (all replies count where it is absent); writes ``qa.jsonl``, ``recommendations.jsonl``,
    ``question_pairs.parquet``, ``recommend_pairs.parquet`` and, with the reason for each, ``rejects.jsonl``.

    Args:
        out: the data folder.
        similarity: let a sentence encoder (all-MiniLM-L6-v2) look at answers that share too few words with the facts
            to be sure of; without it they are thrown away.
        feedback: the log of thumbs that `moviebot serve` wrote: what people liked is judged as one more teacher's
            word, and a pair that they disliked is thrown away.
        seed: decides splits, negatives and typos; the same that `moviebot teach` was given.

    Raises:
        UserError: an input is absent or damaged, the seeds differ, or nothing good is left.
    """
    started = time.monotonic()
    settings = {"similarity": similarity, "judging_version": JUDGING_VERSION, "splits_version": SPLITS_VERSION}
    _check_seed(out, seed)
    inputs = [out / CATALOGUE_NAME, out / RAW_NAME]
    inputs += [out / RUNS_NAME] if (out / RUNS_NAME).is_file() else []
    thumbs = Thumbs([], frozenset(), {}) if feedback is None else read_thumbs(feedback)
    inputs += [] if feedback is None else [feedback]
    outputs = [out / name for name in (QA_NAME, RECOMMENDATIONS_NAME, QUESTION_PAIRS_NAME, RECOMMEND_PAIRS_NAME)]
    if is_current(out, "clean", settings=settings, inputs=inputs, outputs=outputs, seed=seed):
        log.info("%s is up to date", outputs[0])
        return
    movies = read_catalogue(inputs[0])
    told = name_shown(thumbs.replies, movies)
    replies = [*read_replies(inputs[1]), *told]
    judge = Judge(movies, split_movies(movies, seed), similarity=similarity, disliked=thumbs.disliked)
    runs = read_runs(out)
    current = {id_ for run in runs for id_ in run.request_ids} | {reply.request_id for reply in told} if runs else None
    pairs, lists = judge.judge(replies, current)
    if not pairs and not lists:
        found = ", ".join(f"{reason} {number}" for reason, number in judge.rejects.count().items() if number)
        raise UserError(f"nothing good is left of the {len(replies)} replies in {inputs[1]} ({found or 'no replies'}): "
                        "look at what the teacher wrote, and teach again")  # fmt: skip
    builder = PairBuilder(movies, judge.splits, seed)
    question_rows, recommend_rows = builder.pair_questions(pairs), builder.pair_recommendations(lists)
    leakage = find_leakage(movies, judge.splits, pairs, lists, [*question_rows, *recommend_rows])
    leakage.check()
    write_jsonl(outputs[0], map(vars, pairs))
    write_jsonl(outputs[1], map(vars, lists))
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
            "leakage": leakage.as_counts(),
            **({} if feedback is None else {"thumbs": thumbs.counts}),
        },
        seconds=time.monotonic() - started, settings=settings, inputs=inputs, outputs=outputs, seed=seed,
    )  # fmt: skip
    log.info("%s: %s", out, leakage)
    log.info("%s: %d pairs and %d lists kept, %d thrown away", out, len(pairs), len(lists), len(judge.rejects.rows))


@dataclass(frozen=True)
class _Candidate:
    pair: QAPair
    judged: JudgedPair
    movie: Movie


class Judge:
    """Judges a teacher's replies.

    Args:
        movies: the catalogue.
        splits: the split of each movie.
        similarity: a sentence encoder looks at borderline answers.
        disliked: pairs that people gave a thumb down, from :func:`~moviebot.data.thumbs.make_key`.
    """

    def __init__(
        self,
        movies: Sequence[Movie],
        splits: Mapping[str, Split],
        *,
        similarity: bool = True,
        disliked: Set[Liked] = frozenset(),
    ) -> None:
        self.splits = splits
        self._disliked = disliked
        self._similarity = similarity
        self.rejects = Rejects("clean")
        self.counts = Counter(
            pairs_in=0, lists_in=0, mended_json=0, outside_split=0, fixed_title=0, borderline=0, saved_by_similarity=0
        )
        self._movies = {movie.tconst: movie for movie in movies}
        self._order = {movie.tconst: n for n, movie in enumerate(movies)}
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
        candidates = self._judge_questions([reply for reply in known if reply.task == "qa"])
        lists = [reply for reply in known if reply.task == "recommend"]
        for reply in lists:
            if not is_encodable(reply.model):
                self._reject("malformed_json", reply.tconst, reply.reply)
        return self._drop_duplicates(candidates), self._lists.judge([r for r in lists if is_encodable(r.model)])

    def _judge_questions(self, replies: Sequence[Reply]) -> list[_Candidate]:
        """Return the pairs that say what they are about, borderline answers looked at; reject the others."""
        tasks = [(self._movies[reply.tconst], reply) for reply in replies]
        judged = track(judge_all(list(self._movies.values()), tasks), "clean", total=len(tasks), transient=True,
                       disable=len(tasks) < QUIET_REPLIES)  # fmt: skip
        candidates: list[_Candidate] = []
        for (movie, reply), found in zip(tasks, judged, strict=True):
            self.counts["mended_json"] += found.mended
            self.counts["pairs_in"] += len(found.pairs or ())
            if found.pairs is None:
                self._reject("malformed_json", reply.tconst, reply.reply)
            for pair in found.pairs or ():
                self.counts["fixed_title"] += pair.fixed
                if pair.reason:
                    self._reject(pair.reason, reply.tconst, pair.raw)
                else:
                    row = QAPair(
                        reply.tconst, pair.question, pair.answer, reply.model, self.splits[reply.tconst], pair.topic
                    )
                    candidates.append(_Candidate(row, pair, movie))
        return self._save_similar(candidates) if self._similarity else candidates

    def _save_similar(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """Take the fault from borderline answers that mean what the description says."""
        places = [n for n, candidate in enumerate(candidates) if candidate.judged.borderline]
        described = [(candidates[n].pair.answer, candidates[n].movie.description or "") for n in places]
        self.counts["borderline"] += len(places)
        for n, cosine in zip(places, measure_similarity(described), strict=True):
            if cosine >= SIMILAR_COSINE:
                self.counts["saved_by_similarity"] += 1
                candidates[n] = replace(candidates[n], judged=replace(candidates[n].judged, fault=None))
        return candidates

    def _drop_duplicates(self, candidates: Sequence[_Candidate]) -> list[QAPair]:
        """Keep the best supported answer to a question; of equals that of the better known movie, then the first."""
        best: dict[str, _Candidate] = {}
        for candidate in candidates:
            other = best.get(candidate.judged.key)
            if other is None or _rank(candidate) > _rank(other):
                best[candidate.judged.key] = candidate
        kept = []
        for candidate in candidates:
            winner, pair = best[candidate.judged.key], candidate.pair
            if candidate is not winner:
                same = (pair.tconst, pair.answer) == (winner.pair.tconst, winner.pair.answer)
                raw = candidate.judged.raw or json.dumps(
                    {"question": pair.question, "answer": pair.answer}, ensure_ascii=False
                )
                self._reject("repeated_pair" if same else "duplicate_question", pair.tconst, raw)
            elif candidate.judged.fault:
                self._reject(candidate.judged.fault, pair.tconst, candidate.judged.raw)
            elif make_key(pair.tconst, pair.question, pair.answer) in self._disliked:
                self._reject("disliked", pair.tconst, candidate.judged.raw)
            else:
                kept.append(pair)
        return kept

    def _reject(self, reason: CleanReason, tconst: str, raw: str) -> None:
        self.rejects.add(reason, tconst, raw)


def _rank(candidate: _Candidate) -> tuple[bool, float, int]:
    return not candidate.judged.fault, candidate.judged.score, candidate.movie.votes or 0


def _check_seed(out: Path, seed: int) -> None:
    taught: Any = read_report(out).get("teach")
    given = {"": taught.get("seed")} if isinstance(taught, dict) and not (out / RUNS_NAME).is_file() else {}
    for task, other in (given | {f" --task {run.task}": run.seed for run in read_runs(out)}).items():
        if other not in (None, seed):
            raise UserError(
                f"--seed {seed}, but `moviebot teach{task}` was given --seed {other}: give the same to both, or movies "
                "and wordings of the test would be in the training"
            )

"""The teacher against a server that fails in every way we know: nothing lost, nothing asked twice."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moviebot.data import openai_teacher
from moviebot.data.cleaning import clean
from moviebot.data.replies import RAW_NAME, read_replies
from moviebot.data.schemas import Movie, write_catalogue
from moviebot.data.teacher import teach
from moviebot.errors import UserError
from tests.data.fault_server import FAULTS, Fault, FaultServer, write_answer

N_MOVIES = 24
MOMENTS = 20
TIMEOUT_S = 5.0  # of a whole request: hangs are found out after this


def write_movies(folder: Path, n: int = N_MOVIES) -> list[Movie]:
    movies = [
        Movie(f"tt{n:07}", f"Film {chr(65 + n % 26)}{n}", year=1950 + n, runtime_minutes=60 + n, votes=n)
        for n in range(n)
    ]
    write_catalogue(folder / "catalogue.parquet", movies)
    return movies


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_movies(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_teacher, "FIRST_WAIT_S", 0.02)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")


def ask(out: Path, server: FaultServer, concurrency: int = 8, timeout_s: float = TIMEOUT_S) -> None:
    teach(
        out, "openai", ("qa",), questions_per_movie=1, model="m", base_url=server.url, concurrency=concurrency,
        timeout_s=timeout_s, examples=0,
    )  # fmt: skip


def answers(out: Path) -> dict[str, str]:
    replies = read_replies(out / RAW_NAME)
    assert len(replies) == len({reply.request_id for reply in replies})
    return {reply.request_id: reply.reply for reply in replies}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_survived(tmp_path: Path, fault: Fault) -> None:
    write_movies(tmp_path, 6)
    with FaultServer(faults=[fault]) as server:
        ask(tmp_path, server, timeout_s=1.5 if fault == "hang" else 60.0)
        assert server.met[fault] >= 3  # the test would be idle otherwise
        assert sorted(answers(tmp_path).values()) == sorted(map(write_answer, server.served))
        assert len(server.served) == 6
        assert set(server.served.values()) == {1}


def test_output_is_independent_of_order_concurrency_and_faults(tmp_path: Path) -> None:
    cleaned, logs = set(), set()
    for name, seed, most, concurrency in [("a", 0, 0, 1), ("b", 1, 2, 1), ("c", 2, 2, 8), ("d", 3, 2, 8)]:
        out = tmp_path / name
        out.mkdir()
        write_movies(out)
        faults = [fault for fault in FAULTS if concurrency > 1 or fault != "hang"]  # one at a time, hangs take minutes
        with FaultServer(seed, faults, most, delay_s=0.01) as server:
            ask(out, server, concurrency)
            assert bool(server.met) == bool(most)
            assert server.most_flying <= concurrency
            assert len(server.served) == N_MOVIES
            assert set(server.served.values()) == {1}  # none lost, none paid for twice
        logs.add(frozenset(answers(out).items()))
        clean(out)
        cleaned.add((out / "qa.jsonl").read_bytes())
    assert len(logs) == 1
    assert len(cleaned) == 1
    assert cleaned.pop().count(b"\n") == N_MOVIES


@pytest.mark.slow
def test_kill_at_twenty_moments_then_rerun_gives_the_same(tmp_path: Path) -> None:
    whole, out, n_movies, concurrency = tmp_path / "whole", tmp_path / "killed", 8 * MOMENTS, 4
    for folder in (whole, out):
        folder.mkdir()
        write_movies(folder, n_movies)
    with FaultServer(most=0) as server:
        ask(whole, server)
    rng = random.Random(5)
    served: dict[str, int] = {}  # how often each prompt had been answered when its reply was found in the log
    with FaultServer(seed=7, most=1, delay_s=0.2) as server:
        command = [
            sys.executable, "-m", "moviebot", "teach", "--out", str(out), "--teacher", "openai", "--task", "[qa]",
            "--questions_per_movie", "1", "--model", "m", "--base_url", server.url, "--examples", "0",
            "--concurrency", str(concurrency), "--timeout_s", str(TIMEOUT_S),
        ]  # fmt: skip
        for moment in range(MOMENTS + 1):
            logged = answers(out) if (out / RAW_NAME).is_file() else {}
            process = subprocess.Popen(command, env={**os.environ, "SOURCE_DATE_EPOCH": "0"}, stderr=subprocess.PIPE)
            if moment < MOMENTS:
                goal = len(logged) + rng.randint(1, 3)
                while process.poll() is None and _count_lines(out / RAW_NAME) < goal:
                    time.sleep(0.01)
                time.sleep(rng.random() * 0.2)
                process.kill()
            process.communicate()
            assert process.returncode == (-signal.SIGKILL if moment < MOMENTS else 0)
            kept = answers(out)
            assert logged.items() <= kept.items()
            for prompt, number in list(server.served.items()):
                if write_answer(prompt) in kept.values():
                    served.setdefault(prompt, number)
        assert answers(out) == answers(whole)
        assert len(served) == n_movies
        assert served == server.served  # what is in the log is never asked for again
        extra = sum(server.served.values()) - n_movies
        assert extra <= MOMENTS * concurrency  # what was in flight, or had come and was not yet written


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def test_max_cost_stops_before_it_is_exceeded(out: Path) -> None:
    # 100 tokens in and 10 out a reply: 120 USD a million replies at these prices, 0.00012 each.
    with FaultServer(most=0, delay_s=0.01) as server:

        def limited(max_cost: float) -> None:
            teach(
                out, "openai", ("qa",), questions_per_movie=1, model="m", base_url=server.url, concurrency=4,
                examples=0, max_tokens=50, price_in=1.0, price_out=2.0, max_cost=max_cost,
            )  # fmt: skip

        with pytest.raises(UserError, match=r"--max_cost 0.002 is reached: (\d+) of 24 replies are in .*higher"):
            limited(0.002)
        first = len(answers(out))
        assert 5 <= first <= 0.002 / 0.00012
        assert sum(server.served.values()) == first  # nothing paid for was thrown away
        with pytest.raises(UserError, match=rf"is reached: {first} of 24"):  # what the log cost counts
            limited(0.002)
        assert sum(server.served.values()) == first
        limited(1.0)
        assert len(answers(out)) == N_MOVIES == sum(server.served.values())


def test_a_refusal_in_the_middle_keeps_what_is_in_flight(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_teacher, "LONGEST_PAUSE_S", 0.1)
    with FaultServer(seed=2, faults=["429_seconds"], most=1, delay_s=0.05) as server:
        with pytest.raises(UserError, match="asks to be left alone for 0 s: run the same command again"):
            ask(out, server)
        assert server.written.total() == len(answers(out)) < N_MOVIES
        assert server.written  # the test would be idle otherwise


class LateRefusal(FaultServer):
    """Fails the first request, and much later asks the others to leave it alone for long."""

    def next_fault(self, prompt: str) -> Fault | None:
        with self.lock:
            fault: Fault = "429_seconds" if self.met["500"] else "500"
            self.met[fault] += 1
        if fault == "429_seconds":
            self.closing.wait(0.5)
        return fault


def test_a_refusal_does_not_wait_for_those_that_wait_to_try_again(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"FIRST_WAIT_S": 1e6, "LONGEST_WAIT_S": 1e6, "LONGEST_PAUSE_S": 0.1}.items():
        monkeypatch.setattr(openai_teacher, name, seconds)
    with LateRefusal() as server, pytest.raises(UserError, match="asks to be left alone"):
        ask(out, server)  # the first would be tried again in days

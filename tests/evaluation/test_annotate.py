"""People judge answers; nothing is lost, nothing is counted twice, and a model's word is never a person's."""

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from moviebot.cli import run
from moviebot.errors import UserError
from moviebot.evaluation.annotate import JudgingSession, annotate, draw_answers, make_id
from moviebot.evaluation.judgements import Judgement, append_judgement, read_judgements, summarise
from tests.rag.completion_server import CompletionServer


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    rows = [
        {
            "query": f"who directed Film {n}?", "intent": "question", "movie": {"title": f"Film {n}", "year": 1990 + n},
            "prompt": f"Below.\n\n### Instruction:\nwho\n\n### Input:\nDirector(s): Ada {n}\nCast: Bo\n",
            "answer": f"It was directed by Ada {n}. [bold]\x1b[31m",
        }
        for n in range(12)
    ]  # fmt: skip
    rows += [{"query": "hi", "intent": "other", "prompt": "", "answer": "Hello!"}, {"error": "no query"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judge(answers: Path, out: Path, name: str, lines: list[str], n: int = 4) -> str:
    shown = io.StringIO()
    known = read_judgements([out]) if out.exists() else []
    session = JudgingSession(draw_answers(answers, n, 0), name, out, Console(file=shown, soft_wrap=True))
    session.run(known, iter(lines))
    return shown.getvalue()


def test_facts_and_answer_are_shown_as_text(answers: Path, tmp_path: Path) -> None:
    text = judge(answers, tmp_path / "out.jsonl", "Ada", ["q"])
    assert "Director(s): Ada" in text
    assert "Movie: Film" in text
    assert "[bold]" in text
    assert "\x1b[31m" not in text
    assert "Stopped" in text
    assert not (tmp_path / "out.jsonl").exists()


def test_judging_stops_goes_on_and_goes_back(answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert "none of these" in judge(answers, out, "Ada", ["y", "perhaps", "n wrong year", "q", "y"])
    assert [(row.verdict, row.why) for row in read_judgements([out])] == [("yes", ""), ("no", "wrong year")]
    assert "2 of 4 are judged" in judge(answers, out, "Ada", ["y", "b", "n", "s"])
    rows = read_judgements([out])
    assert [row.verdict for row in rows] == ["yes", "no", "yes", "no", "skip"]
    assert rows[2].item == rows[3].item
    assert "has judged all 4" in judge(answers, out, "Ada", ["y"])
    assert len(read_judgements([out])) == 5
    summary = summarise(rows)
    assert summary.count == 3
    assert summary.right.mean == pytest.approx(1 / 3)


def test_a_half_written_line_costs_nothing_else(answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    judge(answers, out, "Ada", ["y", "y"])
    whole = out.read_bytes()
    out.write_bytes(whole + b'{"item": "x", "que')
    assert len(read_judgements([out])) == 2
    judge(answers, out, "Ada", ["n"])
    assert out.read_bytes().startswith(whole)
    assert [row.verdict for row in read_judgements([out])] == ["yes", "yes", "no"]


def test_two_people_judge_the_same_answers_and_their_agreement_is_told(
    answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "ada.jsonl", tmp_path / "bo.jsonl"
    judge(answers, first, "Ada", ["y", "y", "n", "n"])
    judge(answers, second, "Bo", ["y", "n", "n", "n"])
    annotate(answers, first, n=4, others=(second,), summary=True)
    out = capsys.readouterr().out
    assert "0.500" in out
    assert "0.250" in out
    assert "Cohen's kappa between people, 4 answers judged by all: 0.50" in out
    assert "disputed: who directed" in out
    summary = summarise(read_judgements([first, second]))
    assert summary.right.mean == 0.25  # a tie is wrong
    assert summary.right.low < 0.25 < summary.right.high


def test_a_model_judges_beside_people_and_is_not_counted_among_them(
    answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    judge(answers, out, "Ada", ["y", "n", "n", "n"])
    with CompletionServer(lambda prompt: "Yes." if "Ada" in prompt else "no") as server:
        annotate(answers, out, n=4, judge=server.url, judge_model="judge-1")
        asked = len(server.bodies)
        annotate(answers, out, n=4, judge=server.url, judge_model="judge-1")
        assert len(server.bodies) == asked == 4  # what is judged is not asked again
    summary = summarise(read_judgements([out]))
    assert summary.right.mean == 0.25
    assert summary.by_model["judge-1"][0].mean == 1.0
    assert list(summary.by_judge) == ["Ada"]
    assert math.isnan(summary.kappa)
    assert "a model, not counted above: judge-1" in capsys.readouterr().out


def test_judgements_of_other_answers_do_not_count(answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    append_judgement(out, Judgement("other", "q", "a", "Ada", "person", "no"))
    judge(answers, out, "Ada", ["y"] * 4)
    judged = {make_id(row) for row in draw_answers(answers, 4, 0)}
    assert summarise(row for row in read_judgements([out]) if row.item in judged).right.mean == 1.0


def test_the_command_reads_a_pipe(
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\nn too long\n"))
    command = ["annotate", str(answers), "--out", str(tmp_path / "o.jsonl"), "--annotator", "Ada", "--n", "3"]
    assert run(command) == 0
    assert "Answers judged right, of 3 drawn" in capsys.readouterr().out
    assert [row.why for row in read_judgements([tmp_path / "o.jsonl"])] == ["", "too long"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds no answer"), ("{", "can't be read"), ('{"query": "hi", "intent": "other"}\n', "holds no answer")],
)
def test_what_can_not_be_judged_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        annotate(path, tmp_path / "out.jsonl")
    with pytest.raises(UserError, match="can't be read"):
        annotate(tmp_path / "absent.jsonl", tmp_path / "out.jsonl")


def test_a_file_that_is_no_judgement_is_told(answers: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"verdict": "maybe"}\n')
    with pytest.raises(UserError, match="line 1 is no judgement"):
        annotate(answers, tmp_path / "out.jsonl", others=(bad,), summary=True)

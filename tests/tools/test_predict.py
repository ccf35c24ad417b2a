import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from moviebot.errors import UserError
from moviebot.rag import predict as predict_module
from moviebot.rag.bundle import load_bundle
from moviebot.rag.pipeline import MovieBot
from moviebot.rag.predict import predict
from tests.rag.conftest import ScriptedGenerator

FIELDS = [
    "id", "query", "intent", "movie", "movie_score", "movie_candidates", "candidates", "recommendations", "answer",
    "grounded", "abstained", "prompt", "seconds",
]  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bundle(bundle_folder: Path) -> Path:
    return bundle_folder


def write_queries(path: Path, count: int = 12) -> list[str]:
    asked = ["who directed Winter Wheat?", "movies like Night Ferry", "hello", "who directed it?"]
    lines = [json.dumps({"query": asked[n % 4], "conversation": f"c{n // 4}", "id": n}) for n in range(count)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_script_keeps_order_and_replaces_bad_lines(bundle: Path, tmp_path: Path) -> None:
    lines = [
        b'{"query": "who directed Winter Wheat?", "id": "a"}',
        b"not json",
        b'{"query": 7, "id": 3}',
        b'["a list"]',
        json.dumps({"query": "word " * 10_000, "id": "long"}).encode(),
        b'{"query": "\\ud800 lone surrogate"}',
        b"\xff\xfe",
        b'{"query": "movies like Night Ferry", "id": {"any": "thing"}}',
        b'{"query": ""}',
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    command = [sys.executable, "tools/predict.py", str(bundle), "--no_llm"]
    command += ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = read(tmp_path / "out.jsonl")
    assert len(rows) == len(lines)
    assert list(rows[0]) == FIELDS
    assert rows[0]["movie"] == {"tconst": "tt0000010", "title": "Winter Wheat", "year": 2014}
    assert [("error" in row) for row in rows] == [False, True, True, True, True, True, True, False, True]
    assert rows[4] == {"id": "long", "error": rows[4]["error"]}
    assert "at most 2,000" in str(rows[4]["error"])
    assert rows[7]["id"] == {"any": "thing"}
    assert len(rows[7]["recommendations"]) == 3  # type: ignore[arg-type]


def test_the_model_answers_in_batches(bundle: Path, tmp_path: Path) -> None:
    write_queries(tmp_path / "in.jsonl", 4)
    predict(bundle, tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_size=2)
    rows = read(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [0, 1, 2, 3]
    assert rows[3]["movie"] is not None


def test_goes_on_after_an_interruption(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, whole, cut = tmp_path / "in.jsonl", tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    write_queries(queries)
    predict(bundle, queries, whole, no_llm=True, chunk_size=5)
    calls = 0
    honest = predict_module.answer_lines

    def interrupt(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return honest(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(predict_module, "answer_lines", interrupt)
        with pytest.raises(KeyboardInterrupt):
            predict(bundle, queries, cut, no_llm=True, chunk_size=5)
    assert not cut.exists()
    with (tmp_path / "cut.jsonl.part").open("a") as handle:
        handle.write('{"half": ')  # a line that was being written
    predict(bundle, queries, cut, no_llm=True, chunk_size=5)
    assert [{**row, "seconds": 0} for row in read(cut)] == [{**row, "seconds": 0} for row in read(whole)]
    assert not (tmp_path / "cut.jsonl.part").exists()


def test_mistakes_are_one_line(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        predict(bundle, tmp_path / "none.jsonl", tmp_path / "out.jsonl")
    write_queries(tmp_path / "in.jsonl")
    with pytest.raises(UserError, match="is no bundle"):
        predict(tmp_path, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(UserError, match="at least 1"):
        predict(bundle, tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_size=0)


def test_ids_that_no_json_can_hold_and_blank_lines_are_errors_in_their_place(bundle: Path, tmp_path: Path) -> None:
    lines = [
        '{"query": "hello", "id": 0}',
        f'{{"query": "hello", "id": {"9" * 5000}}}',
        "",
        '{"query": "hello", "id": "\\ud800"}',
        '{"query": "hello", "id": {"deep": NaN}}',
        " \r",
        '{"query": "hello", "id": 1e999}',
        '{"query": 5, "id": "\\ud800"}',
        '{"query": "hello", "id": 8}\r',
        "",
    ]
    (tmp_path / "in.jsonl").write_bytes("\n".join(lines).encode() + b"\n")
    predict(bundle, tmp_path / "in.jsonl", tmp_path / "out.jsonl", no_llm=True)
    text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert "NaN" not in text.replace("(Out of range float values are not JSON compliant: nan)", "")
    rows = read(tmp_path / "out.jsonl")
    assert ["error" in row for row in rows] == [False, True, True, True, True, True, True, True, False, True]
    assert all(row.keys() == {"error"} for row in rows if "error" in row)
    assert rows[8]["id"] == 8


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_file_has_no_end_to_answer(bundle: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    predict(bundle, tmp_path / "in.jsonl", tmp_path / "out.jsonl", no_llm=True)
    assert len(read(tmp_path / "out.jsonl")) == len(content)


def test_a_retried_batch_remembers_each_answer_once(bundle: Path) -> None:
    class FailsTogether(ScriptedGenerator):
        def generate(self, prompts: Sequence[str]) -> list[str]:
            if len(prompts) > 1:
                raise RuntimeError("out of memory")
            return super().generate(prompts)

    lines = [
        json.dumps({"query": "movies like Night Ferry", "conversation": "a"}),
        json.dumps({"query": "who directed Winter Wheat?", "conversation": "b"}),
    ]
    bot = MovieBot(load_bundle(bundle), FailsTogether(lambda prompt: ""))
    rows = list(predict_module.answer_lines(bot, lines))
    alone = MovieBot(load_bundle(bundle), ScriptedGenerator(lambda prompt: ""))
    expected = next(iter(predict_module.answer_lines(alone, lines[:1])))["candidates"]
    assert len(expected) >= 10
    assert rows[0]["candidates"] == expected  # none counts as shown before
    assert len(bot.conversations.get("a").shown) == 3

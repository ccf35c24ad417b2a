"""The report: every figure of the table is measured, on test movies alone, and the files are whole."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from moviebot.data.schemas import TOPICS, QAPair, RecommendationList
from moviebot.errors import UserError
from moviebot.evaluation import report as report_module
from moviebot.evaluation.figures import Row, draw_questions
from moviebot.evaluation.html_page import render_html
from moviebot.evaluation.judgements import Judgement, append_judgement
from moviebot.evaluation.report import evaluate, put_published_first, render_table, write_caveats
from moviebot.evaluation.whole_bot import measure_intents
from moviebot.rag.bundle import build_bundle, load_bundle


@pytest.mark.slow
def test_the_table_is_measured_and_saved_once(
    bundle_folder: Path,
    evaluation_data: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = tmp_path / "runs" / "llm"
    runs.mkdir(parents=True)
    (runs / "metrics.jsonl").write_text('{"step": 1, "train/loss": 2.0}\n')
    out = tmp_path / "out"
    intents = tmp_path / "intents.jsonl"
    intents.write_text('{"query": "movies like Night Ferry", "intent": "recommend"}\n')
    judged = tmp_path / "judged.jsonl"
    for item in "abcd":
        append_judgement(judged, Judgement(item, "q", "a", "Ada", "person", "no" if item == "c" else "yes"))
    more: dict[str, Any] = {"constraints": 3, "intents": intents, "annotations": (judged,)}
    more |= {"questions_per_topic": 2, "lists": 2}
    evaluate(bundle_folder, evaluation_data, out, runs=runs.parent, wandb=True, **more)
    report = (out / "report.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    figures = {row["name"].strip(): row for row in json.loads((out / "figures.json").read_text(encoding="utf-8"))}
    for name in (
        "answers, all facts asked for are in them", "unanswerable questions declined", "words an answer",
        "question -> movie, hit@1, clean", "question -> movie, hit@1, typos", "recommendations, hit@3",
        "recommendations, hit@20", "question pairs, mean cosine (published measure)",
        "the whole bot: right movie and all facts asked for", "the whole bot: lists of none",
        "conditions: movies shown that break one", "seconds, question, first text, p50", "intents",
        "recommend pairs, F1 at 0.5 (published measure)", "lists with an invented or repeated movie, as shown",
    ):  # fmt: skip
        assert name in figures, sorted(figures)
        assert name in report
    assert "untuned" in printed
    assert figures["recommendations, hit@3"]["baseline"][0] == "popularity"
    assert figures["lists with an invented or repeated movie, as shown"]["untuned"] == 0
    assert figures["words an answer"]["tuned"] is None, "the bundle has no adapter"
    validated = figures["answers that people judged right (published measure)"]
    assert (validated["tuned"], validated["count"], validated["baseline"]) == (0.75, 4, ["published", 0.82])
    assert "0.301 to 0.954" in report
    assert figures["conditions: movies shown that break one"]["tuned"] == 0
    assert figures["the whole bot: lists of more than three, repeated, invented or the movie itself"]["tuned"] == 0
    assert (figures["intents"]["tuned"], figures["intents"]["baseline"]) == (1.0, ["keywords", 1.0])
    assert report.index("(published measure)") < report.index("hit@1, clean")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") == page.count("data:image/png;base64,") == 2
    assert "<script" not in page
    assert page.count("<tr>") == len(figures) + 1
    assert list((out / "wandb").glob("offline-run-*/run-*.wandb"))
    assert not (out / "answers_tuned.jsonl").exists()
    assert "is not what the bundle was built with" in caplog.text
    assert "never trained on" not in report
    assert figures["unanswerable questions declined"]["count"] == 4, "as many as there are, not five"
    assert figures["question -> movie, hit@1, clean"]["count"] == 32, "the train movie's question is not asked"
    for plot in ("hits.png", "loss.png"):
        assert (out / plot).read_bytes().startswith(b"\x89PNG")
        assert plot in report
    rows = [json.loads(line) for line in (out / "answers_untuned.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["topic"] for row in rows} == set(TOPICS)

    monkeypatch.setattr(report_module, "measure_lookup", None)  # would fail if it were measured again
    evaluate(bundle_folder, evaluation_data, out, runs=runs.parent, **more)
    assert capsys.readouterr().out == printed
    with pytest.raises(TypeError):
        evaluate(bundle_folder, evaluation_data, out, runs=runs.parent, **{**more, "lists": 3})


@pytest.mark.parametrize(
    ("source", "lister", "held_out", "said", "unsaid"),
    [
        (
            "template",
            "template",
            True,
            "The lists to agree with are the content recommender's own",
            "not what the bundle",
        ),
        ("template", "similar", True, "came with the data (similar.jsonl)", "(shared people"),
        ("gpt-x", "gpt-x", True, "written by gpt-x", "template"),
        ("gpt-x", "gpt-x", False, "not what the bundle was built with", "template"),
    ],
)
def test_the_caveats_are_of_what_was_measured(
    bundle_folder: Path, source: str, lister: str, held_out: bool, said: str, unsaid: str
) -> None:
    pairs = [QAPair("tt0000001", "q", "a", source, "test", "year")]
    lists = [RecommendationList("tt0000001", ("tt0000002",), lister, "test")]
    text = write_caveats(load_bundle(bundle_folder), pairs, lists, held_out=held_out)
    assert said in text
    assert unsaid not in text
    assert "same generator" in text
    assert "sample is famous" not in text


def test_only_the_bundles_own_data_is_held_out(
    bundle_folder: Path, evaluation_data: Path, tiny_encoder: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    shutil.copy(bundle_folder / "catalogue.parquet", evaluation_data)
    build_bundle(evaluation_data, tiny_encoder, tiny_encoder, str(tiny_llama), tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert report_module._is_held_out(bundle, evaluation_data)
    assert "never trained on" in render_table([], held_out=True)
    (evaluation_data / "qa.jsonl").write_text("")
    assert not report_module._is_held_out(bundle, evaluation_data)


def test_draws_are_balanced_and_repeatable() -> None:
    pairs = [QAPair(f"tt{n}", f"question {n}", "answer", "t", "test", topic) for n in range(50) for topic in TOPICS]
    drawn = draw_questions(pairs, 8, seed=0)
    counts = Counter(pair.topic for pair in drawn)
    assert counts["unanswerable"] == 20
    assert {counts[topic] for topic in TOPICS if topic != "unanswerable"} == {8}
    assert drawn == draw_questions(pairs, 8, seed=0)
    assert drawn != draw_questions(pairs, 8, seed=1)


def test_cells_without_a_figure_are_empty() -> None:
    text = render_table(
        [
            Row("words", 41.26, 9.0, None, 7, "mean"),
            Row("hit", 0.5, None, ("popularity", 0.25), 4),
            Row("slow", 2.5, None, None, 4, "seconds"),
        ]
    )
    assert text.splitlines()[2:] == [
        "| words | 41.3 | 9.0 |  |  | 7 |",
        "| hit | 0.500 |  | 0.150 to 0.850 | popularity 0.250 | 4 |",
        "| slow | 2.50 |  |  |  | 4 |",
    ]


def test_without_judgements_the_report_says_that_nobody_was_asked() -> None:
    rows = put_published_first([Row("hit", 0.5, 0.5, None, 4), Row("F1 (published measure)", 0.5, 0.5, None, 4)], None)
    assert [row.name for row in rows] == [
        "F1 (published measure)", "answers that people judged right: nobody was asked (published measure)", "hit"
    ]  # fmt: skip
    assert rows[1].tuned is None


def test_the_page_escapes_every_word(tmp_path: Path) -> None:
    page = render_html(["<b>"], [["<script>x</script>", "1"]], "a & b", "<i>", tmp_path, [])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page


@pytest.mark.parametrize("text", ["", "{", '{"query": "hi"}\n', '{"query": "", "intent": "other"}\n'])
def test_a_bad_file_of_intents_is_one_line(bundle_folder: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "intents.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match="--intents"):
        measure_intents(load_bundle(bundle_folder), path)

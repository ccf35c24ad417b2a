"""``moviebot evaluate``: untuned against tuned on the test movies, as a table, two plots and a JSON file."""

import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from moviebot.artefact import METRICS_NAME, is_current, write_stage_report, write_whole
from moviebot.data.catalogue import SIMILAR_NAME, SIMILAR_SOURCE
from moviebot.data.schemas import QAPair, RecommendationList, read_qa, read_recommendations
from moviebot.evaluation.figures import (
    PUBLISHED,
    PUBLISHED_MARK,
    Kind,
    Row,
    draw_lists,
    draw_questions,
    measure_language_model,
    measure_lookup,
    measure_recommendations,
)
from moviebot.evaluation.html_page import render_html
from moviebot.evaluation.judgements import Summary, read_judgements, summarise
from moviebot.evaluation.plots import plot_hits, plot_losses
from moviebot.evaluation.wandb_report import log_to_wandb
from moviebot.evaluation.whole_bot import measure_intents, measure_whole_bot
from moviebot.rag.bundle import DATA_FILES, MANIFEST_NAME, Bundle, hash_data, load_bundle
from moviebot.rag.generator import Generator

logger = logging.getLogger(__name__)
_FEW_MOVIES = 2000
_TEMPLATE = "template"  # the teacher's name in the data, where no language model taught


def evaluate(
    bundle: Path,
    data: Path,
    out: Path,
    runs: Path | None = None,
    questions_per_topic: int = 6,
    lists: int = 12,
    constraints: int = 60,
    intents: Path | None = None,
    annotations: tuple[Path, ...] = (),
    wandb: bool = False,
    seed: int = 0,
) -> None:
    """Measure a bundle on the test movies of its data, beside the untuned models; write a report.

    Args:
        bundle: the bundle's folder.
        data: the data folder that `moviebot clean` wrote, the one that the bundle was built with.
        out: where report.md, report.html, the figures and the rows behind them go.
        runs: the folder of the training runs, whose losses are plotted; None plots none.
        questions_per_topic: questions asked of the language models for each topic (unanswerable: two and a half times).
        lists: recommendation lists the language models are asked for.
        constraints: wishes with one to three conditions to draw from the catalogue; 0 for none.
        intents: a file of queries with their intents, one JSON object a line: {"query", "intent"}.
        annotations: people's judgements, what `moviebot annotate` wrote: the validated share of answers.
        wandb: log the figures, the table and the report to W&B (offline unless you are logged in).
        seed: draws the questions and their misspellings.
    """
    started = time.monotonic()
    settings = {"questions_per_topic": questions_per_topic, "lists": lists, "constraints": constraints}
    judged = summarise(read_judgements(annotations)) if annotations else None
    logs = [] if runs is None else sorted(runs.glob(f"*/{METRICS_NAME}"))
    inputs = [bundle / MANIFEST_NAME, *(data / name for name in DATA_FILES), *logs, *annotations]
    inputs += [] if intents is None else [intents]
    outputs = [out / name for name in ("report.md", "figures.json", "hits.png", "report.html")]
    outputs += [out / "loss.png"] if logs else []
    loaded = load_bundle(bundle)
    if is_current(out, "evaluate", settings=settings, inputs=inputs, outputs=outputs, seed=seed):
        logger.info("%s is up to date", outputs[0])
        _print_table(
            [Row(**row) for row in json.loads(outputs[1].read_text(encoding="utf-8"))], _is_held_out(loaded, data)
        )
        return
    held_out = _is_held_out(loaded, data)
    if not held_out:
        logger.warning(
            "--data %s is not what the bundle was built with: its test movies may have been trained on",
            data,
        )
    known = {movie.tconst for movie in loaded.movies}
    pairs = [pair for pair in read_qa(data / "qa.jsonl") if pair.split == "test" and pair.tconst in known]
    wanted = [row for row in read_recommendations(data / "recommendations.jsonl") if row.split == "test"]
    wanted = [row for row in wanted if row.tconst in known]
    rows = measure_lookup(loaded, pairs, data, seed)
    recommend_rows, curves = measure_recommendations(loaded, wanted, data)
    rows += recommend_rows
    rows += measure_language_model(loaded, pairs, wanted, out, questions_per_topic, lists, seed)
    drawn = draw_questions(pairs, questions_per_topic, seed)
    generator = Generator(loaded.base, loaded.adapter)
    rows += measure_whole_bot(loaded, generator, drawn, draw_lists(wanted, lists, seed), constraints, seed)
    rows += measure_intents(loaded, intents) if intents is not None else []
    rows = [_without_nan(row) for row in put_published_first(rows, judged)]
    out.mkdir(parents=True, exist_ok=True)
    plot_hits(curves, out / "hits.png")
    plots = ["hits.png"]
    if runs is not None and plot_losses(runs, out / "loss.png"):
        plots.append("loss.png")
    caveats = write_caveats(loaded, pairs, wanted, held_out=held_out)
    text = _render(rows, loaded, plots, caveats, held_out=held_out)
    with write_whole(out / "report.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    with write_whole(out / "report.html") as temporary:
        page = render_html(_head(held_out), [_cells(row) for row in rows], _explain(loaded), caveats, out, plots)
        temporary.write_text(page, encoding="utf-8")
    with write_whole(out / "figures.json") as temporary:
        temporary.write_text(json.dumps([vars(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    write_stage_report(
        out, "evaluate", counts={"questions": len(pairs), "lists": len(wanted)}, seconds=time.monotonic() - started,
        settings=settings, inputs=inputs, outputs=[path for path in outputs if path.exists()], seed=seed,
    )  # fmt: skip
    _print_table(rows, held_out)
    if wandb:
        log_to_wandb(_head(held_out), [_cells(row) for row in rows], rows, out, [*plots, "report.html"])


def put_published_first(rows: Sequence[Row], judged: Summary | None) -> list[Row]:
    """Put the figures of the published table before the others: cosines, F1, and people's verdict on the answers.

    Args:
        rows: all figures.
        judged: what people said of the answers; without it the table says that nobody was asked.
    """
    published = [row for row in rows if PUBLISHED_MARK in row.name]
    validated = None if judged is None or not judged.count else judged.right.mean
    count = 0 if judged is None else judged.count
    name = "answers that people judged right" + ("" if validated is not None else ": nobody was asked")
    people = Row(f"{name} {PUBLISHED_MARK}", None, validated, ("published", PUBLISHED["validated"]), count)
    return [*published, people, *(row for row in rows if PUBLISHED_MARK not in row.name)]


def write_caveats(
    bundle: Bundle,
    pairs: Sequence[QAPair],
    lists: Sequence[RecommendationList],
    *,
    held_out: bool,
) -> str:
    """Write what the figures do not say, by what was measured.

    Args:
        bundle: what was measured.
        pairs: the test questions; their source is who wrote them.
        lists: the test lists.
        held_out: the data is what the bundle was built with.
    """
    writers, listers = {pair.source for pair in pairs}, {row.source for row in lists}
    said = []
    if not held_out:
        said.append(
            "The data is not what the bundle was built with: the models may have been trained on its test movies."
        )
    if _TEMPLATE in writers:
        said.append(
            "Questions and answers of test movies come from the same templates' author as those of training, though "
            "the movies and the wordings are others."
        )
    if models := sorted(writers - {_TEMPLATE}):
        said.append(f"Questions of test movies were written by {', '.join(models)}, as those of training were.")
    if SIMILAR_SOURCE in listers:
        said.append(
            f"The lists to agree with came with the data ({SIMILAR_NAME}), those of training and test from one author."
        )
    if _TEMPLATE in listers:
        said.append(
            f"{'Other' if SIMILAR_SOURCE in listers else 'The'} lists to agree with are the content recommender's own "
            "output (shared people, genres and words): a hit says that a model has learnt that recommender, not what "
            "people like."
        )
    if models := sorted(listers - {_TEMPLATE, SIMILAR_SOURCE}):
        said.append(f"Lists of test movies were written by {', '.join(models)}, as those of training were.")
    said.append("Misspellings of test questions come from the same generator as those of training.")
    if any(movie.description_source == "sample" for movie in bundle.movies):
        said.append("Every movie of the sample is famous and has nearly all its facts.")
    if len(bundle.movies) < _FEW_MOVIES:
        said.append(f"{len(bundle.movies)} movies are far fewer than a full catalogue, so that lookups are easier.")
    said.append(
        "A share of n cases has a standard error of about sqrt(p (1 - p) / n): 0.03 at p = 0.95 and n = 56, 0.14 at "
        "p = 0.5 and n = 12."
    )
    return " ".join(said)


def _is_held_out(bundle: Bundle, data: Path) -> bool:
    """Say whether the data is what the bundle was built with, so that its test movies were not trained on."""
    return bool(bundle.data) and dict(bundle.data) == hash_data(data)


def _without_nan(row: Row) -> Row:
    """A share of no cases is no figure, and no JSON either."""
    untuned, tuned = (None if value is None or math.isnan(value) else value for value in (row.untuned, row.tuned))
    baseline = None if row.baseline is None or math.isnan(row.baseline[1]) else row.baseline
    return Row(row.name, untuned, tuned, baseline, row.count, row.kind)


def _show(value: float | None, kind: Kind = "share") -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if kind == "seconds" else f"{value:.1f}" if value > 1 else f"{value:.3f}"


def _cells(row: Row) -> list[str]:
    baseline = f"{row.baseline[0]} {_show(row.baseline[1])}" if row.baseline else ""
    interval = row.interval
    likely = "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"
    return [row.name, _show(row.untuned, row.kind), _show(row.tuned, row.kind), likely, baseline, str(row.count)]


def _head(held_out: bool) -> list[str]:
    movies = "movies that were never trained on" if held_out else "test movies of other data"
    return [f"measured on {movies}", "untuned", "tuned", "95 %", "beside", "n"]


def render_table(rows: Sequence[Row], *, held_out: bool = True) -> str:
    """Render the rows as a Markdown table."""
    lines = [_head(held_out), ["---", "---:", "---:", "---", "---", "---:"], *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _render(rows: Sequence[Row], bundle: Bundle, plots: Sequence[str], caveats: str, *, held_out: bool) -> str:
    pictures = "\n".join(f"![{name.removesuffix('.png')}]({name})" for name in plots)
    parts = ["# Untuned against tuned", render_table(rows, held_out=held_out), _explain(bundle), caveats, pictures]
    return "\n\n".join(parts) + "\n"


def _explain(bundle: Bundle) -> str:
    models = "Both language models get" if bundle.adapter else "The bundle has no adapter; the language model gets"
    return (
        "Untuned: MiniLM as published; the base language model in its own chat template with a plain instruction, "
        'full-precision weights, and credit for any wording of "I don\'t know". '
        f"{models} the right movie's facts. Named by the language model itself: in whatever form, prose passed over. "
        "The whole bot: spelling, titles and both retrievers together; abstaining is a miss; its answers are checked "
        "against the facts. Published: on its authors' own data. 95 %: Wilson's interval of the tuned share. Seconds: "
        "one query after another, models loaded. "
        f"Base model: {bundle.base}; catalogue: {len(bundle.movies)} movies."
    )


def _print_table(rows: Sequence[Row], held_out: bool) -> None:
    table = Table()
    for column, name in enumerate(_head(held_out)):
        table.add_column(name, justify="left" if column in (0, 3, 4) else "right")
    for row in rows:
        table.add_row(*_cells(row))
    Console().print(table)

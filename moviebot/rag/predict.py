"""Answers to a file of queries: one JSON object a line in, one a line out, in the same order.

What is finished is kept: answers go to ``OUTPUT.part`` as they come, and the same command goes on behind the last whole
line after an interruption. The part becomes ``OUTPUT`` when it is whole.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich.progress import Progress

from moviebot.artefact import hash_path
from moviebot.errors import UserError
from moviebot.rag.answer import Answer, Query, check_query
from moviebot.rag.bundle import MANIFEST_NAME, load_bundle
from moviebot.rag.language_model import load_language_model
from moviebot.rag.pipeline import MovieBot

logger = logging.getLogger(__name__)


def predict(
    bundle: Path,
    input: Path,
    output: Path,
    no_llm: bool = False,
    llm: str | None = None,
    llm_model: str | None = None,
    batch_size: int = 16,
    chunk_size: int = 64,
) -> None:
    """Answer the queries of a file.

    Args:
        bundle: a bundle's folder.
        input: a JSONL file of objects with "query", and optionally "conversation" and "id".
        output: the JSONL file to write, one line for each line of the input, in the same order.
        no_llm: fill everything but the generated text, to measure retrieval alone.
        llm: ask an OpenAI-compatible endpoint at this address (http://localhost:8000/v1) instead of the bundle's own
            model; a key is read from the environment variable MOVIEBOT_LLM_API_KEY.
        llm_model: the model's name there.
        batch_size: prompts that go through the language model together.
        chunk_size: queries that are read, answered and written together.

    Raises:
        UserError: the input or the bundle can't be read, a number is not positive, or the endpoint does not answer.
    """
    if batch_size < 1 or chunk_size < 1:
        raise UserError(f"--batch_size {batch_size} and --chunk_size {chunk_size} must be at least 1")
    if not input.is_file():
        raise UserError(f'--input {input} is not there: give a JSONL file with one {{"query": ...}} a line')
    if output.is_dir():
        raise UserError(f"--output {output} is a folder: give a file")
    loaded = load_bundle(bundle)
    part = output.with_name(f"{output.name}.part")
    stamp: dict[str, object] = {
        "input": hash_path(input),
        "bundle": hash_path(bundle / MANIFEST_NAME),
        "no_llm": no_llm,
    }
    stamp |= {"llm": llm, "llm_model": llm_model} if llm is not None else {}
    done = _count_finished(part, stamp)
    generator = load_language_model(loaded, no_llm, llm, llm_model, batch_size)
    bot = MovieBot(loaded, generator)
    lines = input.read_bytes().removesuffix(b"\n").split(b"\n") if input.stat().st_size else []
    output.parent.mkdir(parents=True, exist_ok=True)
    with part.open("a", encoding="utf-8") as handle, Progress(transient=True) as progress:
        if not done and handle.tell() == 0:
            handle.write(json.dumps(stamp) + "\n")
        task = progress.add_task("Answering", total=len(lines), completed=done)
        _replay(bot, lines, done, part)
        remaining = iter(lines[done:])
        while chunk := list(islice(remaining, chunk_size)):
            for row in answer_lines(bot, chunk):
                handle.write(json.dumps(row, ensure_ascii=False) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
            progress.update(task, advance=len(chunk))
    _publish(part, output)


def answer_lines(bot: MovieBot, lines: Sequence[bytes | str]) -> Iterator[dict[str, Any]]:
    """Yield one object for each line: an answer, or ``{"error": ...}`` where the line can't be answered.

    Args:
        bot: answers the queries; those of good lines go through it together.
        lines: each one JSON object.
    """
    parsed = [_parse(line) for line in lines]
    good = [row for row in parsed if isinstance(row[1], Query)]
    answers = iter(_answer_safely(bot, [query for _, query in good if isinstance(query, Query)]))
    for identifier, query in parsed:
        result = next(answers) if isinstance(query, Query) else query
        if isinstance(result, Answer):
            yield result.as_row(identifier)
        else:
            yield {"error": result} if identifier is None else {"id": identifier, "error": result}


def _parse(line: bytes | str) -> tuple[object, Query | str]:
    """Return the line's id and its query, or what is wrong with it."""
    if not line.strip():
        return None, 'an empty line, where an object with a "query" is wanted'
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or a number of thousands of digits
        return None, f"not a line of JSON ({error})"
    if not isinstance(row, dict):
        return None, f'a {type(row).__name__}, where an object with a "query" is wanted'
    identifier = row.get("id")
    try:
        json.dumps(identifier, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError) as error:  # it goes into the answer as it is
        return None, f"the id can't be written as JSON ({error})"
    text, conversation = row.get("query"), row.get("conversation")
    if not isinstance(text, str):
        return identifier, 'no "query" that is a text'
    try:
        check_query(text)
    except UserError as error:
        return identifier, str(error)
    return identifier, Query(text, None if conversation is None else str(conversation))


def _answer_safely(bot: MovieBot, queries: list[Query]) -> list[Answer | str]:
    """Answer all together; where that fails, one by one, so that one query costs no other its answer."""
    try:
        return list(bot.answer(queries))
    except (ValueError, RuntimeError, IndexError, KeyError) as error:
        if len(queries) == 1:
            logger.exception("A query could not be answered")
            return [f"the query could not be answered ({type(error).__name__}: {error})"]
        return [result for query in queries for result in _answer_safely(bot, [query])]


def _replay(bot: MovieBot, lines: Sequence[bytes], done: int, part: Path) -> None:
    """Bring the conversations that go on to where an earlier run left them."""
    going_on = {query.conversation for _, query in map(_parse, lines[done:]) if isinstance(query, Query)} - {None}
    with part.open("rb") as handle:
        handle.readline()  # the job's stamp
        for line, answered in zip(lines[:done], handle, strict=False):  # the part may have no more than its stamp
            _, query = _parse(line)
            if isinstance(query, Query) and query.conversation in going_on:
                row = json.loads(answered)
                if "error" not in row:
                    bot.replay(query, [movie["tconst"] for movie in row["recommendations"]])


def _count_finished(part: Path, stamp: dict[str, object]) -> int:
    """Return how many lines an interrupted run of the same job finished; cut off what is half-written."""
    if not part.is_file():
        return 0
    whole = part.read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]
    header, _, _ = whole.partition(b"\n")
    if header != json.dumps(stamp).encode():
        part.unlink()  # another input, bundle or setting: start anew
        return 0
    with part.open("r+b") as handle:
        handle.truncate(len(whole))
    done = whole.count(b"\n") - 1
    if done:
        logger.info("Going on behind the %d answers that are there", done)
    return done


def _publish(part: Path, output: Path) -> None:
    """Drop the part's first line, the job's stamp, and give it its final name."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    with part.open("rb") as source, temporary.open("wb") as target:
        source.readline()
        target.writelines(source)
    temporary.replace(output)
    part.unlink()

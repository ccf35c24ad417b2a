"""Share what a teacher taught: a folder that the Hugging Face hub and ``datasets.load_dataset`` read, with a data card.

A split without rows has no file, and a configuration without rows is left out: ``load_dataset`` stumbles over both.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from moviebot import __version__
from moviebot.artefact import REPORT_NAME, hash_path, read_report, write_whole
from moviebot.data.card import CARD_NAME, Config, render_card
from moviebot.data.catalogue import CATALOGUE_NAME
from moviebot.data.cleaning import QA_NAME, QUESTION_PAIRS_NAME, RECOMMEND_PAIRS_NAME, RECOMMENDATIONS_NAME
from moviebot.data.schemas import PAIR_SCHEMA, Split, read_parquet, read_qa, read_recommendations
from moviebot.errors import UserError

PROVENANCE_NAME = "moviebot_export.json"
CONFIGS = {
    "qa": QA_NAME,
    "recommendations": RECOMMENDATIONS_NAME,
    "question_pairs": QUESTION_PAIRS_NAME,
    "recommend_pairs": RECOMMEND_PAIRS_NAME,
}
HUB_SPLITS: dict[Split, str] = {"train": "train", "val": "validation", "test": "test"}
_STAGES = ("catalogue", "describe", "teach", "clean")
_PRIVATE = {"base_url", "out"}  # where a person's own server or folder is, nobody else needs to know
_QA_SCHEMA = pa.schema([(name, pa.string()) for name in ("tconst", "question", "answer", "source", "topic", "split")])
_LIST_SCHEMA = pa.schema(
    [("tconst", pa.string()), ("recommended", pa.list_(pa.string())), ("source", pa.string()), ("split", pa.string())]
)
log = logging.getLogger(__name__)


def export_data(data: Path, to: Path, name: str = "Movie questions and recommendations") -> None:
    """Write the cleaned sets as a Hugging Face dataset folder with a data card.

    ``datasets.load_dataset(FOLDER, "qa")`` reads it, offline too; the others are ``recommendations``,
    ``question_pairs`` and ``recommend_pairs``. Nothing is uploaded. The card (README.md) says how the sets were made,
    what was thrown away and whose data they hold: read it before you publish.

    Args:
        data: the data folder that `moviebot clean` wrote.
        to: the folder to write; one that an earlier export wrote is replaced, any other that holds files is refused.
        name: what the card calls the set.

    Raises:
        UserError: no cleaned sets, sets that were changed since, or a folder that is not an export.
    """
    report = read_report(data)
    _check_inputs(data, report)
    _check_target(to)
    tables = {config: table for config in CONFIGS if (table := _read_table(data, config)).num_rows}
    if not tables:
        raise UserError(f"{data} holds no rows to export: teach, then run `moviebot clean --out {data}` again")
    stages = {stage: _tell_stage(report[stage]) for stage in _STAGES if isinstance(report.get(stage), dict)}
    with write_whole(to) as folder:
        configs = [_write_config(folder, config, table) for config, table in tables.items()]
        provenance = {"moviebot": __version__, "name": name, "stages": stages}
        text = json.dumps(provenance, indent=2, ensure_ascii=False) + "\n"
        (folder / PROVENANCE_NAME).write_text(text, encoding="utf-8")
        card = render_card(name, configs, stages, data)
        (folder / CARD_NAME).write_text(card.text, encoding="utf-8")
    for notice in card.notices:
        log.warning("%s: %s", to, notice)
    log.info("%s: %s", to, ", ".join(f"{config.name} {sum(config.rows.values())} rows" for config in configs))


class _Expected(NamedTuple):
    path: Path
    hashed: str


def _check_inputs(data: Path, report: Mapping[str, Any]) -> None:
    entry = report.get("clean")
    if not isinstance(entry, dict) or not isinstance(entry.get("outputs"), dict):
        raise UserError(f"{data / REPORT_NAME} says nothing of cleaning: run `moviebot clean --out {data}` first")
    expected = [_Expected(data / name, entry["outputs"].get(name, "")) for name in CONFIGS.values()]
    expected += [
        _Expected(data / CATALOGUE_NAME, hashed)
        for path, hashed in dict(entry.get("inputs") or {}).items()
        if Path(path).name == CATALOGUE_NAME
    ]
    absent = [item.path.name for item in expected if not item.path.is_file()]
    changed = [item.path.name for item in expected if item.path.is_file() and hash_path(item.path) != item.hashed]
    problems = [f"{', '.join(absent)} not there"] if absent else []
    problems += [f"{', '.join(changed)} changed since `moviebot clean` ran"] if changed else []
    if problems:
        raise UserError(f"{data}: {'; '.join(problems)}: run `moviebot clean --out {data}` again")


def _check_target(to: Path) -> None:
    """Refuse a folder that holds anything that no export wrote: it would be lost."""
    if to.is_file():
        raise UserError(f"--to {to} is a file: give a folder that is not there yet")
    found = {path.name for path in to.iterdir()} if to.is_dir() else set()
    foreign = sorted(found - {CARD_NAME, PROVENANCE_NAME, *CONFIGS})
    if foreign or (found and PROVENANCE_NAME not in found):
        shown = ", ".join((foreign or sorted(found))[:5])
        raise UserError(f"--to {to} holds files that no export wrote ({shown}): give a folder that is not there yet")


def _read_table(data: Path, config: str) -> pa.Table:
    path = data / CONFIGS[config]
    if config == "qa":
        return pa.Table.from_pylist([asdict(pair) for pair in read_qa(path)], schema=_QA_SCHEMA)
    if config == "recommendations":
        rows = [{**asdict(row), "recommended": list(row.recommended)} for row in read_recommendations(path)]
        return pa.Table.from_pylist(rows, schema=_LIST_SCHEMA)
    return read_parquet(path, PAIR_SCHEMA, command="clean")


def _write_config(folder: Path, config: str, table: pa.Table) -> Config:
    (folder / config).mkdir(parents=True)
    rows: dict[str, int] = {}
    examples: Sequence[Mapping[str, Any]] = []
    for split, hub_name in HUB_SPLITS.items():
        part = table.filter(pc.equal(table["split"], split)).drop_columns(["split"])
        if part.num_rows:
            pq.write_table(part, folder / config / f"{hub_name}.parquet", compression="zstd")
            rows[hub_name] = part.num_rows
            examples = examples or part.slice(0, 2).to_pylist()
    counts = {column: _count(table, column) for column in ("topic", "source") if column in table.column_names}
    return Config(config, rows, counts.get("topic", {}), counts.get("source", {}), examples)


def _count(table: pa.Table, column: str) -> dict[str, int]:
    return dict(sorted(Counter(str(value or "not said") for value in table[column].to_pylist()).items()))


def _tell_stage(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's entry of the report without this machine's paths and addresses."""
    told = {key: value for key, value in entry.items() if key != "seconds"}
    told["inputs"] = {Path(path).name: hashed for path, hashed in dict(entry.get("inputs") or {}).items()}
    settings = dict(entry.get("settings") or {})
    told["settings"] = {key: _hide_path(value) for key, value in settings.items() if key not in _PRIVATE}
    return told


def _hide_path(value: object) -> object:
    if isinstance(value, list):
        return [_hide_path(item) for item in value]
    return Path(value).name if isinstance(value, str) and ("/" in value or "\\" in value) else value

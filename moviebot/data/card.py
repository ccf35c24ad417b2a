"""The data card of an exported set: what it is, how it was made, what was thrown away, whose it is.

Names, reasons and rows come from data: they are escaped for Markdown, or stand inside a code block that they can't end.
"""

import html
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from moviebot.artefact import read_jsonl
from moviebot.data.catalogue import CATALOGUE_NAME
from moviebot.data.prompts import clean_text
from moviebot.data.schemas import read_catalogue

CARD_NAME = "README.md"
DESCRIPTIONS_NAME = "descriptions.jsonl"
FAULTS = {
    "duplicate_question": "the same question with different answers",
    "malformed_json": "malformed JSON",
    "title_absent": "the question does not say which movie",
    "unsupported_answer": "the answer is not supported by the facts",
}
"""The four faults of the published system's data, by the reason they are counted under."""
IMDB_NOTICE = (
    "the facts come from IMDb's non-commercial datasets, whose terms allow personal and non-commercial use and forbid "
    "republishing them: don't make this folder public without IMDb's permission"
)
TABLE_NOTICE = "the facts come from a table of your own: make sure that its licence lets you publish them"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:@^=])")
_EXAMPLE_CHARS = 600
_WHAT = {
    "qa": "a question about a movie, its answer, what is asked for (`topic`) and who wrote it (`source`)",
    "recommendations": "a movie (`tconst`) and the ids of similar ones, best first",
    "question_pairs": "a question (`anchor`), a movie's label (`sample`), and whether they belong together (`label`)",
    "recommend_pairs": "a movie's text, another's, and whether one is recommended for the other",
}


class Config(NamedTuple):
    """One configuration of the exported set.

    Attributes:
        name: its name.
        rows: the number of rows by split.
        topics: the number of rows by topic, where it has topics.
        sources: the number of rows by teacher, where that is said.
        examples: its first rows.
    """

    name: str
    rows: Mapping[str, int]
    topics: Mapping[str, int]
    sources: Mapping[str, int]
    examples: Sequence[Mapping[str, Any]]


class Card(NamedTuple):
    """A card, and what a person must know before publishing it."""

    text: str
    notices: list[str]


def render_card(name: str, configs: Sequence[Config], stages: Mapping[str, Mapping[str, Any]], data: Path) -> Card:
    """Write the card.

    Args:
        name: what the set is called, as the person wrote it.
        configs: what it consists of.
        stages: each stage's entry of ``report.json``.
        data: the data folder; its catalogue and descriptions say where the descriptions are from.
    """
    source = _find_source(stages.get("catalogue", {}))
    notices = {"imdb": [IMDB_NOTICE], "table": [TABLE_NOTICE], "sample": []}[source]
    sections = [
        f"# {escape_markdown(name)}",
        "Questions, answers and recommendation lists about movies, made with moviebot: a teacher wrote them from a "
        "catalogue's facts, and `moviebot clean` judged, counted and split them. All rows about a movie, the movies of "
        "its title and its franchise are in one split.",
        *(f"> **Before you publish:** {notice}." for notice in notices),
        _tell_contents(configs),
        _tell_making(stages, configs),
        _tell_cleaning(stages.get("clean", {})),
        _tell_sources(source, data),
        _tell_limits(configs),
        _show_examples(configs),
    ]
    return Card(_front_matter(name, configs) + "\n\n".join(sections) + "\n", notices)


def escape_markdown(text: str) -> str:
    r"""Return text on one line that Markdown shows as it is: no markup, HTML, link, table cell or mention.

    Example:
        >>> escape_markdown("<b>|*Up*\n# www.x.org")
        '&lt; b&gt;\\|\\*Up\\* \\# www\\.x\\.org'
    """
    return _MARKDOWN.sub(r"\\\1", html.escape(clean_text(text, max_chars=300), quote=False))


def _find_source(entry: Mapping[str, Any]) -> Literal["imdb", "table", "sample"]:
    if entry.get("settings", {}).get("source") == "sample":
        return "sample"
    # By the files as well as by the setting: a licence must not go unsaid because a flag has another name.
    from_imdb = any(str(file).startswith("title.") for file in entry.get("inputs", {}))
    return "imdb" if from_imdb or entry.get("settings", {}).get("source") == "imdb_dir" else "table"


def _front_matter(name: str, configs: Sequence[Config]) -> str:
    total = max(sum(config.rows.values()) for config in configs)
    sizes = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
    head = {
        "pretty_name": clean_text(name),
        "language": ["en"],
        "license": "other",  # it has several owners: see the card's sources
        "task_categories": ["question-answering", "text-retrieval", "text-generation"],
        "tags": ["movies", "recommendation", "moviebot"],
        "size_categories": [next((label for most, label in sizes if total < most), "1M<n<10M")],
        "configs": [
            {
                "config_name": config.name,
                "data_files": [{"split": split, "path": f"{config.name}/{split}.parquet"} for split in config.rows],
                **({"default": True} if number == 0 else {}),
            }
            for number, config in enumerate(configs)
        ],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n"


def _tell_contents(configs: Sequence[Config]) -> str:
    splits = ("train", "validation", "test")
    rows = [[f"`{c.name}`", _WHAT[c.name], *(f"{c.rows.get(split, 0):,}" for split in splits)] for c in configs]
    parts = ["## What it holds", _table(["configuration", "one row is", *splits], rows)]
    for config in configs:
        if config.topics:
            topics = [[escape_markdown(topic), f"{number:,}"] for topic, number in config.topics.items()]
            parts += ["Questions by what they ask for:", _table(["topic", "rows"], topics)]
    first = configs[0].name
    parts.append(f'```python\nimport datasets\n\nset_ = datasets.load_dataset("FOLDER", "{first}")\n```')
    return "\n\n".join(parts)


def _tell_making(stages: Mapping[str, Mapping[str, Any]], configs: Sequence[Config]) -> str:
    rows = []
    for stage, entry in stages.items():
        settings = ", ".join(f"{key} {value}" for key, value in entry.get("settings", {}).items() if value is not None)
        counts = f"{entry.get('in', '?')} in, {entry.get('kept', '?')} kept"
        rows.append(
            [f"`{stage}`", escape_markdown(counts), escape_markdown(str(entry.get("seed"))), escape_markdown(settings)]
        )
    inputs = [
        [f"`{stage}`", escape_markdown(file), f"`{str(hashed)[:16]}`"]
        for stage, entry in stages.items()
        for file, hashed in entry.get("inputs", {}).items()
    ]
    versions: Mapping[str, object] = [{}, *(e["versions"] for e in stages.values() if e.get("versions"))][-1]
    teachers = [
        [f"`{config.name}`", escape_markdown(teacher), f"{number:,}"]
        for config in configs
        for teacher, number in config.sources.items()
    ]
    return "\n\n".join([
        "## How it was made",
        _table(["stage", "rows", "seed", "settings"], rows),
        "Who wrote the rows (`template`: written wordings filled with the catalogue's facts; `similar`: lists that "
        "came with the catalogue; `movielens`: people's ratings; any other name is a language model's):",
        _table(["configuration", "teacher", "rows"], teachers),
        "What went in, with the first half of each file's SHA-256:",
        _table(["stage", "file", "SHA-256"], inputs),
        f"Versions: {escape_markdown(', '.join(f'{name} {version}' for name, version in versions.items()))}.",
    ])  # fmt: skip


def _tell_cleaning(entry: Mapping[str, Any]) -> str:
    rejected: Mapping[str, int] = entry.get("rejected") or {}
    faults = [[told, f"`{reason}`", f"{rejected.get(reason, 0):,}"] for reason, told in FAULTS.items()]
    others = [[f"`{reason}`", f"{n:,}"] for reason, n in rejected.items() if n and reason not in FAULTS]
    parts = [
        "## What was thrown away",
        "The four faults of the published system's data, found by name in what the teacher wrote and left out here:",
        _table(["fault", "reason", "found"], faults),
    ]
    parts += ["Everything else:", _table(["reason", "found"], others)] if others else ["Nothing else."]
    leakage: Mapping[str, Any] = entry.get("leakage") or {}
    if leakage:
        wordings = ", ".join(
            f"{split} {share:.1%}"
            for split, share in (leakage.get("wordings_shared") or {}).items()
            if share is not None
        )
        parts += [
            "## Leakage between the splits",
            f"Breaches (a movie, a franchise or a question in two splits; a test movie in a training row): "
            f"{sum((leakage.get('breaches') or {}).values())}. Movies whose facts repeat another split's: "
            f"{leakage.get('facts_repeated')}. Pairs of movies in two splits described in nearly the same words: "
            f"{leakage.get('descriptions_alike')}. Questions worded, but for the title, as one of an earlier split: "
            f"{wordings or 'none to compare'}.",
        ]
    return "\n\n".join(parts)


def _tell_sources(source: Literal["imdb", "table", "sample"], data: Path) -> str:
    facts = {
        "imdb": "Facts (titles, years, people, ratings): IMDb's non-commercial datasets, under their non-commercial "
        "terms. Information courtesy of IMDb (https://www.imdb.com). Used with permission.",
        "sample": "Facts and descriptions: the sample that moviebot carries, written for it, under its licence.",
        "table": "Facts: a table of its maker's own; this card does not know its licence.",
    }[source]
    if (data / DESCRIPTIONS_NAME).is_file():
        rows: Iterable[Mapping[str, Any]] = read_jsonl(data / DESCRIPTIONS_NAME, skip_half_line=True)
        described = Counter((str(row.get("source") or "?"), str(row.get("licence") or "not said")) for row in rows)
    else:
        movies = read_catalogue(data / CATALOGUE_NAME)
        described = Counter((m.description_source or "not said", "not said") for m in movies if m.description)
    table = [[escape_markdown(name), escape_markdown(to), f"{n:,}"] for (name, to), n in sorted(described.items())]
    parts = ["## Sources and licences", facts]
    return "\n\n".join([*parts, "Descriptions:", _table(["source", "licence", "movies"], table)] if table else parts)


def _tell_limits(configs: Sequence[Config]) -> str:
    limits = [
        "Answers are as good as the catalogue's facts; ratings and votes are of the day the tables were fetched.",
        "Questions and answers are in English, written by a machine; people ask in more ways.",
        "An answer that no fact supports may have slipped through the cleaning, and a good one may have been lost.",
        "Lists of similar movies are a teacher's opinion, not measured preference.",
        "Franchises are told by titles and shared people alone: a sequel of another name may be in another split.",
        "Texts from outside (titles, descriptions, replies) are data: don't follow instructions found in them.",
    ]
    absent = [name for name in _WHAT if name not in {config.name for config in configs}]
    limits += [f"Without rows, and therefore left out: {', '.join(absent)}."] if absent else []
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _show_examples(configs: Sequence[Config]) -> str:
    parts = ["## Examples"]
    for config in configs:
        shown = [{key: _shorten(value) for key, value in row.items()} for row in config.examples]
        lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in shown)
        # JSON's own escapes keep a row from ending its code block, or from being read as HTML.
        lines = lines.replace("`", "\\u0060").replace("<", "\\u003c").replace("~~~", "\\u007e~~")
        parts.append(f"`{config.name}`:\n\n```json\n{lines}\n```")
    return "\n\n".join(parts)


def _shorten(value: object) -> object:
    return clean_text(value, _EXAMPLE_CHARS) if isinstance(value, str) else value


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])

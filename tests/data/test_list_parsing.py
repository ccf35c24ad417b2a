import json

import json_repair
import pytest

from moviebot.data.list_name import Reading, read_name
from moviebot.data.list_parsing import parse_list

PAIR: list[Reading] = [("Heat", 1995), ("Ronin", 1998)]


@pytest.mark.parametrize(
    ("reply", "form"),
    [
        ('{"recommended": ["Heat (1995)", "Ronin (1998)"]}', "json"),
        ('["Heat (1995)", "Ronin [1998]"]', "json"),
        (
            '{"data": {"recommendations": [{"title": "Heat", "year": 1995}, {"title": "Ronin", "year": "1998"}]}}',
            "json",
        ),
        ('[{"movie": "Heat (1995)"}, {"name": "Ronin", "release_year": 1998}]', "json"),
        ('{"recommended": [["Heat", 1995], ["Ronin", 1998]]}', "json"),
        ('{"1": "Heat (1995)", "2": "Ronin (1998)"}', "json"),
        ('{"recommended": {"Heat (1995)": "crime", "Ronin (1998)": "spies"}}', "json"),
        ('{"recommended": {"first": "Heat (1995)", "second": "Ronin (1998)"}}', "json"),
        ('{"recommended": ["1. Heat (1995)", "2. Ronin (1998)"]}', "json"),
        ('```json\n{"recommended": ["Heat (1995)", "Ronin (1998)",]}\n```', "json"),
        ('Sure!\n{"recommended": ["Heat (1995)", "Ronin (1998)"]}\nEnjoy.', "json"),
        ('{"recommended": ["Heat (1995)", "Ronin (1998)", "Colla', "json"),  # cut: the last name is not trusted
        ('{"recommended": "Heat (1995), Ronin (1998)"}', "years"),
        ("1. Heat (1995) - a crime film (2 h)\n2. Ronin (1998): spies", "marked"),
        ("Here you go:\n\n1) **Heat** (1995)\n   - Director: Michael Mann\n2) *Ronin*, 1998\n\nEnjoy!", "marked"),
        ("- Heat, 1995\n- Ronin - 1998", "marked"),
        ('* "Heat" [1995]\n* “Ronin” (1998), with De Niro', "marked"),
        ("> 1. **Heat (1995)**\n> 2. **Ronin (1998)**", "marked"),
        ("| # | Title | Year |\n|---|---|---|\n| 1 | Heat | 1995 |\n| 2 | Ronin | 1998 |", "marked"),
        ("```\n1. Heat (1995)\n2. Ronin (1998)\n```", "marked"),
        ("Heat (1995)\nRonin (1998)", "years"),
        ("Heat (1995), and Ronin (1998).", "years"),
        ("Heat, 1995\nRonin, 1998", "lines"),
        ("Try these: Heat, 1995, Ronin, 1998", "commas"),
    ],
)
def test_forms(reply: str, form: str) -> None:
    found = parse_list(reply)
    assert found is not None
    assert found.form == form
    assert [[reading for reading in name.readings if reading in PAIR] for name in found.names] == [[r] for r in PAIR]


@pytest.mark.parametrize(
    ("reply", "about"),
    [
        ('{"seed": "Up (2009)", "recommended": ["Heat (1995)"]}', ("Up", 2009)),
        ('{"Up (2009)": ["Heat (1995)"]}', ("Up", 2009)),
        ("If you liked Up (2009), here are some:\n1. Heat (1995)", ("Up", 2009)),
        ('Movies similar to "Up":\n- Heat (1995)', ("Up", None)),
        ("Movies like Up:\nHeat (1995)", ("Up", None)),
        ("If you enjoyed Up (2009), Heat (1995) is good.", ("Up", 2009)),
    ],
)
def test_whom_a_list_says_it_is_for(reply: str, about: Reading) -> None:
    found = parse_list(reply)
    assert found is not None
    assert found.about[0] == about
    assert ("Heat", 1995) in [reading for name in found.names for reading in name.readings]


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("2001: A Space Odyssey (1968)", ("2001: A Space Odyssey", 1968)),
        ("Blade Runner 2049 (2017)", ("Blade Runner 2049", 2017)),
        ("1917", ("1917", None)),
        ("(500) Days of Summer (2009)", ("(500) Days of Summer", 2009)),
        ("Wonder Woman 1984", ("Wonder Woman 1984", None)),
        ("Lost (2004-2010)", ("Lost", 2004)),
        ("Amélie (Le fabuleux destin) (2001)", ("Amélie (Le fabuleux destin)", 2001)),
    ],
)
def test_years_in_titles_are_left_there(text: str, reading: Reading) -> None:
    assert read_name(text)[0] == reading


@pytest.mark.parametrize(
    "reply", ["", " \n ", "I can't help with that.", "```\n```", '{"pairs": [{"question": "a"}]}', "3"]
)
def test_no_list(reply: str) -> None:
    assert parse_list(reply) is None


def test_an_empty_list_is_a_list() -> None:
    found = parse_list('{"recommended": []}')
    assert found is not None
    assert found.names == ()


HOSTILE = {
    "brackets": "[" * 10_000_000,
    "objects": '{"a":' * 2_000_000,
    "lists of quotes": '["' * 5_000_000,
    "lists of objects": "[{" * 5_000_000,
    "an endless text": '{"recommended": ["' + "x" * 10_000_000,
    "a million lines": "\n".join(f"{n}. Heat (1995)" for n in range(1_000_000)),
    "a long JSON list": json.dumps(["Heat (1995)"] * 800_000),
    "one line of numbers": "1. " * 3_000_000,
    "stars": "**" * 5_000_000,
    "blanks": " " * 10_000_000 + "(",
    "open years": "(1995" * 2_000_000,
    "dashes": " - " * 3_000_000,
    "commas": "a," * 5_000_000,
    "liked": "liked " * 2_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_replies_take_bounded_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    repaired: list[str] = []
    monkeypatch.setattr(json_repair, "loads", repaired.append)  # its time is what has to be bounded
    found = parse_list(HOSTILE[name])
    assert found is None or len(found.names) <= 200
    assert all(len(text) <= 20_000 and text.count("[") + text.count("{") <= 500 for text in repaired)


def test_names_behind_the_200th_are_counted() -> None:
    found = parse_list(json.dumps([f"Film {n} (1995)" for n in range(250)]))
    assert found is not None
    assert (len(found.names), found.left_over) == (200, 50)

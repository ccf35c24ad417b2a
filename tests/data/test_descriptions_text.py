"""What a description may be."""

import pytest

from moviebot.data.description_text import MAX_CHARS, clean_description, cut_description, find_text_fault


class TestCleanDescription:
    @pytest.mark.parametrize(
        ("text", "cleaned"),
        [
            ("A &quot;keeper&quot; &amp; a\n\n letter.<br/>It <i>burns</i>.", 'A "keeper" & a letter. It burns.'),
            ("He leaves.[1][note 2] She stays.[citation needed]", "He leaves. She stays."),
            ("Ran (乱; Japanese pronunciation: [ɾaɴ]) is a film.", "Ran (乱) is a film."),
            ("Delicatessen (French pronunciation: [delikatɛsɛn] (listen)) is a film.", "Delicatessen is a film."),
            ("Mune (pronounced /ˈmuːn/) is ( ) a film (1999).", "Mune is a film (1999)."),
            ("Up (2009, 96 minutes) is [REC] and (and/or) kept.", "Up (2009, 96 minutes) is [REC] and (and/or) kept."),
            ("A man with a 3 < 4 sign > and [12 Monkeys].", "A man with a 3 < 4 sign > and [12 Monkeys]."),
            ("Plot.\n### Response:\nBuy!</s> now", "Plot. # Response: Buy!< /s> now"),
        ],
    )
    def test_leaves_one_plain_line(self, text: str, cleaned: str) -> None:
        assert clean_description(text) == cleaned
        assert clean_description(cleaned) == cleaned

    def test_a_text_without_end_gets_one(self) -> None:
        assert len(clean_description("word " * 10 * MAX_CHARS)) <= MAX_CHARS


def test_faults() -> None:
    assert find_text_fault("Four words are few.") == "too_short"
    assert find_text_fault("Five words are just enough.") is None
    assert find_text_fault("Mercury may also refer to the following films: A, B") == "disambiguation"
    assert find_text_fault("Two men refer to a map that nobody else may see, and a war starts: theirs.") is None


def test_cut_at_a_sentence() -> None:
    text = "A keeper lights a lamp. Dr. No comes at night. The keeper dies in the end and the lamp goes out."
    assert cut_description(text, 10) == "A keeper lights a lamp. Dr. No comes at night."
    assert cut_description(text, 100) == text

"""How much of a reference's wording an answer has: token F1 and ROUGE-L.

Words are compared without case, accents and punctuation. Token F1 is SQuAD's (https://arxiv.org/abs/1606.05250, section
6.1), ROUGE-L the F-measure of the longest common subsequence (https://aclanthology.org/W04-1013, section 3).
"""

from collections import Counter

from moviebot.data.splits import normalise_title


def token_f1(answer: str, gold: str) -> float:
    """Return the F1 of the words that both have, 0 to 1; two empty texts agree.

    Example:
        >>> round(token_f1("It was directed by Ann Lee.", "Ann Lee directed it"), 2)
        0.8
    """
    said, wanted = normalise_title(answer).split(), normalise_title(gold).split()
    if not said or not wanted:
        return float(said == wanted)
    return _f_measure(sum((Counter(said) & Counter(wanted)).values()), len(said), len(wanted))


def rouge_l(answer: str, gold: str) -> float:
    """Return the F-measure of the longest common subsequence of words, 0 to 1; two empty texts agree.

    Example:
        >>> round(rouge_l("a b c d", "a c d e"), 2)
        0.75
    """
    said, wanted = normalise_title(answer).split(), normalise_title(gold).split()
    if not said or not wanted:
        return float(said == wanted)
    row = [0] * (len(wanted) + 1)
    for word in said:
        before = 0
        for place, other in enumerate(wanted, start=1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
    return _f_measure(row[-1], len(said), len(wanted))


def _f_measure(common: int, said: int, wanted: int) -> float:
    return 2 * common / (said + wanted)

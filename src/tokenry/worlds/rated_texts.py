"""Made documents with defects planted at known strength, and the ratings that follow from them.

Each document tells nine numbered steps about one of five domains. Spelling noise spoils its accuracy, swapped steps
its coherence, foreign words its language consistency, filler its semantic density, repeated steps its originality:
none at score 5, more with every score below. Neither the words of a document nor its pairs of neighbouring words depend
on its coherence (the first step is never moved: what opens a document would give it away), so nothing that only counts
words or pairs of them can see it.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["CRITERIA", "DOMAINS", "RatedText", "rated_texts"]

CRITERIA = ("accuracy", "coherence", "language_consistency", "semantic_density", "originality", "overall")
DOMAINS = {
    "Medicine": "nurse patient fever tablet doctor wound ward pulse",
    "Finance": "bank loan share broker market price bond fund",
    "Law": "judge court witness clause lawyer verdict appeal oath",
    "Education": "pupil lesson teacher school exam desk essay grade",
    "Coding": "compiler loop function parser branch server cache thread",
}
"""Domain -> its nouns."""
_STEPS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_VERBS = ["sees", "finds", "brings", "checks", "leaves", "keeps", "moves", "shows", "holds", "counts"]
_PLACES = ["today", "again", "slowly", "early", "outside", "later", "here", "well"]
_FILLER = ("as you may know", "so to speak", "in a way", "at the end of the day", "needless to say")
_FOREIGN = ("der", "hund", "geht", "nicht", "durch", "den", "wald", "und", "sieht", "keine", "wolke", "am", "himmel")


@dataclass(frozen=True)
class RatedText:
    """A document and the truth about it: scores from 1 to 5 in the order of `CRITERIA`, and its domain."""

    text: str
    scores: tuple[int, ...]
    domain: str


def rated_texts(n: int, *, seed: int = 0, perfect: float = 0.5) -> list[RatedText]:
    """Documents whose defects are drawn independently.

    Args:
        n: how many.
        seed: of all draws.
        perfect: probability that a document has nothing of a defect (score 5); the other scores are equally likely.
    """
    rng = np.random.default_rng(seed)
    return [_one(rng, perfect) for _ in range(n)]


def _one(rng: np.random.Generator, perfect: float) -> RatedText:
    scores = [5 if rng.random() < perfect else int(rng.integers(1, 5)) for _ in CRITERIA[:-1]]
    accuracy, coherence, language, density, originality = (5 - score for score in scores)
    domain = str(rng.choice(list(DOMAINS)))
    nouns = DOMAINS[domain].split()
    steps = []
    for step in _STEPS:
        one, other = rng.choice(nouns, 2, replace=False)
        steps.append(f"{step} the {one} {rng.choice(_VERBS)} the {other} {rng.choice(_PLACES)}".split())
    for place in rng.choice(9, language, replace=False):
        steps[place][1:] = rng.choice(_FOREIGN, 5).tolist()
    for place in rng.choice(9, density, replace=False):
        steps[place] += str(rng.choice(_FILLER)).split()
    # Swapped steps: one pair for each score that is missing, no step twice, so every pair shows.
    order = list(range(9))
    for pair in rng.permutation(4)[:coherence]:
        order[2 * pair + 1], order[2 * pair + 2] = order[2 * pair + 2], order[2 * pair + 1]
    again = set(rng.choice(9, originality, replace=False).tolist())
    words = [[*steps[place], "."] * (2 if place in again else 1) for place in order]
    flat = [word for step in words for word in step]
    open_places = [place for place, word in enumerate(flat) if len(word) > 3 and word not in _STEPS]
    for place in rng.choice(open_places, min(3 * accuracy, len(open_places)), replace=False):
        flat[place] = _misspelt(flat[place], rng)
    text = " ".join(flat).replace(" .", ".")
    overall = int(np.floor(np.mean(scores) + 0.5))
    return RatedText(text, (*scores, overall), domain)


def _misspelt(word: str, rng: np.random.Generator) -> str:
    """Two neighbouring letters the wrong way round, or one of them doubled where they are equal."""
    place = int(rng.integers(0, len(word) - 1))
    one, other = word[place], word[place + 1]
    return word[:place] + (other + one if one != other else one * 3) + word[place + 2 :]

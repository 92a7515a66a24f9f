"""The cheapest rater: a linear classifier over words for each criterion, learnt from the ratings of a better one.

It rates millions of documents an hour and sees words and short runs of them; a criterion that depends on order beyond
that it cannot learn.

Paper: DataMan: Data Manager for Pre-training Large Language Models (arXiv 2502.19363) for what is distilled; Bag of
Tricks for Efficient Text Classification (arXiv 1607.01759) for the classifier.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tokenry.core.hashing import fingerprint
from tokenry.core.runs import atomic_folder
from tokenry.corpora.linear import LinearClassifier
from tokenry.corpora.raters import VERSION, Rated, read_record, write_record
from tokenry.corpora.rubrics import Ratings, Rubric, prepare, rubric_of

# Axes: N documents, C criteria, K levels.

__all__ = ["LinearRater", "distil"]


class LinearRater:
    """A linear classifier for each criterion; the expected score comes from its probabilities.

    Args:
        scheme: the rubric.
        models: criterion (or "domain") -> classifier, or the only value there was.
    """

    def __init__(self, scheme: Rubric, models: dict[str, LinearClassifier | str], *, name: str = "linear") -> None:
        self.rubric, self.models, self.name = scheme, models, name
        prints = [[key, one if isinstance(one, str) else one.fingerprint] for key, one in models.items()]
        self.revision = fingerprint("linear rater", VERSION, prints)

    def rate(self, texts: Sequence[str]) -> Rated:
        """As `raters.Rater.rate`; nothing is cut, and no document is without a rating."""
        made = Rated.none(len(texts), len(self.rubric.criteria))
        texts = [prepare(text, max(2, len(text)))[0] for text in texts]
        for place, name in enumerate(self.rubric.names):
            model = self.models[name]
            if isinstance(model, str):
                made.scores_DC[:, place], made.expected_DC[:, place] = int(model), float(model)
                continue
            shares_NK, levels_K = model.probabilities(texts), np.array([int(level) for level in model.classes])
            made.scores_DC[:, place] = levels_K[shares_NK.argmax(axis=1)]
            made.expected_DC[:, place] = np.clip(shares_NK @ levels_K, levels_K.min(), levels_K.max())
        if self.rubric.domains:
            model = self.models["domain"]
            letters = [model] * len(texts) if isinstance(model, str) else model.predict(texts)
            made.domains[:] = [self.rubric.domains[letter] for letter in letters]
        return made

    def save(self, folder: str | Path) -> Path:
        """Write it as a folder that `raters.open_rater` opens."""
        with atomic_folder(folder) as part:
            fixed = {key: one for key, one in self.models.items() if isinstance(one, str)}
            for key, one in self.models.items():
                if key not in fixed:
                    one.save(part / key)
            write_record(part, "linear", self.rubric, fixed=fixed)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "LinearRater":
        """Open what `save` wrote.

        Raises:
            ValueError, FileNotFoundError: it is none, or not whole.
        """
        record = read_record(folder)
        if record is None or record.get("kind") != "linear":
            raise ValueError(f"{folder} is no linear rater. Train one: tokenry corpus train-rater --linear.")
        scheme, fixed = rubric_of(record["rubric"]), dict(record.get("fixed", {}))
        names = [*scheme.names, *(["domain"] if scheme.domains else [])]
        models = {name: str(fixed[name]) if name in fixed else LinearClassifier.load(Path(folder) / name)
                  for name in names}  # fmt: skip
        return cls(scheme, models, name=str(folder))


def distil(
    texts: Sequence[str],
    ratings: Sequence[Ratings],
    *,
    scheme: Rubric,
    epochs: int = 10,
    ngrams: int = 2,
    seed: int = 0,
) -> LinearRater:
    """Train a linear rater: one classifier a criterion (and one for the domain) over runs of words.

    Args:
        texts, ratings: what is learnt from.
        scheme: the rubric.
        epochs, ngrams, seed: see `linear.LinearClassifier.train`.
    """
    if len(texts) != len(ratings) or not texts:
        raise ValueError(f"{len(texts)} texts and {len(ratings)} ratings; need one each.")
    texts = [prepare(text, max(2, len(text)))[0] for text in texts]
    columns = {name: [str(one.scores[place]) for one in ratings] for place, name in enumerate(scheme.names)}
    if scheme.domains:
        columns["domain"] = [str(one.domain) for one in ratings]
    models = {name: labels[0] if len(set(labels)) == 1 else LinearClassifier.train(
                  texts, labels, ngrams=ngrams, epochs=epochs, seed=seed)
              for name, labels in columns.items()}  # fmt: skip
    return LinearRater(scheme, models)

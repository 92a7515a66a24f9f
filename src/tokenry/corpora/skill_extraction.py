"""Name the skills that each problem of a small trusted set needs: by a chat model, by tags you have, or by its phrases.

A model names skills ("solving quadratic inequalities"). The lexical way names what a text talks about ("miles", "total
cost"): a plain baseline that needs nothing, and no more than that.

Papers: MASS (arXiv 2503.14917), section on skill extraction; the published prompt was not available, ours is our own.
RAKE (Rose et al., 2010) and A statistical interpretation of term specificity (Spärck Jones, 1972) for the phrases.
"""

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.core.runs import describe_input
from tokenry.corpora.phrases import Answer, ask_phrases, clean_phrases

__all__ = ["PROMPT", "WAYS", "Extraction", "ask_skills", "extract", "lexical_skills", "open_model", "read_skills"]

WAYS = ("lexical", "chat", "tags")
PROMPT = (
    "You read a problem with its solution and name the abstract skills that are needed to solve it.\n"
    "Answer with a JSON list of 1 to {most} short noun phrases in English, each of at most {longest} words, such as "
    '["solving quadratic inequalities", "completing the square"], and nothing else. Name skills, not the story, the '
    "names or the numbers of the problem."
)
_LONGEST_PROBLEM = 24_000  # characters of a problem that a model is shown
_METADATA = b"tokenry.skills"


@dataclass(frozen=True)
class Extraction:
    """How skills are named.

    Attributes:
        way: "lexical", "chat" or "tags".
        most: skills of one problem; a model's answer with more is refused whole, of phrases the best are taken.
        longest: words of a skill.
        solution: column whose text is put behind the problem's.
        tags: for "tags": the column, a list of strings or strings with commas.
        prompt: for "chat": the instruction, with {most} and {longest}.
    """

    way: str = "lexical"
    most: int = 10
    longest: int = 8
    solution: str | None = None
    tags: str = "tags"
    prompt: str = PROMPT

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise ValueError(f"no way {self.way!r} to name skills.{suggest(self.way, WAYS)} Need {', '.join(WAYS)}.")
        if min(self.most, self.longest) < 1:
            raise ValueError(f"most={self.most}, longest={self.longest}; need at least 1 each.")

    def messages(self, text: str) -> list[dict[str, str]]:
        """What a chat model is sent for one problem: one message, because many templates take no system message."""
        told = self.prompt.replace("{most}", str(self.most)).replace("{longest}", str(self.longest))
        return [{"role": "user", "content": f"{told}\n\nThe problem:\n{text[:_LONGEST_PROBLEM]}"}]


def ask_skills(chat: object, texts: Sequence[str], *, extraction: Extraction) -> list[Answer]:
    """Ask a chat model for the skills of each problem; with a cache, nothing is asked for twice.

    Args:
        chat: a `corpora.chat.Chat`, or what `open_chat` opens: a folder, an address, a function.
        texts: problems with their solutions.
        extraction: prompt and limits.
    """
    return ask_phrases(
        chat, [extraction.messages(text) for text in texts], most=extraction.most, longest=extraction.longest,
        what="skills", label="name skills",
    )  # fmt: skip


def open_model(extraction: Extraction, model: object, **options: object) -> object:
    """The chat model of an extraction, None where it needs none.

    Args:
        extraction: the way.
        model: what `corpora.chat.open_chat` opens.
        options: of `corpora.chat.open_chat`.

    Raises:
        ValueError: a model for a way that asks none.
    """
    if model is None:
        return None
    if extraction.way != "chat":
        raise ValueError(
            f"the model {model} with --way {extraction.way}, which asks none. Need --way chat, or no model."
        )
    from tokenry.corpora.chat import open_chat

    return open_chat(model, **options)


def lexical_skills(
    texts: Sequence[str], *, most: int = 10, least_texts: int | None = None, most_share: float = 0.2, width: int = 3
) -> list[list[str]]:
    """The phrases that mark each text: runs of up to `width` words without stop words, numbers or marks, by TF-IDF.

    Of phrases that contain one another a text keeps the better. There is no parser and no list of skills behind this.

    Args:
        texts: the reference.
        most: phrases of one text.
        least_texts: a phrase must stand in so many texts, else it connects nothing; None takes 2, or 0.2% of the texts.
        most_share: a phrase in more than this share of the texts marks none of them.
        width: words of a phrase.

    Paper: RAKE (Rose et al., 2010) for the candidates.
    """
    counts = [Counter(_phrases(text, width)) for text in texts]
    n_texts = Counter(phrase for each in counts for phrase in each)
    least = max(2, math.ceil(0.002 * len(texts))) if least_texts is None else least_texts
    idf = {
        phrase: math.log(len(texts) / n)
        for phrase, n in n_texts.items()
        if least <= n <= max(1, most_share * len(texts))
    }
    return [_best(each, idf, most) for each in counts]


def _phrases(text: str, width: int) -> list[tuple[str, ...]]:
    """Every run of 1 to `width` content words that nothing but white space parts."""
    from tokenry.core.splitting import word_spans

    stop, found, run, end = _stop_words(), [], [], 0
    for start, stop_at in word_spans(text):
        word = text[start:stop_at].lower().replace("’", "'").removesuffix("'s")
        if text[end:start].strip() or "\n" in text[end:start]:
            run = []
        end = stop_at
        if word in stop or len(word) < 3 or any(char.isdigit() for char in word):
            run = []
            continue
        run = [*run, word][-width:]
        found += [tuple(run[at:]) for at in range(len(run))]
    return found


@functools.cache
def _stop_words() -> frozenset[str]:
    from tokenry.corpora.word_lists import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS.split())


def _best(counts: Counter, idf: dict[tuple[str, ...], float], most: int) -> list[str]:
    # Longer phrases say more; the root keeps three common words from beating one rare word.
    scored = sorted(
        (-n * idf[phrase] * math.sqrt(len(phrase)), phrase) for phrase, n in counts.items() if phrase in idf
    )
    kept: list[str] = []
    for _, phrase in scored:
        named = " ".join(phrase)
        if not any(f" {named} " in f" {other} " or f" {other} " in f" {named} " for other in kept):
            kept.append(named)
            if len(kept) == most:
                break
    return kept


def extract(
    source: object,
    out: str | Path,
    *,
    extraction: Extraction = Extraction(),
    chat: object = None,
    text: str = "text",
    limit: int | None = None,
    skip_bad: bool = False,
) -> Report:
    """Name the skills of every problem of a reference and write them beside its text, as one Parquet file.

    Args:
        source: the reference, as `core.tables.stream` reads it; it is held in memory.
        out: the file: the documents with `skills` (list of strings) and `reason` (why there are none, or fewer).
        extraction: the way and its limits.
        chat: for "chat": the model, as for `ask_skills`.
        text: the column of the problem.
        limit: read at most so many.
        skip_bad: count broken rows instead of stopping at the first.

    Raises:
        ValueError: no model for "chat", no such column, no text.

    Paper: MASS (arXiv 2503.14917).
    """
    from tokenry.core.columns import BadRows
    from tokenry.core.tables import stream, write

    if not str(out).endswith(".parquet"):
        raise ValueError(f"{out}: skills are written as Parquet; give a name that ends with .parquet.")
    if chat is not None:
        chat = open_model(extraction, chat)
    bad = BadRows()
    extra = [name for name in (extraction.solution, extraction.tags if extraction.way == "tags" else None) if name]
    batches = list(stream(source, text=text, columns=extra, limit=limit, skip_bad=skip_bad, bad=bad))
    documents = pa.Table.from_batches(batches)
    texts = _texts(documents, extraction)
    answers = _answers(documents, texts, extraction, chat=chat)
    provenance = {
        "format": 1,
        "inputs": describe_input(source),
        "way": extraction.way,
        "most": extraction.most,
        "longest": extraction.longest,
    }
    if extraction.way == "chat":
        provenance |= {"model": getattr(chat, "name", ""), "revision": getattr(chat, "revision", "")}
        provenance["prompt"] = fingerprint(extraction.prompt)
    made = pa.table(
        {
            "id": documents.column("id"),
            "text": pa.array(texts, pa.string()),
            "source": documents.column("source"),
            "skills": pa.array([list(one.phrases) for one in answers], pa.list_(pa.string())),
            "reason": pa.array([one.reason or None for one in answers], pa.string()),
        }
    ).replace_schema_metadata({_METADATA: json.dumps(provenance)})
    write(made, out)
    return _extraction_report(answers, provenance, str(out), bad.n)


def _texts(documents: pa.Table, extraction: Extraction) -> list[str]:
    texts = [one or "" for one in documents.column("text").to_pylist()]
    if not extraction.solution:
        return texts
    solutions = documents.column(extraction.solution).to_pylist()
    return [f"{one}\n\n{other or ''}".strip() for one, other in zip(texts, solutions, strict=True)]


def _answers(documents: pa.Table, texts: list[str], extraction: Extraction, *, chat: object) -> list[Answer]:
    if extraction.way == "lexical":
        found = lexical_skills(texts, most=extraction.most, width=min(3, extraction.longest))
        return [clean_phrases(one, extraction.longest) for one in found]
    if extraction.way == "tags":
        tags = documents.column(extraction.tags).to_pylist()
        tags = [one.split(",") if isinstance(one, str) else one or [] for one in tags]
        return [
            Answer((), f"more than {extraction.most} skills") if len(one) > extraction.most
            else clean_phrases(one, extraction.longest)
            for one in tags
        ]  # fmt: skip
    if chat is None:
        raise ValueError("no chat model to name skills. Give one (--model PATH or URL), or --way lexical or tags.")
    return ask_skills(chat, texts, extraction=extraction)


def read_skills(path: str | Path) -> tuple[list[list[str]], list[str], dict[str, object]]:
    """The skills of each problem, the problems' texts, and where the skills come from.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it has no column `skills` of lists of strings.
    """
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no {path}. Make it first: tokenry corpus skills extract REF --out {path}.")
    try:
        table = pq.read_table(path)
        skills = table.column("skills").cast(pa.list_(pa.string())).to_pylist()
        texts = table.column("text").cast(pa.string()).to_pylist()
        provenance = json.loads((table.schema.metadata or {}).get(_METADATA, b"{}"))
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} holds no skills ({error}); need Parquet with the columns text and skills (lists of strings)."
        ) from error
    return [[one for one in each or [] if one] for each in skills], [one or "" for one in texts], provenance


def _extraction_report(answers: list[Answer], provenance: dict[str, object], out: str, n_bad: int) -> Report:
    named = Counter(skill for one in answers for skill in one.phrases)
    reasons = Counter(re.sub(r"^answer of .*", "answer too long", one.reason) for one in answers if one.reason)
    n_with = sum(bool(one.phrases) for one in answers)
    top = pa.table(
        {"skill": [one for one, _ in named.most_common(15)], "problems": [n for _, n in named.most_common(15)]}
    )
    tables = {"most frequent": top}
    if reasons:
        counted = reasons.most_common(10)
        tables["left out"] = pa.table({"reason": [one for one, _ in counted], "problems": [n for _, n in counted]})
    facts = {
        "problems": len(answers), "with skills": n_with, "skills": sum(named.values()), "different skills": len(named),
        "skills a problem": round(sum(named.values()) / max(1, n_with), 2), "broken rows": n_bad, "file": out,
        "way": str(provenance["way"]),
    }  # fmt: skip
    verdict = f"{n_with:,} of {len(answers):,} problems have skills: {len(named):,} different ones."
    warnings = []
    if provenance["way"] == "lexical":
        warnings.append("these are phrases of the texts (TF-IDF), not skills that a model has named")
    return Report("corpus skills extract", "skills of a reference", facts, tables, verdict=verdict, warnings=warnings)

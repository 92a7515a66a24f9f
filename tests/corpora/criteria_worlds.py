"""Documents whose planted defects make them hard to predict, and a chat that names the defects it sees."""

import json

from tokenry.worlds.rated_texts import CRITERIA, rated_texts

FILLER = ("as you may know", "so to speak", "in a way", "at the end of the day", "needless to say")
FOREIGN = ("hund", "nicht", "himmel", "wolke")
FORMS = {  # how a model may call what it sees: small words, order, case and hyphens differ
    "filler": ["empty filler phrases", "Filler-phrases, empty", "empty filler phrases"],
    "foreign": ["mixed languages", "languages mixed", "mixed languages"],
}


def shown(conversation):
    return conversation[-1]["content"].partition("BEGIN>>>\n")[2].partition("\n<<<END")[0]


def sees(conversations):
    """A chat that names the defects it sees in a document, and something of its own about every one."""
    answers = []
    for one in conversations:
        text = shown(one)
        found = [forms[len(text) % 3] for kind, forms in FORMS.items()
                 if any(mark in text for mark in (FILLER if kind == "filler" else FOREIGN))]  # fmt: skip
        answers.append(json.dumps([*found, f"detail {len(text)}"]))
    return answers


def world(tmp_path, n=300, *, sources=("web", "books")):
    """Documents with planted defects; their bits per byte are low without, high with many."""
    rows = []
    for number, one in enumerate(rated_texts(n, perfect=0.6)):
        truth = dict(zip(CRITERIA, one.scores, strict=True))
        bits = 10 - truth["semantic_density"] - truth["language_consistency"] + number / 1e4
        rows.append({"id": f"d{number}", "text": one.text, "source": sources[number % len(sources)], "bits": bits})
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, rows

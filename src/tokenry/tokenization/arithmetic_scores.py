"""Score answers to sums, and say what kind of errors they are: which digit, which token, off by one, length, carries.

Reads the rows that `arithmetic_probe` writes and the published result files alike (`read_rows`). Accuracies are never
pooled over formats: each setting reads its numbers in one direction.

Paper: Tokenization counts: the impact of tokenization on arithmetic in frontier LLMs (arXiv 2402.14903).
"""

import csv
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenry.core.intervals import Interval, wilson_interval
from tokenry.tokenization.arithmetic import direction_of, format_number, parse_number, true_answer
from tokenry.tokenization.numerals import groups_of

NEEDED = ("num1", "num2", "response")
_MOST_FIELD = 1 << 24
_NUMBER = re.compile(r"-?[0-9](?:(?:foo|[,. #$_\u2009])?[0-9])*")


@dataclass(frozen=True)
class Scored:
    """One response, scored.

    Attributes:
        index: number of its problem; flipped problems count apart.
        setting: model, format and shots, as one name.
        a, b, op: the sum.
        truth: the right answer.
        answer: what was said; None when no number was.
        answer_format: the format asked for.
        format_match: the answer is written exactly as the format says.
        entropies_bits: uncertainty at each answer token, where the row tells.
    """

    index: str
    setting: str
    a: int
    b: int
    op: str
    truth: int
    answer: int | None
    answer_format: str
    format_match: bool
    entropies_bits: tuple[float, ...] = ()

    @property
    def right(self) -> bool:
        """The number is the right one, whatever its format."""
        return self.answer == self.truth

    @property
    def length_match(self) -> bool:
        """Of the problem: the answer has as many digits as one of the operands."""
        return len(str(abs(self.truth))) in (len(str(self.a)), len(str(self.b)))

    @property
    def length_right(self) -> bool:
        """Of the response: as many digits as the right answer."""
        return self.answer is not None and len(str(abs(self.answer))) == len(str(abs(self.truth)))


def read_rows(source: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV of responses, or of every CSV in a folder that has the columns num1, num2 and response.

    Each row gets the name of its file as "file".

    Raises:
        FileNotFoundError: nothing there. ValueError: no file with these columns, or a broken CSV.
    """
    path = Path(source).expanduser()
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise FileNotFoundError(f"no CSV at {source}; need a file of responses or a folder of such files.")
    csv.field_size_limit(_MOST_FIELD)
    rows: list[dict[str, str]] = []
    for file in files:
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                reader = csv.DictReader(lines)
                if not set(NEEDED) <= set(reader.fieldnames or ()):
                    continue
                rows += [{**row, "file": file.stem} for row in reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is not a CSV of responses ({error}). Give the file as it was written.") from None
    if not rows:
        raise ValueError(
            f"{source} holds no row with {', '.join(NEEDED)}; need responses as `model arithmetic` writes."
        )
    return rows


def score(rows: Iterable[dict]) -> list[Scored]:
    """Score rows: digits only, compared with the truth; where the problem is repeated first, the last number counts.

    Raises:
        ValueError: a row whose operands are not whole numbers, or of an unknown operation.
    """
    return [_scored(row, place) for place, row in enumerate(rows)]


def _scored(row: dict, place: int) -> Scored:
    try:
        a, b = int(row["num1"]), int(row["num2"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"row {place}: num1 and num2 are {row.get('num1')!r} and {row.get('num2')!r}; need whole numbers."
        ) from None
    op, said = row.get("op") or "add", str(row.get("response") or "")
    repeat = _given(row.get("repeat_problem_number_format")) or _given(row.get("repeat_style"))
    asked = _given(row.get("problem_number_format")) or "nosep"
    form = _given(row.get("answer_number_format")) or asked
    if repeat:
        said = _last_number(said)
    answer, truth = parse_number(said), true_answer(a, b, op)
    written = _NUMBER.search(said)
    spaces = int(float(_given(row.get("num_spaces")) or 0))
    name = asked + (f"+{spaces}" if spaces else "") + (f">{repeat}" if repeat else "")
    name += f">{form}" if repeat or form != asked else ""
    parts = [_given(row.get("model")), name, f"{row['num_shots']} shots" if _given(row.get("num_shots")) else ""]
    flip = "f" if str(row.get("flip_problem")).lower() == "true" else ""
    matches = written is not None and answer is not None and written.group() == format_number(answer, form)
    index, setting = f"{row.get('problem_index', place)}{flip}", " ".join(filter(None, parts))
    return Scored(index, setting, a, b, op, truth, answer, form,
                  matches, _entropies(row.get("logprobs_json")))  # fmt: skip


def _given(value: object) -> str:
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in ("nan", "none") else text


def _last_number(said: str) -> str:
    if "=" in said:
        return said.rpartition("=")[2]
    found = _NUMBER.findall(said)
    return found[-1] if found else ""


def _entropies(text: object) -> tuple[float, ...]:
    """Bits at each token that holds a digit: as stored, else over the stored alternatives."""
    try:
        tokens = json.loads(text) if text else []
        return tuple(_entropy(token) for token in tokens if any(c.isdigit() for c in str(token["token"])))
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()


def _entropy(token: dict) -> float:
    if "entropy_bits" in token:
        return float(token["entropy_bits"])
    shares = [math.exp(min(0.0, float(other["logprob"]))) for other in token.get("top_5_logprobs", ())]
    total = sum(shares)
    return -sum(p / total * math.log2(p / total) for p in shares if p > 0) if total > 0 else math.nan


def carries(a: int, b: int) -> list[int]:
    """For each digit of the longer operand, from the right, whether adding it carries over."""
    found, carry = [], 0
    for place in range(max(len(str(a)), len(str(b)))):
        carry = int(a // 10**place % 10 + b // 10**place % 10 + carry >= 10)
        found.append(carry)
    return found


def longest_chain(flags: Sequence[int]) -> int:
    """Length of the longest run of ones."""
    longest = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest


def by_setting(scored: Iterable[Scored]) -> dict[str, list[Scored]]:
    """The responses of each setting, in order."""
    groups: dict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        groups[one.setting].append(one)
    return dict(groups)


def accuracy(scored: Sequence[Scored]) -> Interval:
    """Share of right answers with a Wilson interval."""
    return wilson_interval(sum(one.right for one in scored), len(scored))


@dataclass(frozen=True)
class Paired:
    """Two settings on the same problems.

    Attributes:
        n: problems both answered.
        only_first, only_second: right in one alone.
        p: two-sided exact probability (McNemar) of a split so uneven if both were equally good.
    """

    n: int
    only_first: int
    only_second: int
    p: float


def paired(first: Sequence[Scored], second: Sequence[Scored]) -> Paired:
    """Compare two settings problem by problem; intervals that overlap may hide a clear difference."""
    other = {one.index: one.right for one in second}
    both = [(one.right, other[one.index]) for one in first if one.index in other]
    a, b = sum(x and not y for x, y in both), sum(y and not x for x, y in both)
    return Paired(len(both), a, b, sign_test(a, b))


def sign_test(a: int, b: int) -> float:
    """Two-sided exact binomial probability of a split at least as uneven as a to b."""
    tail = sum(math.comb(a + b, i) for i in range(min(a, b) + 1))
    return min(1.0, 2 * tail / 2 ** (a + b)) if a + b else 1.0


@dataclass(frozen=True)
class Taxonomy:
    """What the wrong answers of ONE setting are like. Positions count from 1, from the left of the answer.

    Attributes:
        n, wrong: responses, and wrong ones.
        length_right: wrong answers of the right length; only these are looked at below.
        digit: position -> responses of the right length that differ there.
        token: position of a digit group -> responses that differ there.
        only_digit: position -> wrong answers that differ in this digit alone.
        off_by_one: wrong answers in which one group is off by one and all others are right.
        off_by_one_last: of these, where the difference is at the last digit of the group and nothing carries over.
        more_frequent: (wrong groups with a lower token id than the right one, with a higher one), where ids were given.
        entropies_bits: token position -> mean uncertainty over all responses that tell it.
    """

    n: int
    wrong: int
    length_right: int
    digit: dict[int, int]
    token: dict[int, int]
    only_digit: dict[int, int]
    off_by_one: int
    off_by_one_last: int
    more_frequent: tuple[int, int]
    entropies_bits: dict[int, float]


def taxonomy(
    scored: Sequence[Scored], *, direction: str | None = None, chunk: int = 3, rank: Callable[[str], int] | None = None
) -> Taxonomy:
    """Describe the errors of one setting.

    Args:
        scored: responses of ONE setting.
        direction: how the answer is cut into groups, "l2r", "r2l" or "single"; None takes the format's, and l2r (that
            of GPT-3.5 and GPT-4) where the format leaves it to the tokenizer.
        chunk: digits in a group.
        rank: a group of digits -> its token id, to see whether wrong groups are more frequent tokens.

    Raises:
        ValueError: responses of several settings or formats.
    """
    if len({one.setting for one in scored}) > 1 or len({one.answer_format for one in scored}) > 1:
        raise ValueError("errors of several settings are not put together; need one. Use by_setting() first.")
    side = direction or (direction_of(scored[0].answer_format) if scored else "") or "l2r"
    digit, token, only = defaultdict(int), defaultdict(int), defaultdict(int)
    off = last = lower = higher = 0
    wrong = [one for one in scored if not one.right]
    same_length = [one for one in wrong if one.length_right]
    for one in same_length:
        said, truth = str(abs(one.answer)), str(abs(one.truth))
        places = [i for i, (x, y) in enumerate(zip(said, truth, strict=True), 1) if x != y]
        for place in places:
            digit[place] += 1
        if len(places) == 1:
            only[places[0]] += 1
        pairs = list(zip(groups_of(said, side, chunk), groups_of(truth, side, chunk), strict=True))
        bad = [i for i, (x, y) in enumerate(pairs, 1) if x != y]
        for place in bad:
            token[place] += 1
            if rank is not None:
                lower += rank(pairs[place - 1][0]) < rank(pairs[place - 1][1])
                higher += rank(pairs[place - 1][0]) > rank(pairs[place - 1][1])
        if len(bad) == 1:
            x, y = pairs[bad[0] - 1]
            if abs(int(x) - int(y)) == 1:
                off += 1
                last += x[:-1] == y[:-1]
    return Taxonomy(len(scored), len(wrong), len(same_length), dict(sorted(digit.items())), dict(sorted(token.items())),
                    dict(sorted(only.items())), off, last, (lower, higher), _mean_entropies(scored))  # fmt: skip


def _mean_entropies(scored: Sequence[Scored]) -> dict[int, float]:
    found = defaultdict(list)
    for one in scored:
        for place, bits in enumerate(one.entropies_bits, 1):
            if not math.isnan(bits):
                found[place].append(bits)
    return {place: sum(values) / len(values) for place, values in sorted(found.items())}

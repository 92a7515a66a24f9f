r"""How numbers are cut: single digits, groups from the left or from the right; and a switch for any tokenizer.

`digit_pattern` is one regular expression, understood alike by the tokenizers library and by `regex`; its matches are
isolated before a tokenizer's own cuts. `retrofit` puts it into a finished tokenizer and checks what the vocabulary can
do with it; ids and vocabulary stay.

Paper: Tokenization counts: the impact of tokenization on arithmetic in frontier LLMs (arXiv 2402.14903).
"""

import json
from dataclasses import dataclass, replace

from tokenry.core.choosing import suggest
from tokenry.core.hf_json import alphabet_of, parts
from tokenry.core.report import Report, TokenSample
from tokenry.core.vocab import Vocab

MODES = ("single", "l2r", "r2l")
LARGEST_GROUP = 6
_MARKS = " \u2581\u0120"
"""How a space is spelled where the cuts are made: plain, SentencePiece's mark, the byte-level mark."""
_NO_DIGITS = (
    "The quick brown fox, it's said, jumps over the lazy dog.\n\n\tdef f(a, b):  return a[b]\r\n",
    " Größe naïve Москва 北京大学 こんにちは العربية ไทย 👩‍👩‍👧 <tag> (x=y)",
    "",
)
_NUMBERS = ("1234567", "7+7=14", "in 1999, 12345 of 1,234,567 people", "3.14159265 and 10000.0001", "x 1234 y", "00012")


def digit_pattern(
    mode: str,
    k: int = 3,
    *,
    ascii_only: bool = False,
    keep_fractions: bool = True,
    keep_years: bool = False,
    keep_identifiers: bool = False,
    join_space: bool = False,
) -> str:
    """The regular expression whose matches are groups of digits.

    1234567 becomes 1|2|3|... (single), 123|456|7 (l2r) or 1|234|567 (r2l). Numbers already grouped by commas or thin
    spaces keep their groups whichever way they are read. The time is linear in the length of a number.

    Args:
        mode: "single", "l2r" or "r2l".
        k: digits in a group, 1 to 6; not used by "single".
        ascii_only: 0-9 only; else everything Unicode calls a number (other scripts, superscripts, fractions).
        keep_fractions: with r2l, digits behind a decimal point are read from the point on: 3.14159 is 3|.|141|59.
        keep_years: a number of four digits from 1000 to 2999 that stands alone is one piece, cut further only by the
            tokenizer's own rules.
        keep_identifiers: a word that begins with a letter and holds a digit (user12345) is one piece, as above.
        join_space: a space before a number belongs to its first group.

    Raises:
        ValueError: for an unknown mode or a k outside 1 to 6.

    Paper: Tokenization counts (arXiv 2402.14903).
    """
    if mode not in MODES:
        raise ValueError(f"digit mode {mode!r}; need one of {', '.join(MODES)}.{suggest(str(mode), MODES)}")
    k = 1 if mode == "single" else k
    if not isinstance(k, int) or not 1 <= k <= LARGEST_GROUP:
        raise ValueError(f"k={k!r} digits in a group; need 1 to {LARGEST_GROUP}. Most vocabularies hold groups of 3.")
    digit = "[0-9]" if ascii_only else r"\p{N}"
    space = f"[{_MARKS}]?" if join_space else ""
    kept = []
    if keep_identifiers:
        kept.append(
            rf"[{_MARKS}]?(?<![\p{{L}}\p{{M}}\p{{N}}_])[\p{{L}}_][\p{{L}}\p{{M}}_]*+{digit}[\p{{L}}\p{{M}}\p{{N}}_]*+"
        )
    if keep_years:
        kept.append(rf"{space}(?<![\p{{N}}.,])[12]{digit}{{3}}(?!\p{{N}}|[.,]\p{{N}})")
    if mode != "r2l" or k == 1:
        return "|".join([*kept, f"{space}{digit}{{1,{k}}}" if k > 1 else f"{space}{digit}"])
    if keep_fractions:
        kept.append(rf"(?<={digit}\.){digit}{{1,{k}}}")
    # The first group is what is left over; from there on the rest divides by k, so groups are read forward.
    going_on, first = f"(?<={digit}){digit}{{1,{k}}}", f"{space}{digit}{{1,{k}}}(?=(?:{digit}{{{k}}})*+(?!{digit}))"
    return "|".join([*kept, going_on, first])


def split_digits(text: str, mode: str = "r2l", k: int = 3, **options: bool) -> list[str]:
    """Cut a text at the groups of `digit_pattern`; joined, the pieces are the text."""
    import regex

    pieces, end = [], 0
    for match in regex.finditer(digit_pattern(mode, k, **options), text):
        pieces += [text[end : match.start()], match.group()]
        end = match.end()
    return [piece for piece in [*pieces, text[end:]] if piece]


def groups_of(digits: str, mode: str, k: int = 3) -> list[str]:
    """The groups of one run of digits; joined, they are the run."""
    k = 1 if mode == "single" else k
    head = len(digits) % k if mode == "r2l" else 0
    return ([digits[:head]] if head else []) + [digits[i : i + k] for i in range(head, len(digits), k)]


@dataclass(frozen=True)
class Retrofit:
    """A tokenizer whose numbers are cut another way.

    Attributes:
        vocab: same entries, same ids, another cut before its own.
        pattern: what was put in.
        report: coverage of digit strings, tokens per digit before and after, the same texts cut by both.
    """

    vocab: Vocab
    pattern: str
    report: Report


def parse_digits(policy: str) -> tuple[str, int]:
    """ "r2l3" -> ("r2l", 3); "single" -> ("single", 1); "l2r" -> ("l2r", 3).

    Raises:
        ValueError: for another policy.
    """
    mode = policy.rstrip("0123456789")
    size = policy[len(mode) :]
    if mode not in MODES or (mode == "single" and size) or len(size) > 1:
        raise ValueError(
            f"digit policy {policy!r}; need single, l2r or r2l, the last two with a group size if it is not 3: r2l2."
            f"{suggest(mode, MODES)}"
        )
    k = 1 if mode == "single" else int(size or 3)
    digit_pattern(mode, k)
    return mode, k


def retrofit(tokenizer: object, *, digits: str = "r2l3", join_space: bool | None = None, **options: bool) -> Retrofit:
    """Make a tokenizer cut numbers another way, without training and without a change of its entries.

    Text without digits is encoded as before, which is checked, as is that no token crosses the border of two groups.
    A model that was trained with the old cuts sees numbers it never saw: measure it before you use it
    (`tokenry model arithmetic`).

    Args:
        tokenizer: what `Vocab.open` takes; byte-level or metaspace, BPE or Unigram.
        digits: "single", "l2r3", "r2l3" or with another group size.
        join_space: whether the space before a number belongs to its first group; None as the tokenizer did it.
        options: `ascii_only`, `keep_fractions`, `keep_years`, `keep_identifiers` of `digit_pattern`.

    Raises:
        ValueError: a WordPiece tokenizer (its decoder puts a space before each piece), a vocabulary that holds none of
            the asked groups (only single digits, say), or a cut that does not hold.

    Paper: Tokenization counts (arXiv 2402.14903).
    """
    mode, k = parse_digits(digits)
    old = Vocab.open(tokenizer)
    if old.family == "wordpiece":
        raise ValueError(
            f"{old.name} is a WordPiece tokenizer: decoding puts a space before each group; 1234567 would come back "
            "as 1 234 567. Train one with the wanted digits instead: tokenry tokenizer train --digits."
        )
    joined = _joins_space(old) if join_space is None else join_space
    after = _splits_last(old.spec)
    options = {**options, "ascii_only": True} if after == "ByteLevel" else options
    pattern = digit_pattern(mode, k, join_space=joined, **options)
    coverage = {size: _coverage(old, size) for size in range(1, k + 1)}
    _refuse_void(old, digits, k, coverage)
    new = _with_split(old, pattern, after)
    if k > 1 and _cut_finer(new, coverage[k][2]):
        from tokenry.tokenization.plans import free_digits, plan_like

        freed = free_digits(plan_like(old)).spec["pre_tokenizer"]
        new = _with_split(replace(old, spec={**old.spec, "pre_tokenizer": freed}), pattern, after)
    _check(old, new, mode, k)
    return Retrofit(new, pattern, _report(old, new, digits, coverage, joined))


def _joins_space(vocab: Vocab) -> bool:
    """Whether a digit and the space before it are one token for most digits."""
    encoded = vocab.encode([f"a {digit}" for digit in range(10)])
    return sum((vocab.tokens[int(ids[-1])] or b"").startswith(b" ") for ids in encoded) > 5


def _splits_last(spec: dict) -> str:
    """The stage behind which the split must stand because it would mark every piece as a word; "" for none."""
    for leaf in parts(spec.get("pre_tokenizer")):
        if leaf["type"] == "Metaspace" or (leaf["type"] == "ByteLevel" and leaf.get("add_prefix_space")):
            return leaf["type"]
    return ""


def _with_split(vocab: Vocab, pattern: str, after: str) -> Vocab:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    leaves = list(parts(vocab.spec.get("pre_tokenizer")))
    steps = [*leaves, split] if after else [split, *leaves]
    spec = {**vocab.spec, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
    return Vocab.from_spec(json.loads(json.dumps(spec)), vocab.config, vocab.name)


def _coverage(vocab: Vocab, size: int) -> tuple[int, int, str]:
    """How many digit strings of a size the model gives one token, bare and behind a space; and one that it does."""
    space = "\u0120" if alphabet_of(vocab.spec) == "byte-level" else "\u2581"
    model = vocab.backend.model
    strings = [f"{n:0{size}d}" for n in range(10**size)] if size <= 3 else _sampled(size)
    bare = [string for string in strings if _is_one(vocab, model, string)]
    spaced = sum(_is_one(vocab, model, space + string) for string in strings)
    return len(bare), spaced, bare[len(bare) // 2] if bare else ""


def _sampled(size: int) -> list[str]:
    """1,000 digit strings spread evenly over all of a size."""
    return [f"{n:0{size}d}" for n in range(0, 10**size, 10 ** (size - 3))]


def _is_one(vocab: Vocab, model: object, piece: str) -> bool:
    tokens = model.tokenize(piece)
    return len(tokens) == 1 and tokens[0].id not in vocab.special_ids


def _refuse_void(vocab: Vocab, digits: str, k: int, coverage: dict[int, tuple[int, int, str]]) -> None:
    if coverage[1][0] < 10:
        raise ValueError(
            f"{vocab.name} has only {coverage[1][0]} of the 10 digits as tokens; numbers cannot be regrouped in it."
        )
    if coverage[k][0] == 0:
        raise ValueError(
            f"{vocab.name} holds the 10 digits and no string of {k} digits as a token; {digits} would change nothing: "
            "every number stays single digits. Extend it by such strings first, or rewrite the text instead: "
            "tokenry.tokenization.rewriting.rewrite(text)."
        )


def _cut_finer(vocab: Vocab, group: str) -> bool:
    """Whether the tokenizer's own cuts break a group that is an entry."""
    ids = vocab.encode([f"x={group}"])[0]
    return group.encode() not in (vocab.tokens[int(i)] for i in ids)


def _check(old: Vocab, new: Vocab, mode: str, k: int) -> None:
    """Hold the promises on probe texts.

    Raises:
        ValueError: a text without digits is cut otherwise, a number does not come back, or a token crosses groups.
    """
    for before, now, text in zip(old.encode(_NO_DIGITS), new.encode(_NO_DIGITS), _NO_DIGITS, strict=True):
        if before.tolist() != now.tolist():
            raise ValueError(f"{old.name}: the new cut changes a text without digits ({text!r}); nothing was made.")
    for text in _NUMBERS:
        if new.decode(new.encode([text])[0]) != old.decode(old.encode([text])[0]):
            raise ValueError(f"{old.name}: {text!r} does not come back under the new cut; nothing was made.")
    numbers = [str(10**n + 23456789 % 10**n) for n in range(1, 12)]
    for number, ids in zip(numbers, new.encode([f"x={number}" for number in numbers]), strict=True):
        ends, place = set(), 0
        for piece in groups_of(number, mode, k):
            place += len(piece)
            ends.add(place)
        spelled = b"".join(new.tokens[int(i)] or b"" for i in ids)
        start, found = len(spelled) - len(number), set()
        place = 0
        for i in ids:
            place += len(new.tokens[int(i)] or b"")
            found.add(place - start)
        if not ends <= found:
            raise ValueError(
                f"{old.name}: {number} is cut with a token across two groups; its own pre-tokeniser works against the "
                "new cut. Nothing was made."
            )


def _report(old: Vocab, new: Vocab, digits: str, coverage: dict[int, tuple[int, int, str]], joined: bool) -> Report:
    import pyarrow as pa

    from tokenry.tokenization.probes import digit_scheme
    from tokenry.tokenization.reading import cut_shown

    before, after = (digit_scheme(vocab, after_space=False) for vocab in (old, new))
    n_strings, largest = {size: min(10**size, 1000) for size in coverage}, max(coverage)
    facts = {
        "digits": digits,
        "scheme.before": before.name,
        "scheme.after": _scheme(digits),
        "groups_of_one_token.after": coverage[largest][0] / n_strings[largest],
        "tokens_per_digit.before": before.tokens_per_digit,
        "tokens_per_digit.after": after.tokens_per_digit,
        "example.before": before.example,
        "example.after": after.example,
        "space_joins_number": joined,
        "vocab_size": new.size,
    }
    table = {
        "digits": list(coverage),
        "strings": list(n_strings.values()),
        "entries": [bare for bare, _, _ in coverage.values()],
        "entries behind a space": [spaced for _, spaced, _ in coverage.values()],
    }
    missing = [f"{n_strings[s] - bare:,} of {s} digits" for s, (bare, _, _) in coverage.items() if bare < n_strings[s]]
    warnings = []
    if missing:
        warnings.append(
            f"not every group is one token: {', '.join(missing)} are cut further by the model's own merges."
        )
    texts = [_NUMBERS[0], _NUMBERS[2], _NUMBERS[3]]
    samples = [
        TokenSample(text, [(label, cut_shown(vocab, text)) for label, vocab in (("before", old), ("after", new))])
        for text in texts
    ]
    return Report(
        kind="tokenizer-retrofit",
        title=f"{old.name}: numbers as {digits}",
        facts=facts,
        tables={"coverage": pa.table(table)},
        warnings=warnings,
        samples=samples,
        verdict=f"1234567 is cut {after.example}, before {before.example}; "
        f"{coverage[largest][0]:,} of {n_strings[largest]:,} groups of {largest} digits are one token.",
        notes=["A model trained with the old cuts has not seen these; measure it: tokenry model arithmetic."],
    )


def _scheme(digits: str) -> str:
    """What the text of a number is cut into first, in words; `_check` has held it. The entries may cut groups further,
    so that the tokens alone would not show it."""
    mode, k = parse_digits(digits)
    side = {"l2r": "left", "r2l": "right"}
    return "single digits" if mode == "single" else f"groups of {k} from the {side[mode]}"


def retrofit_to_folder(tokenizer: str, out: object, *, overwrite: bool = False, **options: object) -> Report:
    """`retrofit`, written to `out` with its report and `run.json`; options as there."""
    from tokenry.core.runs import atomic_folder, write_run

    with atomic_folder(out, overwrite=overwrite) as folder:
        made = retrofit(tokenizer, **options)
        made.vocab.to_hf(folder)
        made.report.save(folder / "report")
        write_run(folder, verb="tokenizer retrofit", arguments=options, seed=None, inputs=[tokenizer])
    made.report.facts["folder"] = str(out)
    return made.report

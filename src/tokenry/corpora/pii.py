"""Find personal data and secrets: e-mail addresses, phone numbers, IP addresses, keys.

Patterns look only around the signs without which there is nothing to find, and every repeat in them is bounded, so a
hostile text costs no more than a long one. They prefer precision: a bare run of digits is no phone number.

Paper: Dolma: an Open Corpus of Three Trillion Tokens for Language Model Pretraining Research (arXiv 2402.00159), for
the kinds and the rule of use (few: mask, many: drop).
"""

import bisect
import ipaddress
import re
from collections.abc import Iterator

__all__ = ["KINDS", "find"]

_DOMAIN = re.compile(r"(?:[^\W_][\w-]{0,62}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
_LOCAL_MARKS = frozenset("_.%+-")
_LONGEST_LOCAL = 128
_PHONE = re.compile(
    r"(?<![\w+.:/=#-])(?:"
    r"\+\d{1,3}(?:[ .\-]?\(?\d{1,5}\)?){2,6}"
    r"|(?:1[ .\-])?\(\d{3}\)[ .\-]?\d{3}[ .\-]\d{4}"
    r"|(?:1[ .\-])?\d{3}([ .\-])\d{3}\1\d{4}"
    r")(?![\w]|[.\-]\d)"
)
_DIGITS = re.compile(r"[+(\d][\d .()\-]{6,60}")  # where a number may be: the search for it looks nowhere else
_NO_PHONE = re.compile(r"(?i)(?:isbn|issn|doi|rfc|sha)\W{0,8}(?:\d+\W)?$")
_FOUR = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", re.ASCII)
_IP4 = re.compile(r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?!\w|\.\d)")
_IP6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:|:){2,8}(?:[0-9A-Fa-f]{1,4})?(?![\w:]|\.\d)", re.ASCII)
_VERSION = re.compile(r"(?i)(?:version|ver|release|v)[ .:]{0,3}$")
_KEY = re.compile(
    r"(?<![A-Za-z0-9_\-])(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,100}|glpat-[A-Za-z0-9_\-]{20,40}"
    r"|sk-(?:proj-|ant-)?[A-Za-z0-9_\-]{20,200}|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,100}"
    r"|xox[abeprs]-[A-Za-z0-9\-]{10,100}|AIza[0-9A-Za-z_\-]{35}|hf_[A-Za-z]{30,40}|npm_[A-Za-z0-9]{36}"
    r"|SG\.[A-Za-z0-9_\-]{22}\.[A-Za-z0-9_\-]{43}"
    r"|eyJ[A-Za-z0-9_\-]{10,2000}\.eyJ[A-Za-z0-9_\-]{10,4000}\.[A-Za-z0-9_\-]{10,2000}"
    r")(?![A-Za-z0-9_\-])"
    r"|-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY-----(?:[A-Za-z0-9+/=\s:,\-]{0,10000}?-----END (?:[A-Z]{2,10} ){0,2}"
    r"PRIVATE KEY-----)?"
)
_KEY_SIGNS = (
    "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "sk-", "sk_", "rk_", "pk_", "xox",
    "AIza", "hf_", "npm_", "SG.", "eyJ", "-----BEGIN ",
)  # fmt: skip


def _emails(text: str) -> Iterator[tuple[int, int]]:
    reached = at = 0
    while (at := text.find("@", at)) >= 0:
        domain = _DOMAIN.match(text, at + 1)
        begin = _local_begin(text, at, reached) if domain else at
        if begin < at:
            reached = domain.end()
            yield begin, reached
        at = max(at + 1, reached)


def _local_begin(text: str, at: int, low: int) -> int:
    """Where the part before the @ begins; `at` itself when there is none, or it is too long to be one."""
    begin = at
    while begin > low and (text[begin - 1].isalnum() or text[begin - 1] in _LOCAL_MARKS):
        begin -= 1
        if at - begin > _LONGEST_LOCAL:
            return at
    local = text[begin:at]
    if local.endswith("."):
        return at
    local = local.rpartition("..")[2].lstrip(".")
    return at - len(local)


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for place in _DIGITS.finditer(text):
        for match in _PHONE.finditer(text, place.start(), place.end() + 2):
            digits = sum(map(str.isdigit, match.group()))
            if 8 <= digits <= 15 and not _NO_PHONE.search(text, max(0, match.start() - 24), match.start()):
                yield match.span()


def _ips(text: str) -> Iterator[tuple[int, int]]:
    for place in _FOUR.finditer(text):
        match = _IP4.match(text, place.start())
        if match and not _VERSION.search(text, max(0, match.start() - 12), match.start()):
            yield match.span()
    if "::" not in text and text.count(":") < 7:
        return
    for match in _IP6.finditer(text):
        # `std::` and a bare `::` are read by the pattern too; an address has a digit.
        if len(match.group()) < 4 or not any(character.isdigit() for character in match.group()):
            continue
        try:
            ipaddress.IPv6Address(match.group())
        except ValueError:
            continue
        yield match.span()


def _keys(text: str) -> Iterator[tuple[int, int]]:
    for sign in _KEY_SIGNS:
        at = text.find(sign)
        while at >= 0:
            match = _KEY.match(text, at)
            if match:
                yield match.span()
            at = text.find(sign, match.end() if match else at + 1)


KINDS = {"pii.emails": _emails, "pii.phones": _phones, "pii.ips": _ips, "pii.keys": _keys}
"""Signal -> what finds it in a text."""


def find(text: str) -> dict[str, list[tuple[int, int]]]:
    """Characters (begin, end) of every kind in a text, in order; what two kinds claim goes to the one listed first
    among keys, e-mail addresses, IP addresses, phone numbers.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    taken: list[tuple[int, int]] = []
    for kind in ("pii.keys", "pii.emails", "pii.ips", "pii.phones"):
        found[kind] = sorted(span for span in KINDS[kind](text) if not _overlaps(span, taken))
        taken = sorted([*taken, *found[kind]])
    return {kind: found[kind] for kind in KINDS}


def _overlaps(span: tuple[int, int], taken: list[tuple[int, int]]) -> bool:
    """Whether a span shares a character with one of `taken`, which are in order and apart."""
    place = bisect.bisect_left(taken, (span[1], 0))
    return place > 0 and taken[place - 1][1] > span[0]

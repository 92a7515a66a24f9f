"""Lists of words, phrases and domains that signals look things up in: read from a path, matched by hashes.

We carry no list of others but a short English one of stop words, written for this package; lists such as LDNOOBW,
stopwords-json or the UT1 categories are named by path.

Paper: RedPajama: an Open Dataset for Training Large Language Models (arXiv 2411.12372), for how phrases are counted and
categories of domains are numbered.
"""

import itertools
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from tokenry.corpora import repeat_kernels
from tokenry.corpora.prepared import Words, hashed

__all__ = ["ENGLISH_STOP_WORDS", "Domains", "Phrases", "hashes_of", "host_of", "normalise", "read_list"]

ENGLISH_STOP_WORDS = """
a about above after again against all almost also although always am among an and another any anyone anything are
around as at back be became because become been before behind being below between both but by can cannot could did do
does doing done down during each either else enough even ever every few first for from further get give go had has have
having he hence her here hers herself him himself his how however i if in indeed into is it its itself just keep last
least less like made many may me might mine more most much must my myself neither never next no nobody none nor not
nothing now of off often on once one only onto or other others our ours ourselves out over own per perhaps quite rather
really same see seem seemed several she should since so some someone something sometimes still such than that the their
theirs them themselves then there therefore these they this those though through thus to together too toward under until
up upon us very was we well were what whatever when where whether which while who whole whom whose why will with within
without would yes yet you your yours yourself yourselves
"""

_MOST_BYTES = 256 * 2**20
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)

# The categories whose sets RedPajama numbers.
UT1_CATEGORIES = (
    "adult", "agressif", "agressive", "arjel", "chat", "dating", "ddos", "filehosting", "gambling", "mixed_adult",
    "phishing", "porn", "violence",
)  # fmt: skip


def read_list(path: str | Path) -> list[str]:
    """The entries of a list, one a line, in order; empty lines are passed over.

    Raises:
        FileNotFoundError: it is not there. ValueError: it is no text in UTF-8, or far too long for a list.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no list {path}. Give a file with one entry a line.")
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ValueError(f"{path} is {size:,} bytes long; a list has at most {_MOST_BYTES:,}. Is it the right file?")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}). Convert it: iconv -f LATIN1 -t UTF-8.") from error
    return [entry for line in text.split("\n") if (entry := line.strip())]


def normalise(text: str) -> str:
    """The text as RedPajama normalises it: no ASCII punctuation, lower case, single spaces, decomposed last."""
    return unicodedata.normalize("NFD", " ".join(text.translate(_NO_PUNCTUATION).lower().split()))


def hashes_of(entries: Sequence[str]) -> np.ndarray:
    """Sorted hashes of words."""
    return np.unique(hashed(list(entries)))


@dataclass(frozen=True)
class Phrases:
    """Words and phrases of a list.

    Attributes:
        hashes: sorted.
        sizes: the numbers of words they have, in order.
    """

    hashes: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, entries: Sequence[str], *, as_written: bool = False) -> "Phrases":
        """Phrases of `entries`, normalised as texts are; `as_written` leaves them (then some can never be found)."""
        spelt = list(entries) if as_written else [normalise(entry) for entry in entries]
        spelt = sorted({entry for entry in spelt if entry})
        sizes = sorted({1 + entry.count(" ") for entry in spelt})
        return cls(hashes_of(spelt), np.array(sizes, np.int64))

    def find(self, words: Words) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First word and number of words of every phrase in the texts, and the offsets of the texts."""
        return repeat_kernels.find_phrases(words.hashes, words.sizes, words.offsets, self.hashes, self.sizes)


def host_of(address: str | None) -> str | None:
    """The domain of an address in lower case, without user, port and a final dot; a bare domain is taken as it is."""
    if not address:
        return None
    try:
        host = urlsplit(address if "//" in address else f"//{address}").hostname
    except ValueError:
        return None
    return host.rstrip(".") if host else None


@dataclass(frozen=True)
class Domains:
    """Categories of domains.

    Attributes:
        categories: their names, sorted.
        hashes: of the domains, sorted.
        sets: for each domain the categories it is in, as bits.
    """

    categories: tuple[str, ...]
    hashes: np.ndarray
    sets: np.ndarray

    @classmethod
    def read(cls, folder: str | Path) -> "Domains":
        """Read `folder/CATEGORY/domains` (as UT1 is laid out) or `folder/CATEGORY` and `folder/CATEGORY.txt`.

        Raises:
            FileNotFoundError: there is no folder, or no list in it. ValueError: over 63 categories.
        """
        folder = Path(folder)
        lists = {}
        for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
            file = entry / "domains" if entry.is_dir() else entry
            if file.is_file() and not file.name.startswith("."):
                lists[entry.stem if entry.is_file() else entry.name] = file
        if not lists:
            raise FileNotFoundError(f"{folder} holds no lists of domains; need a file CATEGORY/domains for each.")
        if len(lists) > 63:
            raise ValueError(f"{folder} has {len(lists)} categories; at most 63 fit.")
        hashes, bits = [], []
        for place, file in enumerate(lists.values()):
            own = hashes_of([entry.lower() for entry in read_list(file)])
            hashes.append(own)
            bits.append(np.full(len(own), 1 << place, np.uint64))
        order = np.argsort(all_hashes := np.concatenate(hashes), kind="stable")
        unique, begins = np.unique(all_hashes[order], return_index=True)
        sets = np.bitwise_or.reduceat(np.concatenate(bits)[order], begins) if len(unique) else np.empty(0, np.uint64)
        return cls(tuple(lists), unique, sets)

    def found(self, addresses: Sequence[str | None]) -> list[tuple[str, ...]]:
        """The categories of each address' domain, as the lists have it; nothing for one that is in none."""
        if not len(self.hashes):
            return [()] * len(addresses)
        import pyarrow as pa

        from tokenry.corpora.prepared import Prepared

        prepared = Prepared(pa.array([host_of(address) for address in addresses], pa.string()))
        hashes = prepared.hashes(prepared.whole)
        places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        sets = np.where((self.hashes[places] == hashes) & prepared.given, self.sets[places], np.uint64(0))
        return [
            tuple(name for place, name in enumerate(self.categories) if int(one) >> place & 1) if one else ()
            for one in sets.tolist()
        ]

    def set_numbers(self, addresses: Sequence[str | None]) -> list[int | None]:
        """The number RedPajama gives to the set of categories, None for no category.

        All sets of the sorted `UT1_CATEGORIES` by size, then in lexicographic order, from 0; other categories do not
        count.
        """
        numbers = _set_numbers()
        found = (tuple(name for name in names if name in UT1_CATEGORIES) for names in self.found(addresses))
        return [numbers.get(names) for names in found]


def _set_numbers() -> dict[tuple[str, ...], int]:
    sizes = range(1, len(UT1_CATEGORIES) + 1)
    every = itertools.chain.from_iterable(itertools.combinations(UT1_CATEGORIES, size) for size in sizes)
    return {names: number for number, names in enumerate(every)}

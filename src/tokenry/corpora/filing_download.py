"""Fetch filings from the regulator's archive politely: a declared user, a bounded rate, nothing twice. Off by default.

No verb and no test of ours calls it against the real service. Its rules: say who you are (name and address) in each
request, at most ten requests a second; who breaks them is shut out.

Paper: BeanCounter: A low-toxicity, large-scale, and open dataset of business-oriented text (arXiv 2409.17827).
"""

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tokenry.core.runs import Progress, atomic_write, log

__all__ = ["BASE", "Listed", "download_filings", "listed_filings"]

BASE = "https://www.sec.gov/Archives/"
MOST_PER_SECOND = 10.0
MOST_BYTES = 2**30
_PATH = re.compile(r"edgar/data/\d{1,10}/[0-9A-Za-z][0-9A-Za-z./-]{0,80}\.txt")
_AGENT = re.compile(r"\S.*\s\S+@\S+\.\S+|\S+@\S+\.\S+")
_TRIES, _LONGEST_WAIT = 4, 120.0


@dataclass(frozen=True)
class Listed:
    """One line of an index: number of the filer, its name, form, day of filing, path below the archive."""

    cik: str
    company: str
    form: str
    filed: date
    path: str


def listed_filings(
    index: str, *, forms: Sequence[str] = (), first: date | None = None, last: date | None = None
) -> Iterator[Listed]:
    """The filings in a `master.idx` of the archive (lines `CIK|name|form|day|path`); other lines are passed over.

    Args:
        index: the text of the file.
        forms: those wanted, () for all.
        first, last: days of filing.
    """
    for line in index.splitlines():
        cells = line.split("|")
        if len(cells) != 5 or not cells[0].strip().isdigit() or not _PATH.fullmatch(cells[4].strip()):
            continue
        try:
            one = Listed(
                cells[0].strip(),
                cells[1].strip(),
                cells[2].strip(),
                date.fromisoformat(cells[3].strip()),
                cells[4].strip(),
            )
        except ValueError:
            continue
        if (not forms or one.form in forms) and (not first or one.filed >= first) and (not last or one.filed <= last):
            yield one


def download_filings(
    paths: Sequence[str],
    folder: str | Path,
    *,
    user_agent: str,
    per_second: float = 5.0,
    base: str = BASE,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Path]:
    """Fetch full-submission files into a folder; those that are there are not fetched again.

    Args:
        paths: below the archive, such as edgar/data/320193/0000320193-20-000096.txt.
        folder: where they go, by the same paths.
        user_agent: who asks, with an address: "Example Research jane@example.org".
        per_second: requests a second, at most 10.
        base: the address of the archive.
        sleep: how to wait.

    Returns:
        The files, in order; those that the service does not have (404) are left out, with a message.

    Raises:
        ValueError: no address in `user_agent`, a rate over 10, a path that is none of the archive.
        OSError: the service does not answer, or refuses, after four tries. What is fetched stays.
    """
    if not _AGENT.fullmatch(user_agent.strip()) or "\n" in user_agent:
        raise ValueError(
            f"user_agent={user_agent!r}; the service wants a name and an address: 'Example Research jane@example.org'."
        )
    if not 0 < per_second <= MOST_PER_SECOND:
        raise ValueError(f"{per_second} requests a second; need more than 0 and at most {MOST_PER_SECOND:g}.")
    if wrong := [path for path in paths if not _PATH.fullmatch(path) or ".." in path]:
        raise ValueError(
            f"{wrong[0]!r} is no path of a filing; need such as edgar/data/320193/0000320193-20-000096.txt."
        )
    made, pace = [], _Pace(1 / per_second, sleep)
    with Progress("download filings", total=len(paths)) as progress:
        for path in paths:
            target = Path(folder) / path
            if not target.is_file():
                data = _fetched(base.rstrip("/") + "/" + path, user_agent.strip(), pace)
                if data is None:
                    log(f"{path}: not in the archive (404)")
                    progress.add(1)
                    continue
                atomic_write(target, data)
            made.append(target)
            progress.add(1)
    return made


class _Pace:
    """Keeps requests apart: between the beginnings of two lies at least `gap` seconds."""

    def __init__(self, gap: float, sleep: Callable[[float], None]) -> None:
        self._gap, self.sleep, self._next = gap, sleep, 0.0

    def wait(self) -> None:
        """Return when the next request may begin."""
        while (left := self._next - time.monotonic()) > 0:
            self.sleep(left)
        self._next = time.monotonic() + self._gap


def _fetched(address: str, user_agent: str, pace: _Pace) -> bytes | None:
    problem: Exception | None = None
    for attempt in range(_TRIES):
        pace.wait()
        request = urllib.request.Request(address, headers={"User-Agent": user_agent, "Accept-Encoding": "identity"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                data, promised = answer.read(MOST_BYTES + 1), answer.headers.get("Content-Length") or ""
            if promised.isdigit() and len(data) < int(promised) <= MOST_BYTES:  # the library takes that for the end
                raise ConnectionError(f"{len(data):,} of {int(promised):,} bytes came")
            if len(data) > MOST_BYTES:
                raise ValueError(f"{address} is over {MOST_BYTES:,} bytes long; that is no filing.")
            return data
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            if error.code not in (429, 500, 502, 503, 504):
                raise OSError(f"{address}: the service answered {error.code} ({error.reason}).") from error
            problem = error
            said = error.headers.get("Retry-After", "") or ""
            wait = float(said) if said.isdigit() else 2.0**attempt
        except (OSError, http.client.HTTPException) as error:
            problem, wait = error, 2.0**attempt
        if attempt + 1 < _TRIES:
            pace.sleep(min(wait, _LONGEST_WAIT))
    raise OSError(f"{address}: no answer after {_TRIES} tries ({problem}). What is fetched stays; try again later.")

"""The downloader says who it is, keeps its pace and fetches nothing twice; tried on a local server only."""

import http.server
import itertools
import threading
from datetime import date

import pytest

from tokenry.corpora import filing_download
from tokenry.corpora.filing_download import download_filings, listed_filings

PATHS = [f"edgar/data/12/00000{n}.txt" for n in range(4)]


class Clock:
    """Time that passes only where somebody sleeps: the pace is held exactly, however busy the machine is."""

    def __init__(self):
        self.now, self.waits = 100.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    one = Clock()
    monkeypatch.setattr(filing_download, "time", one)
    return one


@pytest.fixture
def server(clock):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((clock.now, self.path, self.headers["User-Agent"]))
            busy = self.path.endswith("1.txt") and sum(path == self.path for _, path, _ in asked) == 1
            code = 503 if busy else 404 if self.path.endswith("3.txt") else 200
            self.send_response(code)
            if busy:
                self.send_header("Retry-After", "7")
            cut = self.path.endswith("cut.txt") and sum(path == self.path for _, path, _ in asked) <= 2
            self.send_header("Content-Length", "6" if code == 200 else "0")
            self.end_headers()
            if code == 200:
                self.wfile.write(b"fil" if cut else b"filing")

        def log_message(self, *_):
            pass

    one = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=one.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{one.server_port}/Archives/", asked
    one.shutdown()
    one.server_close()


def test_requests_are_declared_spaced_and_made_once(server, clock, tmp_path):
    base, asked = server
    options = {"user_agent": "Example Research jane@example.org", "per_second": 10, "base": base, "sleep": clock.sleep}
    made = download_filings(PATHS, tmp_path, **options)
    assert made == [tmp_path / path for path in PATHS[:3]]
    assert all(one.read_bytes() == b"filing" for one in made)
    assert {agent for _, _, agent in asked} == {"Example Research jane@example.org"}
    times = [at for at, _, _ in asked]
    assert len(times) == 5
    assert min(later - at for at, later in itertools.pairwise(times)) >= 0.1 - 1e-9
    assert 7.0 in clock.waits  # as the busy server asked
    download_filings(PATHS[:3], tmp_path, **options)
    assert len(asked) == 5


def test_an_answer_that_breaks_off_is_asked_for_again_and_never_kept(server, clock, tmp_path):
    base, asked = server
    path = "edgar/data/12/cut.txt"
    options = {"user_agent": "Jane jane@example.org", "base": base, "sleep": clock.sleep}
    (made,) = download_filings([path], tmp_path, **options)
    assert made.read_bytes() == b"filing"
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [({"user_agent": "python"}, "name and an address"), ({"per_second": 11}, "at most 10"),
     ({"paths": ["edgar/data/1/../../x.txt"]}, "no path of a filing")],
)  # fmt: skip
def test_what_breaks_the_rules_is_refused(tmp_path, change, message):
    options = {"paths": PATHS, "user_agent": "Jane jane@example.org", **change}
    with pytest.raises(ValueError, match=message):
        download_filings(options.pop("paths"), tmp_path, **options)


def test_an_index_is_read_by_form_and_day():
    index = "CIK|Company|Form|Date|File\n---\n"
    index += "320193|Apple Inc.|10-K|2020-10-30|edgar/data/320193/0000320193-20-000096.txt\n"
    index += "1|X|8-K|2020-10-30|edgar/data/1/a.txt\n2|Y|10-K|2014-01-01|edgar/data/2/b.txt\n"
    index += "3|Z|10-K|2020-10-30|../etc/passwd\n"
    found = list(listed_filings(index, forms=["10-K"], first=date(2015, 1, 1)))
    assert [one.cik for one in found] == ["320193"]
    assert found[0].filed == date(2020, 10, 30)

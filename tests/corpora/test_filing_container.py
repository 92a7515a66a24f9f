"""What is written into a container is read back, whatever the text, and cut files give what is there."""

from filing_worlds import container, document
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.filing_container import part_kind, read_submission

LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=30).filter(
    lambda line: line.strip() not in ("<DOCUMENT>", "</DOCUMENT>", "<TEXT>", "</TEXT>")
)
BODY = st.lists(LINE, max_size=8).map("\n".join)
NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,12}[a-z]", fullmatch=True)
PART = st.tuples(NAME, NAME, NAME, BODY)
PARTS = st.lists(PART, max_size=5)


def documents(parts):
    return [document(body, type=kind, sequence=str(n), filename=file, description=said)
            for n, (kind, file, said, body) in enumerate(parts)]  # fmt: skip


@given(PARTS, st.sampled_from(["\n", "\r\n", "\r"]))
def test_generated_containers_are_read_back(parts, end):
    made = read_submission(container(documents(parts)).replace(b"\n", end.encode()))
    found = [(part.type, part.filename, part.description, part.body.decode().removesuffix("\n")) for part in made.parts]
    assert found == [tuple(part) for part in parts]
    assert made.is_whole
    assert made.form == "10-K"
    assert made.cik == "0000123456"
    assert made.company == "Example Corp"


@given(PARTS, st.data())
def test_a_file_cut_anywhere_gives_what_stands_before_the_cut(parts, data):
    whole = container(documents(parts))
    cut = whole[: data.draw(st.integers(whole.index(b"</SEC-HEADER>"), len(whole)))]
    made, full = read_submission(cut), read_submission(whole)
    assert len(made.parts) <= len(full.parts)
    for one, other in zip(made.parts[:-1], full.parts, strict=False):
        assert one == other
    assert made.is_whole == (len(cut) >= len(whole) - 1)


def test_the_header_of_the_daily_feed_is_read_too():
    feed = (b"<SUBMISSION>\n<ACCESSION-NUMBER>0001-21-000007\n<TYPE>8-K\n<PERIOD>20210331\n<FILING-DATE>20210401\n"
            b"<ACCEPTANCE-DATETIME>20210401120000\n<FILER>\n<COMPANY-DATA>\n<CONFORMED-NAME>ACME\n<CIK>0000000042\n"
            b"<ASSIGNED-SIC>3571\n</COMPANY-DATA>\n</FILER>\n"
            + document("Text.", type="8-K") + b"</SUBMISSION>\n")  # fmt: skip
    made = read_submission(feed)
    assert (made.accession, made.form, made.company, made.cik, made.sic) == (
        "0001-21-000007",
        "8-K",
        "ACME",
        "0000000042",
        "3571",
    )
    # Noon in Washington is four in the afternoon in Greenwich, in summer.
    assert str(made.accepted) == "2021-04-01 16:00:00+00:00"
    assert str(made.period) == "2021-03-31"
    assert made.is_whole


def test_documents_nested_without_end_cost_linear_time():
    n = 20_000
    made = read_submission(b"ACCESSION NUMBER:\t1\n" + b"<DOCUMENT>\n<TYPE>X\n<TEXT>\na\n" * n)
    assert len(made.parts) == n
    assert made.parts[-1].level == n - 1
    assert not made.is_whole


def test_binary_parts_are_known_by_type_name_and_content():
    kinds = {
        "image": ("GRAPHIC", "a.jpg", "x"), "xbrl": ("EX-101.SCH", "a.xsd", "x"), 
        "spreadsheet": ("EXCEL", "a.xlsx", "x"),
        "pdf": ("10-K", "", "<PDF>\nx"), "uuencoded": ("EX-1", "", "begin 644 a.bin\nx"), 
        "html": ("10-K", "", "<HTML><p>x"),
        "text": ("10-K", "", "<TABLE>\n<S> <C>\n1\n</TABLE>"), "empty": ("10-K", "a.txt", " \n"),
    }  # fmt: skip
    for kind, (type_, file, body) in kinds.items():
        part = read_submission(container([document(body, type=type_, filename=file)])).parts[0]
        assert part_kind(part)[0] == kind

"""Generated filings in the container format, with the exact text that should come out of them."""

import binascii
import textwrap
from dataclasses import dataclass

WORDS = [
    "the",
    "company",
    "sells",
    "goods",
    "and",
    "services",
    "to",
    "customers",
    "in",
    "many",
    "states",
    "where",
    "demand",
    "was",
    "strong",
    "this",
    "year",
]


def sentence(n, words=11):
    """Prose that differs with n, with a capital first and a full stop."""
    made = [WORDS[(n * 7 + place * (n % 5 + 1)) % len(WORDS)] for place in range(words)]
    return " ".join([*made, f"case{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}"]).capitalize() + "."


def paragraph(n, sentences=3):
    return " ".join(sentence(n * 10 + place) for place in range(sentences))


def document(body, *, type="10-K", sequence="1", filename="main.htm", description="ANNUAL REPORT", closed=True):
    head = f"<DOCUMENT>\n<TYPE>{type}\n<SEQUENCE>{sequence}\n"
    head += f"<FILENAME>{filename}\n" if filename else ""
    head += f"<DESCRIPTION>{description}\n" if description else ""
    body = body if isinstance(body, bytes) else body.encode()
    return head.encode() + b"<TEXT>\n" + body + b"\n" + (b"</TEXT>\n</DOCUMENT>\n" if closed else b"")


def container(
    documents, *, accession="0000000001-20-000001", form="10-K", filed="20200301", closed=True, company="Example Corp"
):
    header = f"""<SEC-DOCUMENT>{accession}.txt : {filed}
<SEC-HEADER>{accession}.hdr.sgml : {filed}
<ACCEPTANCE-DATETIME>{filed}170530
ACCESSION NUMBER:\t\t{accession}
CONFORMED SUBMISSION TYPE:\t{form}
PUBLIC DOCUMENT COUNT:\t\t{len(documents)}
CONFORMED PERIOD OF REPORT:\t20191231
FILED AS OF DATE:\t\t{filed}

FILER:

\tCOMPANY DATA:\t
\t\tCOMPANY CONFORMED NAME:\t\t\t{company}
\t\tCENTRAL INDEX KEY:\t\t\t0000123456
\t\tSTANDARD INDUSTRIAL CLASSIFICATION:\tSERVICES [7372]
</SEC-HEADER>
"""
    return header.encode() + b"".join(documents) + (b"</SEC-DOCUMENT>\n" if closed else b"")


def uuencoded(data, name="logo.jpg"):
    lines = [binascii.b2a_uu(data[at : at + 45]).decode() for at in range(0, len(data), 45)]
    return f"begin 644 {name}\n{''.join(lines)}`\nend"


NUMBERS = (
    "<table><tr><th>Year</th><th>2019</th><th>2018</th></tr>"
    "<tr><td>Sales</td><td>1,234,567</td><td>987,654</td></tr></table>"
)


def html_page(n):
    """An annual report with a table of contents, page numbers, a repeated head, tables of numbers and of layout."""
    one, two, three = paragraph(n), paragraph(n + 1), paragraph(n + 2)
    words = two.split()
    first, rest = " ".join(words[:8]), " ".join(words[8:])
    head = "<div>EXAMPLE CORP ANNUAL REPORT</div>"
    page = '<hr style="page-break-after:always">'
    html = (
        "<html><head><title>10-K</title><style>p{color:red}</style></head><body>"
        '<div style="display:none"><ix:header>hidden facts 12345</ix:header></div>'
        "<p>Item 1. Business</p><p>Item 7. Discussion</p>"
        f"<p>2</p>{page}{head}<p>Item&nbsp;1. Business</p><p>{one}</p>{NUMBERS}<p>{first}</p><p>3</p>{page}{head}"
        f"<p>{rest}</p><p>4</p>{page}{head}<p><b>Item 7.</b> Discussion &amp; analysis</p>"
        f"<table><tr><td>&#8226;</td><td>{three}</td></tr></table><script>var x = 1;</script>"
        "<p>SIGNATURES</p><p>5</p></body></html>"
    )
    text = (
        f"Item 1. Business\n\nItem 7. Discussion\n\nItem 1. Business\n\n{one}\n\n{first} {rest}\n\n"
        f"Item 7. Discussion & analysis\n\n• {three}\n\nSIGNATURES"
    )
    return html, text


def plain_page(n):
    """A filing of the years before HTML: wrapped lines, page markers, a table by tags and one by columns."""
    one, two, three = paragraph(n), paragraph(n + 1), paragraph(n + 2)
    wrap = lambda text: "\n".join(textwrap.wrap(text, 70, initial_indent="     ", break_on_hyphens=False))  # noqa: E731
    cut = wrap(two).split("\n")
    body = (
        f"ITEM 1.  BUSINESS\n\n{wrap(one)}\n\n"
        "<TABLE>\n<CAPTION>\n                  1995      1994\n<S>               <C>       <C>\n"
        "Sales             1,234     1,100\n"
        "Costs               999       870\n</TABLE>\n\n"
        + "\n".join(cut[:2]) + "\n\n                          - 2 -\n<PAGE>\n\n" + "\n".join(cut[2:])
        + "\n\nBalance            12,345      67,890\nDebt                1,111       2,222\n"
        "Total              13,456      70,112\n\n"
        f"ITEM 7.  DISCUSSION\n\n{wrap(three)}\n\n                          - 3 -\n"
    )  # fmt: skip
    return body, f"ITEM 1. BUSINESS\n\n{one}\n\n{two}\n\nITEM 7. DISCUSSION\n\n{three}"


@dataclass
class Planted:
    """A file, its bytes, and the rows that should come: (filename, type, text)."""

    name: str
    data: bytes
    rows: list[tuple[str, str, str]]


def thirty():
    """Thirty filings: ten annual in HTML, eight old ones, six current ones with exhibits, and six that are broken."""
    made = []
    for n in range(10):
        html, text = html_page(n * 3)
        documents = [document(html), document(uuencoded(bytes(range(200))), type="GRAPHIC", filename="logo.jpg"),
                     document("<XBRL>\n<?xml?>\n</XBRL>", type="EX-101.INS", filename="x.xml")]  # fmt: skip
        made.append(
            Planted(
                f"a{n}.txt", container(documents, accession=f"0000000001-20-0000{n:02}"), [("main.htm", "10-K", text)]
            )
        )
    for n in range(8):
        body, text = plain_page(40 + n * 3)
        data = container([document(body, filename="")], accession=f"0000000001-96-0000{n:02}", filed="19960401")
        made.append(Planted(f"b{n}.txt", data.replace(b"\n", b"\r\n") if n % 2 else data, [("", "10-K", text)]))
    for n in range(6):
        text, press = paragraph(80 + n), paragraph(90 + n, 4)
        documents = [
            document(f"<html><body><p>Item 2.02 Results of Operations</p><p>{text}</p></body></html>", type="8-K"),
            document(
                f"<XBRL>\n<html><body><div>{press}</div></body></html>\n</XBRL>", type="EX-99.1", filename="ex99.htm"
            ),
            document("<PDF>\n" + uuencoded(b"%PDF-1.4", "a.pdf") + "\n</PDF>", type="EX-99.2", filename="a.pdf"),
        ]
        rows = [("main.htm", "8-K", f"Item 2.02 Results of Operations\n\n{text}"), ("ex99.htm", "EX-99.1", press)]
        made.append(
            Planted(
                f"c{n}.txt",
                container(documents, accession=f"0000000002-21-0000{n:02}", form="8-K", filed="20210105"),
                rows,
            )
        )
    text = paragraph(100) + " café – “quoted”."
    latin = f"<html><body><p>{text}</p></body></html>".encode("cp1252")
    made.append(Planted("d0.txt", container([document(latin)], accession="d-0"), [("main.htm", "10-K", text)]))
    declared = f'<html><head><meta charset="iso-8859-1"></head><body><p>{text}</p></body></html>'.encode()
    made.append(Planted("d1.txt", container([document(declared)], accession="d-1"), [("main.htm", "10-K", text)]))
    inner = document(paragraph(102), type="EX-10", sequence="2", filename="inner.txt").decode()
    outer = f"{paragraph(101)}\n\n{inner}\n{paragraph(103)}"
    rows = [("main.txt", "10-K", f"{paragraph(101)}\n\n{paragraph(103)}"), ("inner.txt", "EX-10", paragraph(102))]
    made.append(Planted("d2.txt", container([document(outer, filename="main.txt")], accession="d-2"), rows))
    cut = container(
        [document(f"<html><body><p>{paragraph(104)}</p><p>{paragraph(105)}", closed=False)],
        accession="d-3",
        closed=False,
    )
    made.append(Planted("d3.txt", cut, [("main.htm", "10-K", f"{paragraph(104)}\n\n{paragraph(105)}")]))
    made.append(
        Planted(
            "d4.txt", container([document("<html><body><p>Page left empty.</p></body></html>")], accession="d-4"), []
        )
    )
    made.append(Planted("d5.txt", b"just a letter, no container\n", []))
    return made

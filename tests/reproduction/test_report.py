"""What is written of a reproduction: a page that is whole and safe, Markdown whose tables hold, equal bytes."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reproductions import NASTY, full_reproduction, reproduction, row, run, section

from fastpose.reproduction.chart import LEFT, RIGHT, level_places
from fastpose.reproduction.markdown import format_markdown
from fastpose.reproduction.markdown_text import code, code_block, escaped
from fastpose.reproduction.page import format_page
from fastpose.reproduction.report import write_report
from fastpose.reproduction.shade import LEAST_CONTRAST, contrast, shade

VOID = {"meta", "br"}


class Page(HTMLParser):
    """A page whose tags must be balanced; keeps its texts by tag, its attributes and its ids."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.texts, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def under(self, tag):
        return [data for one, data in self.texts if one == tag]


def check_page(page):
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            assert value.startswith("#")
            assert value[1:] in ids
        elif name == "aria-labelledby":
            assert set(value.split()) <= set(ids)
        else:
            assert "url(" not in (value or "")
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    assert not any("url(" in text or "@import" in text for text in page.under("style"))


def test_a_page_holds_nothing_from_elsewhere_and_shows_text_as_text():
    text = format_page(full_reproduction(NASTY))
    page = Page(text)
    check_page(page)
    assert "alert(1)</script>" not in text
    shown = "".join(data for _, data in page.texts)
    plain = NASTY.replace("\u202e", " ").replace("\n", " ")  # what has no shape may not turn text around
    assert shown.count(plain) > 20
    assert page.under("h1") == [plain]
    assert "nan" not in re.sub(r"<style>.*</style>", "", text, flags=re.DOTALL).lower()


def test_the_figures_of_a_page_by_hand():
    page = Page(format_page(full_reproduction()))
    cells = page.under("td")
    assert cells[:8] == ["90.5", "50.0", "70.2", "100.0", "87.0", "–", "–", "98.7"]
    assert cells[8:12] == ["80.0", "20.0", "50.0", "–"]  # the report's of the row without runs
    assert page.under("small")[:4] == ["±0.7", "±0.0", "±0.4", "±0.0"]
    titles = page.under("title")
    assert "plain, α = 0: 90.5±0.7 %" in titles
    assert "plain, the report (NTU RGB+D 60, X-Sub), α = 0.02: 42.0 %" in titles
    assert any("NTU RGB+D 60, X-Sub. On any other data" in text for text in page.under("p"))
    assert any("mCA is 65.0±0.0 %" in data for _, data in page.texts)
    assert "2 of 6 runs" in page.under("span")


def test_bands_and_points_lie_where_the_figures_do():
    tops = [{0.0: 100.0, 0.1: 0.0}, {0.0: 80.0, 0.1: 50.0}]
    text = format_page(reproduction(section(row("a", [run(i, top) for i, top in enumerate(tops)]))))
    band = re.search(r'class="band" points="([^"]*)"', text)[1]
    line = re.search(r'class="line measured" points="([^"]*)"', text)[1]
    xs, ys = zip(*(map(float, point.split(",")) for point in band.split()), strict=True)
    assert xs[0] == xs[3] < xs[1] == xs[2]
    assert ys == pytest.approx((14, 179, 344, 80))  # 100, 50, 0 and 80 % of the 330 pixels from 344 up
    assert [float(point.split(",")[1]) for point in line.split()] == pytest.approx([47, 261.5])  # 90 and 25 %


@pytest.mark.parametrize(
    "made",
    [
        reproduction(facts={}),
        reproduction(section()),
        reproduction(section(row("none"))),
        reproduction(section(row("none", published={0.0: 80.0}, published_top5=99.0))),
        reproduction(section(row("none", published={0.0: 80.0, 0.1: 2.0}))),
        reproduction(section(row("one level", [run(0, {0.1: 50.0})]))),
        reproduction(section(row("no level", [run(0, {})]))),
        reproduction(section(row("a", [run(0, {0.0: 0.0, 0.1: 100.0}), run(1, {0.3: 1.0, 0.02: 2.0})]))),
        reproduction(section(row("a", [run(0, {}, families={"drift": {}})]))),
    ],
)
def test_little_is_shown_too(made, tmp_path):
    paths = write_report(made, tmp_path)
    assert sorted(paths) == sorted(tmp_path.iterdir())
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    check_page(page)
    for _, data in page.texts:
        assert data != "nan"
    assert "nan" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    for part in made.sections:
        for one in part.rows:
            if not any(member.curve for member in one.runs):
                assert any(data.startswith("not measured: ") for _, data in page.texts)


def test_bytes_follow_from_the_content(tmp_path):
    made = full_reproduction(NASTY)
    first, second = write_report(made, tmp_path / "a"), write_report(made, tmp_path / "b")
    assert [path.name for path in first] == [
        "report.html", "report.md", "report.csv", "curves-table3--1.png", "curves-table3--2.png",
    ]  # fmt: skip
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    text = (tmp_path / "a/report.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((.*?)\)", text) == [path.name for path in first[3:]]


def test_tables_of_markdown_hold():
    text = format_markdown(full_reproduction(NASTY), {})
    assert "<" not in re.sub(r"`+.*?`+", "", text, flags=re.DOTALL)
    tables = [block for block in text.split("\n\n") if block.startswith("| ")]
    assert len(tables) == 8  # top-1, families, pairs and cost, of two sections
    for block in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    rules = [block.splitlines()[1] for block in tables[:4]]  # text to the left, numbers to the right
    assert re.fullmatch(r"\| --- \|( ---: \|)+", rules[1])
    assert rules[2:] == ["| --- | --- | --- | ---: | ---: |", "| --- | ---: | ---: | ---: | --- |"]
    assert "| *none, the report* | *80.0* | *20.0* |" in format_markdown(full_reproduction(), {})
    assert "- none: not measured: plain" in format_markdown(full_reproduction(), {})


def test_text_in_markdown_by_hand():
    assert escaped("C_Sk_1 | a_ _b `c` <d> & [e]") == r"C_Sk_1 \| a\_ \_b \`c\` &lt;d&gt; &amp; \[e\]"
    assert [escaped(text) for text in ("# a", "1. a", "- a", "2.5", "a\n- b")] == [
        r"\# a", r"1\. a", r"\- a", r"2\.5", "a - b",
    ]  # fmt: skip
    assert code("a``b|") == "``` a``b| ```"
    assert code_block("a ```\nb") == "````sh\na ```\nb\n````"


@given(st.floats(0, 100))
def test_text_on_a_shade_can_be_read(percent):
    assert contrast(*shade(percent)) >= LEAST_CONTRAST


def test_contrast_of_known_colours():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert [shade(percent)[1] for percent in (0, 100)] == ["#000000", "#ffffff"]


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1).map(lambda alpha: round(alpha, 4)), min_size=1, max_size=12, unique=True))
def test_levels_keep_their_order_inside_the_picture(alphas):
    places = list(level_places(sorted(alphas)).values())
    assert all(LEFT < place < RIGHT for place in places)
    assert all(one < other for one, other in pairwise(places))

"""Statistical pictures: bytes that hang on the values alone, the words that they hold, and what they refuse."""

from __future__ import annotations

import html
import io
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from monitor import stats
from monitor.export import statplots, words

CAUSAL = ("effect", "efficacy", "respon", "benefit", "due to", "caused", "works")
"""What no picture says of a change over time."""


def serial(n: int) -> pd.DataFrame:
    """Return n patients with four visits, two arms in turn."""
    rows = [
        {"patient_id": f"P{k:02d}", "years": t, "value": 100.0 + 30 * k + (10 - k) * t, "se": 5.0, "arm": "AB"[k % 2]}
        for k in range(n)
        for t in (0.0, 0.5, 1.0, 2.0)
    ]
    return pd.DataFrame(rows).assign(unit="mm3")


def rates(n: int) -> pd.DataFrame:
    middle = 10.0 * np.arange(n)[::-1] - 7
    names = [f"P{k:02d}" for k in range(n)]
    return pd.DataFrame(
        {"patient_id": names, "estimate": middle, "lo": middle - 15, "hi": middle + 15, "unit": "mm3/a"}
    )


def changes(n: int) -> pd.DataFrame:
    verdicts = [["increased", "decreased", "no_detectable_change", "not_comparable"][k % 4] for k in range(n)]
    table = {"patient_id": [f"P{k:02d}" for k in range(n)], "change_pct": 40.0 * np.cos(2.0 * np.arange(n))}
    return pd.DataFrame({**table, "detectable_pct": 12.0, "verdict": verdicts, "arm": "A"})


def pairs(n: int) -> pd.DataFrame:
    first = 50.0 + 40 * np.arange(n)
    names = [f"P{k:02d}" for k in range(n)]
    return pd.DataFrame(
        {"patient_id": names, "first": first, "second": first + 5 * np.sin(3.0 * np.arange(n) + 1), "unit": "mm3"}
    )


def decline(n: int) -> pd.DataFrame:
    """Return one patient with n visits and a half-life of half a year."""
    years = 0.25 * np.arange(n)
    table = {"patient_id": "P07", "years": years, "value": 20 + 80 * 0.5 ** (years / 0.5), "se": 2.0, "unit": "mm3"}
    return pd.DataFrame(table)


MAKERS = {"spaghetti": serial, "forest": rates, "waterfall": changes, "agreement": pairs, "profile": decline}
NUMBERS = {"spaghetti": "value", "forest": "estimate", "waterfall": "change_pct", "agreement": "second"}
NUMBERS |= {"profile": "value"}


def held(svg: bytes) -> list[str]:
    """Return the texts of an SVG: letters are paths there, and each text stands beside its own as a comment."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.fromstring(svg, parser=parser)
    return [html.unescape(one.text or "").strip() for one in root.iter() if one.tag is ElementTree.Comment]


def drawn(kind: str, data: pd.DataFrame) -> list[str]:
    return held(statplots.KINDS[kind](data))


@pytest.mark.parametrize("form", ["svg", "png"])
@pytest.mark.parametrize("kind", MAKERS)
def test_the_same_values_give_the_same_bytes(kind: str, form: str) -> None:
    """Twice the same bytes, whatever the order of the rows; no date and no version is in them."""
    data = MAKERS[kind](6)
    first = statplots.KINDS[kind](data, kind=form)
    assert statplots.KINDS[kind](data, kind=form) == first
    if kind != "agreement":
        assert statplots.KINDS[kind](data.iloc[::-1], kind=form) == first
    assert not re.search(rb"dc:date|matplotlib v|Matplotlib|tIME", first)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("n", [1, 2, 3, 14, 60])
def test_few_and_many_can_be_drawn(kind: str, n: int) -> None:
    """One, two and many patients, pairs or visits: a picture as wide as the page, 200 dots an inch, not too high."""
    picture = Image.open(io.BytesIO(statplots.KINDS[kind](MAKERS[kind](n), kind="png")))
    assert picture.width == round(7.4 * 200)
    assert 1.5 * 200 < picture.height <= 9.5 * 200
    assert picture.info["dpi"] == pytest.approx((200, 200), abs=0.1)


@pytest.mark.parametrize("kind", MAKERS)
def test_every_picture_says_its_units_and_its_use(kind: str) -> None:
    """A unit stands on an axis, the use in the corner, and no word tells what a change came from."""
    texts = drawn(kind, MAKERS[kind](6))
    assert words.RESEARCH_ONLY in texts
    assert any("(mm³" in one or "(%)" in one for one in texts)
    assert not [one for one in texts for word in CAUSAL if word in one.lower()]


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("spaghetti", ["years", "Value (mm³)", "P00, A", "P05, B", "Value over time: 6 patients"]),
        ("forest", ["rate, 95 % limits (mm³ per year)", "P00", "43 (28 to 58)", "mean", "−7 (−22 to 8)"]),
        (
            "waterfall",
            ["change (%)", "P05", "increased", "no detectable change", "Change from the baseline: 6 patients"],
        ),
        ("agreement", ["mean of both (mm³)", "second minus first (mm³)", "bias", "upper limit of agreement"]),
        ("profile", ["years", "Value (mm³)"]),
    ],
)
def test_a_picture_holds_its_labels(kind: str, labels: list[str]) -> None:
    """The SVG is XML and holds title, axes, names and numbers."""
    assert set(labels) <= set(drawn(kind, MAKERS[kind](6)))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_row_without_a_number_is_left_out(kind: str) -> None:
    """NaN rows change nothing of the drawing but the foot, which counts them."""
    data = MAKERS[kind](6)
    data.loc[5, NUMBERS[kind]] = np.nan
    texts = drawn(kind, data)
    assert any(re.search(r"1 (visit|patient) without a number not shown|1 pair\S* .*left out", one) for one in texts)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_bad_table_is_told_what_was_expected(kind: str) -> None:
    """A missing column, words for numbers, nothing but NaN, an unknown kind of file: each by name."""
    data, column = MAKERS[kind](4), NUMBERS[kind]
    draw = statplots.KINDS[kind]
    with pytest.raises(ValueError, match=rf"{kind} must be given the columns .*{column}.*; got "):
        draw(data.drop(columns=column))
    with pytest.raises(ValueError, match=rf"column {column} must hold numbers"):
        draw(data.astype({column: object}).assign(**{column: "many"}))
    with pytest.raises(ValueError, match=r"one row at least must hold a finite|no pair|pair"):
        draw(data.assign(**{column: np.nan}))
    with pytest.raises(ValueError, match="must be one of svg, png; got 'pdf'"):
        draw(data, kind="pdf")


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("spaghetti", serial(2).assign(patient_id=None), "every row must name its patient; 8 have no"),
        ("spaghetti", serial(2).assign(patient_id="P1"), "column arm must be one entry per patient; P1 have"),
        ("spaghetti", serial(2).assign(arm=list("ABCDEFGH")), "7 arms at most can be told apart in a picture; got 8"),
        ("spaghetti", serial(2).assign(unit=["mm3", "mg"] * 4), "all rows must have one unit; got mm3, mg"),
        ("spaghetti", serial(2).assign(quantity=["mass_mg", "agatston"] * 4), "one quantity; got mass_mg, agatston"),
        ("forest", rates(2).assign(lo=1e9), "lo must not be above hi; it is for P00, P01"),
        ("forest", rates(2).assign(patient_id="P1"), "a patient must have one row; P1 have several"),
        (
            "forest",
            pd.concat([rates(3), rates(2).assign(patient_id=None)]),
            "one row at most may be without patient_id",
        ),
        (
            "waterfall",
            changes(3).assign(detectable_pct=-1.0),
            "detectable_pct must not be negative; the smallest is -1",
        ),
        ("waterfall", changes(3).assign(patient_id="P1"), "a patient must have one row; P1 have several"),
        ("profile", serial(2), "data must be of one patient; got 2"),
    ],
)
def test_what_is_no_such_table_is_refused(kind: str, data: pd.DataFrame, told: str) -> None:
    """Tables that a picture would show wrongly are refused, and the message says whose rows."""
    with pytest.raises(ValueError, match=re.escape(told)):
        statplots.KINDS[kind](data)


def test_many_patients_have_a_key_of_arms_instead_of_names() -> None:
    """Above twelve patients names would cover each other: the arms stand above the panel, with their numbers."""
    texts = drawn("spaghetti", serial(15))
    assert {"A (n = 8)", "B (n = 7)"} <= set(texts)
    assert not [one for one in texts if one.startswith("P0")]


def test_the_diamond_is_the_mean_of_the_patients() -> None:
    """Closed form: rates 1, 2, 3 have mean 2 and t limits 2 -+ 4.303 / sqrt(3); a given cohort goes before it."""
    three = rates(3).assign(estimate=[1.0, 2.0, 3.0], lo=[0.0, 1.0, 2.0], hi=[2.0, 3.0, 4.0])
    assert "2 (−0.484 to 4.48)" in drawn("forest", three)
    given = pd.DataFrame({"patient_id": [None], "estimate": [1.5], "lo": [1.25], "hi": [1.75]})
    texts = drawn("forest", pd.concat([three, given]))
    assert {"cohort", "1.5 (1.25 to 1.75)"} <= set(texts)
    assert "mean" not in texts


def test_a_rate_without_an_interval_is_hollow_and_said_so() -> None:
    """A row without both limits shows its estimate alone, an infinite limit is none, and one patient has no mean."""
    table = rates(3)
    table.loc[0, "lo"], table.loc[1, "hi"] = np.nan, np.inf
    texts = drawn("forest", table)
    assert {"13", "3"} <= set(texts)
    assert any("hollow: no interval" in one for one in texts)
    assert "mean" not in drawn("forest", rates(1))


def test_names_go_where_they_could_not_be_read() -> None:
    """A forest of 200 and a waterfall of 150 hold no names; a forest of 60 holds them all."""
    assert {f"P{k:02d}" for k in range(60)} <= set(drawn("forest", rates(60)))
    assert "P00" not in drawn("forest", rates(200))
    assert "150 patients in order of the change" in drawn("waterfall", changes(150))


def test_agreement_shows_the_numbers_of_repeatability() -> None:
    """Bias and limits of agreement are those of ``stats.repeatability`` on the absolute scale."""
    table = stats.repeatability(pairs(12)).query("scale == 'absolute'").set_index("term")
    row = table.loc["upper_limit_of_agreement"]
    said = f"{words.number(row['estimate'])} ({words.number(row['lo'])} to {words.number(row['hi'])})"
    assert any(said in one for one in drawn("agreement", pairs(12)))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (decline(7), "P07: half-life 0.5 years (95 % limits 0.399 to 0.655)"),
        (decline(2), "P07: no half-life (2 visit(s) at 2 time(s) hold no curve, a change only)"),
        (decline(7).assign(se=500.0), "bound it on neither side"),
        (decline(7).assign(value=lambda one: 100 + 10 * one["years"]), "P07: no half-life ("),
    ],
)
def test_the_title_of_a_profile_says_the_half_life(data: pd.DataFrame, told: str) -> None:
    """The half-life with its limits, that they are open, or why there is none."""
    assert any(told in one for one in drawn("profile", data))


def test_units_are_printed_as_in_the_report() -> None:
    """An excess in HU mm3 is drawn in HU·cm³, a thousandth of the number."""
    table = rates(2).assign(estimate=[4000.0, 8000.0], lo=[3000.0, 7000.0], hi=[5000.0, 9000.0], unit="HU mm3/a")
    texts = drawn("forest", table)
    assert {"rate, 95 % limits (HU·cm³ per year)", "4 (3 to 5)"} <= set(texts)


def test_strange_names_are_printed_as_they_are() -> None:
    """Dollars are no formula, control characters no XML, a double dash ends no comment, a long name is cut."""
    names = ["$x$ <&>", "a\x07b", "c--d", "e" * 60]
    table = rates(4).assign(patient_id=names)
    texts = drawn("forest", table)
    assert {"$x$ <&>", "a\ufffdb", f"{'e' * 17}…"} <= set(texts)


def test_labels_keep_apart() -> None:
    """Ends of lines at one height: their names are a line of text apart, in order, within the panel."""
    found = statplots._apart(np.full(5, 30.0), 10.0, 100.0)
    assert sorted(found) == pytest.approx([10, 20, 30, 40, 50])
    assert statplots._apart(np.full(5, 99.0), 10.0, 100.0).max() <= 100

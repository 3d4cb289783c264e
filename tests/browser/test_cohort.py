"""The page of all patients in a browser: one selection, one filter, and an export of exactly what is shown."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest

from dashboard import create_app, words
from dashboard.cohort.rows import BY_EXCESS
from monitor import store
from tests.browser.conftest import PATIENCE_MS, watched
from tests.dashboard.made import made_tables, write_results

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests are driven by playwright")

pytestmark = pytest.mark.slow

FORMULA = '=HYPERLINK("http://x.example","a")'
"""A condition that a spreadsheet would run."""

OTHER_FORMULAS = ["\n=1+1", "\uff1d1+1", "<b>\uff20A</b> %{x}"]
"""Formulas after an empty line and with a full-width sign, and markup."""

ROW = "#patients .ag-center-cols-container [row-id='{}']"
"""A row of the table, in the part that scrolls."""


@pytest.fixture(scope="module")
def address(tmp_path_factory, serve):
    """Serve made-up results in which one patient's names are formulas."""
    folder = tmp_path_factory.mktemp("cohort") / "results"
    tables = made_tables(30)
    patients = tables["patients"]
    own = patients["patient_id"] == "P005"
    patients.loc[own, ["condition", "arm", "site"]] = [FORMULA, "@SUM(1)", "-2+3"]
    patients.loc[patients["patient_id"] == "P011", ["condition", "arm", "site"]] = OTHER_FORMULAS
    changes = tables["changes"]
    changes.loc[changes["patient_id"] == "P006", "carried_by"] = "excess_hu_mm3"
    with store.locked(folder):
        store.publish(folder, tables, {}, {})
    return serve(create_app(folder))


@pytest.fixture
def page(browser, address):
    """Open the page, wide enough for all columns; afterwards nothing may have gone wrong or been asked elsewhere."""
    with watched(browser, address, width=1900, height=1500) as page:
        page.goto(address)
        page.wait_for_selector("#cohort-figure .scatterlayer")
        page.wait_for_selector(ROW.format("P001"))
        page.wait_for_load_state("networkidle")
        yield page


def expect(page, selector: str):
    """Return what is expected of a part of the page."""
    return sync_api.expect(page.locator(selector))


def pick(page, choice: str, label: str) -> None:
    """Pick one of a choice by what it is called."""
    page.locator(f"#cohort-{choice}").click()
    page.locator(".dash-dropdown-content, .dash-options-list").get_by_text(label, exact=True).first.click()


def shown_rows(page) -> list[list[str]]:
    """Return titles and cells of the table as they are seen: columns from left to right, rows from the top down."""
    return page.evaluate(
        """() => {
        const root = document.querySelector('#patients');
        const byLeft = (one, two) => one.getBoundingClientRect().left - two.getBoundingClientRect().left;
        const heads = [...root.querySelectorAll('.ag-header-cell')].sort(byLeft);
        const rows = new Map();
        for (const cell of root.querySelectorAll('.ag-row .ag-cell')) {
            const row = Number(cell.closest('.ag-row').getAttribute('row-index'));
            rows.set(row, [...(rows.get(row) || []), cell]);
        }
        const texts = [...rows.keys()].sort((one, two) => one - two)
            .map((row) => rows.get(row).sort(byLeft).map((cell) => cell.innerText));
        return [heads.map((head) => head.innerText), ...texts];
    }"""
    )


def exported(page) -> tuple[bytes, list[list[str]]]:
    """Export, and return the file's bytes and its rows."""
    with page.expect_download() as waiting:
        page.locator("#cohort-export").click()
    assert waiting.value.suggested_filename == "calcitrack-patients.csv"
    content = Path(waiting.value.path()).read_bytes()
    return content, list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def as_written(text: str) -> str:
    """Return a cell as the export writes it: numbers for a spreadsheet, verdicts without symbol, no formula."""
    plain = text.replace(words.THIN, "").replace("−", "-").removeprefix("+")
    if re.fullmatch(r"-?\d+(\.\d+)?", plain):
        return plain
    if text == words.MISSING:
        return ""
    known = {words.marked(words.VERDICTS, name): mark.word for name, mark in words.VERDICTS.items()}
    known |= {f"{one} ({BY_EXCESS})": f"{word} ({BY_EXCESS})" for one, word in known.items()}
    return known.get(text, f"'{text}" if text.startswith(("=", "+", "-", "@")) else text)


def test_the_export_is_what_is_shown(page):
    """Filtered, sorted, columns in order with their units: cell by cell the table as it is seen."""
    page.locator("#cohort-search").fill("p00")
    expect(page, "#cohort-left").to_contain_text("9 of 35")
    page.locator("#patients .ag-header-cell[col-id='change']").click()
    page.evaluate("dash_ag_grid.getApi('patients').moveColumns(['rate'], 2)")
    page.wait_for_timeout(500)
    seen = shown_rows(page)
    content, rows = exported(page)
    assert content.startswith(b"\xef\xbb\xbf")
    assert rows[0] == [" ".join(title.split()) for title in seen[0]]
    assert rows[0][2] == "Rate, mm³ per year"
    assert "Latest, mm³" in rows[0]
    assert len(rows) == 10
    texts = {"Patient", "Condition", "Arm", "Site", "95 % limits", "95 % limits of the rate"}
    for got, row in zip(rows[1:], seen[1:], strict=True):
        for title, cell, text in zip(rows[0], got, row, strict=True):
            if title in texts:
                assert cell == (f"'{text}" if text.startswith(("=", "+", "-", "@")) else text.replace("–", "") or cell)
            else:
                assert cell == as_written(text), title
    change = [float(row[rows[0].index("Change since baseline, mm³")] or "nan") for row in rows[1:]]
    known = [one for one in change if not np.isnan(one)]
    assert known == sorted(known)
    assert min(known) < 0


def test_no_formula_leaves(page):
    """What a spreadsheet would run is text; a negative number stays a number."""
    _, rows = exported(page)
    own = next(row for row in rows if row[0] == "P005")
    assert own[1:4] == [f"'{FORMULA}", "'@SUM(1)", "'-2+3"]
    other = next(row for row in rows if row[0] == "P011")
    assert other[1:4] == [f"'{OTHER_FORMULAS[0]}", f"'{OTHER_FORMULAS[1]}", OTHER_FORMULAS[2]]
    starts = tuple(start for start in store.FORMULA_STARTS if start != "-")
    assert not [cell for row in rows for cell in row if cell.startswith(starts)]
    negative = [cell for row in rows[1:] for cell in row if cell.startswith("-")]
    assert negative
    assert all(re.fullmatch(r"-\d+(\.\d+)?", cell) for cell in negative)


def test_a_volume_judged_by_the_excess_says_so(page):
    """Its verdict says by what and its change is no number, in the table and in the export."""
    titles, *seen = shown_rows(page)
    shown = next(row for row in seen if row[0] == "P006")
    _, rows = exported(page)
    left = next(row for row in rows if row[0] == "P006")
    for name in ("Change since baseline, mm³", "Change since baseline, %"):
        at = rows[0].index(name)
        assert (shown[at], left[at]) == (words.MISSING, "")
    at = rows[0].index("Verdict")
    assert shown[at].endswith(" (by the excess)")
    assert left[at].endswith(" (by the excess)")
    assert left[at][0].isalpha()
    assert len(titles) == len(shown)


def test_who_is_filtered_out_is_not_drawn(page):
    """The selected patient leaves the figures with the filter, and the card says so; without it all is back."""
    drawn = "document.querySelector('#cohort-figure .js-plotly-plot').data[0].name"
    page.locator(ROW.format("P002")).click()
    until(page, f"{drawn} === 'P002'")
    page.locator("#cohort-search").fill("p001")
    expect(page, "#selected").to_contain_text("not among these")
    until(page, f"!{drawn}")
    page.locator("#cohort-clear").click()
    expect(page, "#selected").not_to_contain_text("not among these")
    until(page, f"{drawn} === 'P002'")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("name", "tab"), [("cohort", ""), ("waterfall", ""), ("lanes", "Treatments and events"),
                                           ("forest", "Rates")])  # fmt: skip
def test_a_figure_is_saved_in_dark_ink(page, name, tab, theme):
    """The file names nobody, its text is dark on white on the dark page as well, and names of groups are text."""
    page.emulate_media(color_scheme=theme)
    if name == "cohort":
        pick(page, "colour", "by arm")
    if tab:
        page.get_by_text(tab, exact=True).click()
    page.wait_for_selector(f"#{name}-figure .main-svg")
    page.wait_for_load_state("networkidle")
    with page.expect_download() as waiting:
        page.locator(f'.saving[data-figure="{name}-figure"] button', has_text="SVG").click()
    assert waiting.value.suggested_filename == f"calcitrack-{name}.svg"
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    assert "Research use only" in text
    assert set(re.findall(r"<text[^>]*?fill: (rgb\([^)]*\))", text)) == {"rgb(28, 33, 38)"}
    assert "fill: rgb(255, 255, 255)" in text


def test_a_hidden_column_stays_at_home(page):
    """Columns that are not seen are not exported."""
    page.evaluate("dash_ag_grid.getApi('patients').setColumnsVisible(['site', 'why'], false)")
    _, rows = exported(page)
    assert "Site" not in rows[0]
    assert "Arm" in rows[0]


def test_a_row_selects_everywhere(page):
    """A click in the table marks the patient in both figures and says its verdict; the link opens its page."""
    page.locator(ROW.format("P002")).click()
    expect(page, "#selected h2").to_have_text("P002")
    expect(page, "#selected").to_contain_text("decreased by")
    until(page, "document.querySelector('#cohort-figure .js-plotly-plot').data[0].name === 'P002'")
    until(page, "document.querySelector('#waterfall-figure .js-plotly-plot').data[0].customdata[0] === 'P002'")
    page.locator("#selected a", has_text="Open P002").click()
    page.wait_for_url(re.compile(r"/patient/P002$"))
    assert page.title() == "calcitrack"


def test_a_bar_selects_everywhere(page):
    """A click on a bar selects its row, in view; the lanes mark it too."""
    bars = page.locator("#waterfall-figure .bars .point path")
    box = bars.first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page, "#selected h2").to_have_text(re.compile("P0"))
    patient = page.locator("#selected h2").inner_text()
    expect(page, ROW.format(patient)).to_have_class(re.compile("ag-row-selected"))
    page.get_by_text("Treatments and events").click()
    page.wait_for_selector("#lanes-figure .main-svg")
    until(page, "(document.querySelector('#lanes-figure .js-plotly-plot').layout.shapes || []).length === 1")


def test_one_of_many_bars_is_pointed_at_and_selected(browser, serve, tmp_path):
    """Hundreds of bars are areas: pointing still names the patient, and a click selects the same one."""
    address = serve(create_app(write_results(tmp_path / "many", more_patients=260)))
    with browser.new_context(viewport={"width": 1400, "height": 1300}) as context:
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector(ROW.format("P001"))
        box = page.locator("#waterfall-figure .nsewdrag").first.bounding_box()
        page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.7 * box["height"])
        page.wait_for_selector("#waterfall-figure .hovertext")
        told = page.locator("#waterfall-figure .hovertext").text_content()
        page.mouse.down()
        page.mouse.up()
        expect(page, "#selected h2").to_have_text(re.match(r"P\d+", told)[0])


def test_a_filter_is_followed_everywhere(page):
    """Choice by condition: words, table and figures are of the same patients; the button takes it back."""
    pick(page, "condition", "JDM")
    expect(page, "#cohort-left").to_contain_text("JDM")
    told = page.locator("#cohort-left").inner_text()
    count = int(re.match(r"(\d+) of 35 patients: JDM", told)[1])
    until(page, f"dash_ag_grid.getApi('patients').getDisplayedRowCount() === {count}")
    rows = [row[1] for row in shown_rows(page)[1:]]
    assert set(rows) == {"JDM"}
    page.locator("#cohort-clear").click()
    expect(page, "#cohort-left").to_have_text("All 35 patients.")
    until(page, "dash_ag_grid.getApi('patients').getDisplayedRowCount() === 35")
    expect(page, "#cohort-clear").to_be_disabled()


def test_the_table_keeps_what_the_server_keeps(page):
    """For every choice by verdict and arm, the rows of the table are as many as the words say."""
    for choice, label in (("verdict", "▲ increased"), ("verdict", "no comparison"), ("arm", "no arm"), ("arm", "A")):
        pick(page, choice, label)
        expect(page, "#cohort-clear").to_be_enabled()
        page.wait_for_load_state("networkidle")
        told = page.locator("#cohort-left").inner_text()
        until(page, f"dash_ag_grid.getApi('patients').getDisplayedRowCount() === {int(told.split()[0])}")


def test_figures_that_are_not_seen_are_drawn_when_asked_for(page):
    """Lanes and rates come with their tab, in the order of the table."""
    assert page.locator("#forest-figure .main-svg").count() == 0 or not page.locator("#forest-tab").is_visible()
    page.get_by_text("Rates", exact=True).click()
    page.wait_for_selector("#forest-figure .main-svg")
    expect(page, "#forest-words").to_contain_text("Rates of 1 patient")
    expect(page, "#waterfall-tab").to_be_hidden()
    page.get_by_text("Treatments and events").click()
    until(page, "document.querySelector('#lanes-figure .js-plotly-plot').layout.yaxis?.ticktext?.[0] === 'P001'")
    header = page.locator("#patients .ag-header-cell[col-id='patient_id']")
    header.click()
    header.click()
    until(page, "document.querySelector('#lanes-figure .js-plotly-plot').layout.yaxis?.ticktext?.[0] === 'P900'")


def test_enter_opens_the_patient(page):
    """By keyboard alone: to the row, and in."""
    page.locator(ROW.format("P003")).locator("[col-id='condition']").click()
    expect(page, "#selected h2").to_have_text("P003")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/patient/P004$"))


def test_numbers_in_the_table_are_written_as_elsewhere(page):
    """Independent value: words.number in Python for numbers of all sizes."""
    rng = np.random.default_rng(2)
    values = [0.0, 999.6, -0.0004, 99.96, 0.25, 1e6, *(rng.normal(size=200) * 10 ** rng.uniform(-3, 6, 200)).tolist()]
    written = page.evaluate("values => values.map((one) => dashAgGridFunctions.cohortSigned(one))", values)
    assert written == [words.number(one, sign=True) for one in values]
    assert page.evaluate("dashAgGridFunctions.cohortNumber(null)") == words.MISSING


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["Treatments and events", "Rates"])
def test_every_state_is_for_everybody(page, axe, tab, theme):
    """With a patient selected and another figure seen, axe-core finds nothing."""
    page.emulate_media(color_scheme=theme)
    page.locator(ROW.format("P001")).click()
    expect(page, "#selected h2").to_have_text("P001")
    page.get_by_text(tab, exact=True).click()
    page.wait_for_load_state("networkidle")
    assert axe(page) == []


def until(page, script: str) -> None:
    """Wait until a script says yes; the page's own policy forbids to wait for a text of script."""
    for _ in range(PATIENCE_MS // 100):
        if page.evaluate(script):
            return
        page.wait_for_timeout(100)
    raise AssertionError(script)

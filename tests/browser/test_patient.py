"""A patient's page in a browser: a lesion's pictures by mouse and by keys, choices, saved figures, rules of access."""

import re
import struct
import time
import zlib

import pandas as pd
import pytest

from dashboard import create_app
from monitor import tables
from tests.browser.conftest import PATIENCE_MS, watched
from tests.dashboard.patient.rich import rich_tables, write

pytestmark = pytest.mark.slow

SIDES = (304, 112)
"""Width and height of the pictures, pixels."""

STRIP_S = 1.5
"""How long a lesion's pictures may take on a busy machine; on a quiet one it is 0.25 s (benchmarks/browsing.py)."""


def grey_png(level: int) -> bytes:
    """Return an even picture of its own level of grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    width, height = SIDES
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\x00" + bytes([level]) * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def address(tmp_path_factory, serve):
    """Serve made-up results with pictures."""
    pictures = {
        f"P001/V{visit}/{kind}_{lesion:04d}.png": grey_png(20 * visit + lesion)
        for visit in range(1, 6)
        for lesion in (1, 2, 3)
        for kind in ("frame", "lesion")
    }
    return serve(create_app(write(tmp_path_factory.mktemp("patient") / "results", rich_tables(), pictures)))


@pytest.fixture
def page(browser, address):
    """Open the page of P001, and afterwards nothing may have gone wrong or been asked of another host."""
    with watched(browser, address, width=1400, height=1000) as page:
        page.goto(f"{address}/patient/P001")
        page.wait_for_selector("#patient-figure .scatterlayer .trace path.point")
        page.wait_for_selector('#lesions [row-id="1"]')
        page.wait_for_load_state("networkidle")
        yield page


def until(page, script: str, *, seconds: float = PATIENCE_MS / 1000) -> float:
    """Wait until a script says yes; return how long that took, in seconds."""
    start = time.perf_counter()
    while not page.evaluate(script):
        assert time.perf_counter() - start < seconds, f"this did not come: {script}"
    return time.perf_counter() - start


def shown(page, lesion: int, kind: str = "frame") -> float:
    """Wait until the strip shows a lesion's pictures at baseline and last visits; return how long that took."""
    return until(
        page,
        f"""[2, 4, 5].every(visit => {{
            const address = `/images/P001/V${{visit}}/{kind}_{lesion:04d}.png`;
            const image = document.querySelector(`#strip img[data-src="${{address}}"]`);
            return image && image.getAttribute("src") === image.dataset.src && image.complete && image.naturalWidth > 0;
        }})""",
    )


def cell(page, lesion: int):
    """Return a cell of a lesion's row."""
    return page.locator(f'#lesions .ag-center-cols-container [row-id="{lesion}"] .ag-cell').first


def pick(page, name: str, text: str) -> None:
    """Choose from one of the lists of the page."""
    page.locator(f"#patient-{name}").click()
    page.locator('.dash-dropdown-content, [role="listbox"]').get_by_text(text, exact=True).first.click()


def test_a_lesion_by_mouse(page):
    """A click shows the pictures of that lesion at all visits, and none of another."""
    shown(page, 1)
    cell(page, 2).click()
    assert shown(page, 2) < STRIP_S
    assert page.locator("#strip-title").inner_text() == "Lesion 2 at all visits"
    assert page.locator("#strip figure").count() == 5
    assert page.locator('#strip img[src*="_0001"]').count() == 0
    assert "resolved" in page.locator("#strip figure").last.inner_text()


def test_a_lesion_by_keys(page):
    """Arrow keys in the table, and j and k anywhere, go from lesion to lesion."""
    cell(page, 1).click()
    shown(page, 1)
    page.keyboard.press("ArrowDown")
    until(page, "document.querySelector('#strip-title').innerText.startsWith('Lesion 4 ')")
    page.keyboard.press("ArrowDown")
    shown(page, 3)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("k")
    page.keyboard.press("k")
    shown(page, 1)


def test_letters_in_a_field_pick_no_lesion(page):
    """Who searches for a word with j in it stays where he is."""
    page.locator("#lesions-search").click()
    page.keyboard.type("jk")
    until(page, "document.querySelector('#lesions-found').innerText === '0 lesions'")
    assert page.locator("#strip-title").inner_text() == "Lesion 1 at all visits"
    page.locator("#lesions-search").fill("calf")
    until(page, "document.querySelector('#lesions-found').innerText === '2 lesions'")


def test_native_pictures_on_choice(page):
    """The switch changes all pictures of the strip, and words stand where there is none."""
    page.locator("#strip-source label").nth(1).click()
    shown(page, 1, "lesion")
    cell(page, 12).click()
    until(page, "document.querySelector('#strip').innerText.includes('this scan did not cover its place')")
    assert page.locator("#strip img").count() == 0


def test_pictures_keep_their_place(page):
    """The place of a picture has its height before the picture is there: nothing jumps."""
    box = page.locator("#strip img").last.bounding_box()
    assert box["height"] == pytest.approx(box["width"] * SIDES[1] / SIDES[0], rel=0.02)


def test_quantity_and_time_change_the_figure(page):
    """Figure, verdict and words follow the choice."""
    assert "increased by" in page.locator("#patient-verdict").inner_text()
    pick(page, "quantity", "Mass")
    until(page, "document.querySelector('#patient-figure .ytitle').textContent === 'Mass (mg)'")
    assert "No comparison" in page.locator("#patient-verdict").inner_text()
    pick(page, "time", "age")
    until(
        page, "document.querySelector('#patient-figure .xtitle, #patient-figure .g-xtitle').textContent.includes('Age')"
    )
    until(page, "document.querySelector('#tree-figure .g-xtitle').textContent.includes('Age')")
    pick(page, "compartment", "every compartment")
    until(
        page,
        "document.querySelectorAll('#patient-figure .subplot, #patient-figure .cartesianlayer > .subplot').length >= 3",
    )


def test_a_mark_of_the_tree_picks_its_lesion(page):
    """The family tree leads to the pictures."""
    page.locator("#tree-figure").scroll_into_view_if_needed()
    page.wait_for_timeout(200)
    point = page.locator("#tree-figure .scatterlayer .trace").last.locator("path.point").last.bounding_box()
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_selector("#tree-figure .hoverlayer .hovertext")
    page.mouse.down()
    page.mouse.up()
    until(page, "document.querySelector('#strip-title').innerText.startsWith('Lesion 7 ')")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("kind", "starts"), [("SVG", b"<svg"), ("PNG", b"\x89PNG")])
def test_a_figure_is_saved_dark_on_white(page, tmp_path, theme, kind, starts):
    """The file names nobody, and its ink is dark on white in the dark as well."""
    page.emulate_media(color_scheme=theme)
    with page.expect_download() as waited:
        page.locator(".trajectory .saving button", has_text=kind).click()
    assert waited.value.suggested_filename == f"calcitrack-trajectory.{kind.lower()}"
    saved = tmp_path / "figure"
    waited.value.save_as(saved)
    content = saved.read_bytes()
    assert content.startswith(starts)
    assert b"P001" not in content
    if kind == "SVG":
        text = content.decode()
        assert "Research use only" in text
        inks = set(re.findall(r"<text[^>]*?fill: (rgb\([^)]*\))", text))
        assert inks == {"rgb(28, 33, 38)"}
        assert "fill: rgb(255, 255, 255)" in text


def test_the_tab_key_reaches_all_and_leaves_the_table(page):
    """Every list of choices, box, button and table is a stop, and the table of lesions is one, not one a cell."""
    page.locator('nav[aria-label="Patients"] a').last.focus()
    stops = []
    for _ in range(60):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.closest('[id]').id"))
        if stops[-1] == "tree-more":
            break
    for name in ("quantity", "norm", "compartment", "scale", "time", "score", "extras"):
        assert f"patient-{name}" in stops
    assert {"lesions-search", "strip-source", "strip", "tree-more"} <= set(stops)
    assert stops.count("lesions") <= 4


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_for_everybody(page, axe, theme):
    """No rule of WCAG 2.2 up to AA is broken."""
    page.emulate_media(color_scheme=theme)
    page.wait_for_timeout(300)
    assert axe(page) == []


def test_the_next_patient(page, address):
    """The links lead through the patients in the order of ids, and back to all."""
    page.get_by_title("Next patient").click()
    until(page, "document.querySelector('#patient-title')?.innerText === 'P002'")
    assert page.url == f"{address}/patient/P002"
    assert page.title() == "calcitrack"
    assert "slice spacing" in page.locator("#patient-page").inner_text()
    until(page, "document.querySelector('#strip-title').innerText === 'Lesion 1 at all visits'")
    assert page.locator('#strip [data-src*="P001"]').count() == 0


def wait_for(page, held) -> None:
    """Wait until a request is held back."""
    for _ in range(200):
        if held:
            return
        page.wait_for_timeout(20)
    pytest.fail("nothing was asked for")


def test_a_late_answer_is_not_shown_as_another_patients(page):
    """What was asked for P001 and comes when P002 is shown gives way to what P002 has."""
    held = []
    page.route(re.compile("_dash-update-component"), lambda route: hold(route, held))
    pick(page, "quantity", "Mass")
    wait_for(page, held)
    page.get_by_title("Next patient").click()
    until(page, "document.querySelector('#patient-title')?.innerText === 'P002'")
    held[0].continue_()
    page.wait_for_load_state("networkidle")
    until(page, "document.querySelector('#patient-figure .ytitle').textContent === 'Volume of mineral (mm³)'")
    until(page, "document.querySelector('#patient-words').innerText.includes('460')")
    assert "V5" not in page.locator("#patient-verdict").inner_text()


def test_a_late_tree_is_not_shown_as_another_patients(browser, serve, tmp_path):
    """The family tree that was asked for P001 and comes on the page of P002 gives way to that of P002."""
    found = rich_tables()
    went = pd.DataFrame([{"patient_id": "P002", "visit_id": "V2", "lesion_id": 1, "kind": "resolved"}])
    joined = pd.concat([found["lineage"], tables.check(went, "lineage")], ignore_index=True)
    address = serve(create_app(write(tmp_path / "results", {**found, "lineage": joined})))
    held = []
    with browser.new_context(viewport={"width": 1400, "height": 1000}) as context:
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto(f"{address}/patient/P001")
        page.wait_for_selector("#tree-figure .scatterlayer .trace path.point")
        page.wait_for_load_state("networkidle")
        page.route(re.compile("_dash-update-component"), lambda route: hold(route, held, "tree-figure.figure"))
        page.locator("#tree-more input").check()
        wait_for(page, held)
        page.get_by_title("Next patient").click()
        until(page, "document.querySelector('#patient-title')?.innerText === 'P002'")
        with page.expect_response(lambda answer: answer.request == held[0].request):
            held[0].continue_()
        # The late answer may stand there for a moment; the own one follows and stays.
        page.wait_for_timeout(500)
        page.wait_for_load_state("networkidle")
        until(page, "document.querySelector('#tree-words').innerText.startsWith('Lesion 1 resolved at V2')")
        until(page, "document.querySelectorAll('#tree-figure .ytick').length === 1")


def hold(route, held: list, asked: str = "patient-figure.figure") -> None:
    """Keep the first question for a figure, and let all others go."""
    if not held and asked in (route.request.post_data or ""):
        held.append(route)
    else:
        route.continue_()

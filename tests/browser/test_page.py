"""The page in a browser: what a person picks is what the page shows, and nothing leaves the machine."""

import re
import shutil
import threading

import numpy as np
import pytest
import SimpleITK as sitk
import waitress

from dashboard import create_app
from monitor import figures, grid
from tests.dashboard.made import write_results

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests are driven by playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"),
]

FLAGS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-3d-apis"),
]
"""A quiet browser, and one without WebGL, as on many desktops in a clinic."""

PATIENCE_MS = 30_000
"""How long a part of the page may take to appear on a busy machine."""


def drawn_lesion() -> bytes:
    """Return a picture of a small lesion."""
    hu = np.full((5, 60, 60), 40, np.int16)
    hu[2, 25:35, 25:35] = 600
    image = sitk.GetImageFromArray(hu)
    return figures.lesion_picture(image, hu > 500, centre_mm=grid.to_mm(image, np.array([[2, 30, 30]]))[0])


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Serve made-up results on a free port."""
    png = drawn_lesion()
    names = [f"P001/V{visit}/lesion_{lesion:04d}.png" for visit in range(1, 6) for lesion in (1, 2, 3)]
    pictures = dict.fromkeys([*names, "P001/V5/qc.png"], png)
    app = create_app(write_results(tmp_path_factory.mktemp("page") / "results", pictures))
    server = waitress.create_server(app.server, host="127.0.0.1", port=0, threads=6)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()
    thread.join(timeout=5)


@pytest.fixture(scope="module")
def browser():
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, address):
    """Open a page that notes what goes wrong and where it asks; afterwards nothing may have."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    troubles, asked = [], []
    page.on("console", lambda message: troubles.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("response", lambda answer: troubles.append(answer.url) if answer.status >= 400 else None)
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert troubles == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def row(page, grid_id: str, key: str):
    """Return a row of a table by its key, in the part that scrolls."""
    return page.locator(f'#{grid_id} .ag-center-cols-container [row-id="{key}"]')


def loaded(page, side: str) -> str:
    """Wait until a picture was decoded, and return its address."""
    image = page.locator(f"#{side}-picture img")
    image.wait_for()
    image.evaluate("image => image.decode()")
    assert image.evaluate("image => image.naturalWidth") > 100
    return image.get_attribute("src")


def test_from_the_cohort_to_a_lesions_slices(page, address):
    """Pick a patient, then a lesion: both pictures change; the address names the patient, the title does not."""
    page.goto(address)
    page.wait_for_selector("#cohort-figure .scatterlayer .trace path.js-line")
    assert page.locator("#nobody").is_visible()
    row(page, "patients", "P001").click()
    page.wait_for_selector("#patient-figure .scatterlayer .trace path.point")
    assert page.locator("#patient-title").inner_text() == "P001"
    # A place without a height of its own lets the key below run over the figure, on some machines and not on others.
    drawn, place = (page.locator(part).first.bounding_box() for part in ("#patient-figure .main-svg", "#patient-place"))
    assert place["height"] == drawn["height"] > 300
    assert "increased by" in page.locator("#verdict").inner_text()
    assert "P001 is highlighted" in page.locator("#cohort-words").inner_text()
    assert loaded(page, "left") == "/images/P001/V2/lesion_0001.png"
    row(page, "lesions", "2").click()
    sync_api.expect(page.locator("#right-picture")).to_contain_text("resolved")
    assert loaded(page, "right") == "/images/P001/V5/lesion_0002.png"
    assert page.url == f"{address}/patient/P001"
    assert page.title() == "calcitrack"


def test_a_point_of_the_figure_opens_its_patient(page, address):
    """A click on a trajectory picks the patient that it belongs to, and the table follows."""
    page.goto(address)
    page.wait_for_selector("#cohort-figure .scatterlayer .trace path.point")
    points = page.locator("#cohort-figure .scatterlayer .trace").first.locator("path.point")
    box = points.last.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#cohort-figure .hoverlayer .hovertext")
    page.mouse.down()
    page.mouse.up()
    sync_api.expect(page.locator("#patient-title")).to_have_text(re.compile("P0"))
    patient = page.locator("#patient-title").inner_text()
    sync_api.expect(row(page, "patients", patient)).to_have_class(re.compile("ag-row-selected"))


def test_a_lesion_that_was_not_imaged_is_said_in_words(page, address):
    """Not in the field is words, not a broken picture."""
    page.goto(f"{address}/patient/P001")
    row(page, "lesions", "12").click()
    sync_api.expect(page.locator("#right-picture")).to_contain_text("did not cover the place")
    assert page.locator("#right-picture img").count() == 0


def test_the_quantity_changes_figure_table_and_verdict(page, address):
    """The choice of a quantity is followed everywhere."""
    page.goto(f"{address}/patient/P001")
    page.wait_for_selector("#patient-figure .scatterlayer .trace path.point")
    page.locator("#quantity").click()
    page.get_by_text("Mass", exact=True).click()
    for name in ("cohort", "patient"):
        sync_api.expect(page.locator(f"#{name}-figure .ytitle")).to_have_text("Mass (mg)")
    sync_api.expect(page.locator("#verdict")).to_contain_text("No comparison with the baseline")


@pytest.mark.parametrize(("patient", "said"), [("P003", "One visit"), ("P900", "No visit was measured"), ("P004", "=")])
def test_sparse_patients_have_a_page(page, address, patient, said):
    """One visit, none, and no lesions are ordinary."""
    page.goto(f"{address}/patient/{patient}")
    sync_api.expect(page.locator("#verdict")).to_contain_text(said)
    sync_api.expect(page.locator("#patient-title")).to_have_text(patient)


def test_the_keyboard_is_enough(page, address):
    """A patient can be picked in the table without a mouse, and what has the focus is seen."""
    page.goto(address)
    row(page, "patients", "P002").wait_for()
    page.locator('#patients .ag-row[row-id="P001"] [col-id="patient_id"]').focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    sync_api.expect(page.locator("#patient-title")).to_have_text("P002")

"""Between the pages: the way there and back, the theme, and what is said when the results change or the server goes."""

import pytest

from dashboard import create_app
from tests.browser.conftest import PATIENCE_MS
from tests.dashboard.made import write_results

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests are driven by playwright")
pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    return write_results(tmp_path / "results")


@pytest.fixture
def address(folder, serve):
    return serve(create_app(folder))


@pytest.fixture
def page(browser, address):
    """Open a page that notes where it asks; afterwards it may have asked this server alone."""
    with browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light") as context:
        context.set_default_timeout(PATIENCE_MS)
        page, asked = context.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        yield page
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def test_there_and_back(page, address):
    """From a patient to the next, to all and back by the browser's button; no title or store tells who was seen."""
    page.goto(f"{address}/patient/P001")
    sync_api.expect(page.locator("#patient-title")).to_have_text("P001")
    page.get_by_title("Next patient").click()
    sync_api.expect(page.locator("#patient-title")).to_have_text("P002")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Patients").click()
    page.wait_for_selector("#cohort-figure .main-svg")
    page.go_back()
    sync_api.expect(page.locator("#patient-title")).to_have_text("P002")
    assert page.title() == "calcitrack"
    kept = page.evaluate("[...Object.entries({...localStorage}), ...Object.entries({...sessionStorage})].join()")
    assert "P00" not in kept


def test_the_theme_is_kept_and_nothing_else(page, address):
    """The button says what it changes to; the choice outlives the page."""
    page.goto(address)
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    sync_api.expect(page.get_by_role("button", name="Light")).to_be_visible()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("Object.entries({...localStorage})") == [["calcitrack-theme", "dark"]]


def test_who_is_unknown_is_said(page, address):
    """An address that names nobody leads on to all patients."""
    page.goto(f"{address}/patient/P999")
    sync_api.expect(page.locator("h1")).to_have_text("No such page")
    page.get_by_role("link", name="To all patients").click()
    page.wait_for_selector("#cohort-figure .main-svg")


def test_results_that_were_published_anew_are_told(page, address, folder):
    """What stands on the page is of the run before: the next answer says so."""
    page.goto(f"{address}/patient/P001")
    page.wait_for_selector("#patient-figure .main-svg")
    run = folder / "run.json"
    run.write_text(run.read_text(encoding="utf-8").replace("2026-11-23", "2026-11-24"), encoding="utf-8")
    page.get_by_label("dose").check()
    sync_api.expect(page.locator("#trouble")).to_contain_text("published anew")


def test_a_server_that_is_gone_is_told(page, address):
    """A choice without an answer is not left without a word."""
    page.goto(f"{address}/patient/P001")
    page.wait_for_selector("#patient-figure .main-svg")
    page.route("**/_dash-update-component*", lambda route: route.abort())
    page.get_by_label("dose").check()
    sync_api.expect(page.locator("#trouble")).to_contain_text("does not answer")

"""Everybody can use every page: axe-core finds nothing, light and dark; the door opens by keyboard; pages are small."""

import pytest

from dashboard import create_app
from dashboard.access import Access
from tests.browser.conftest import PATIENCE_MS
from tests.dashboard.guarded import TOKEN, guarded
from tests.dashboard.made import PNG, write_results

pytestmark = pytest.mark.slow

PAGES = ["/", "/patient/P001"]
THEMES = ["light", "dark"]

MOST_BYTES = 1_800_000
"""What a page may send, packed, without pictures of scans."""


@pytest.fixture(scope="module")
def address(tmp_path_factory, serve):
    """Serve made-up results."""
    pictures = {f"P001/V{visit}/lesion_{lesion:04d}.png": PNG for visit in range(1, 6) for lesion in (1, 2, 3)}
    return serve(create_app(write_results(tmp_path_factory.mktemp("access") / "results", pictures)))


@pytest.fixture
def door(tmp_path, serve):
    """Serve a small page that asks for a token."""
    return serve(guarded(tmp_path, Access(token=TOKEN)).app)


@pytest.fixture
def page(browser):
    """Open a page whose troubles are told afterwards."""
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        context.set_default_timeout(PATIENCE_MS)
        page, troubles = context.new_page(), []
        page.on("console", lambda said: troubles.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        yield page
        assert troubles == []


def drawn(page, url: str) -> None:
    """Go to a page, and wait until its figures stand still."""
    page.goto(url)
    page.wait_for_selector(".js-plotly-plot .main-svg")
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_for_everybody(page, address, axe, path, theme):
    """No rule of WCAG 2.2 up to AA is broken, and none of good practice."""
    page.emulate_media(color_scheme=theme)
    drawn(page, address + path)
    assert axe(page) == []


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("token", ["", "wrong"])
def test_the_door_is_for_everybody(browser, door, axe, theme, token):
    """The page that asks for the token breaks no rule either, nor when it says that the token was wrong."""
    with browser.new_context(color_scheme=theme) as context:
        page = context.new_page()
        page.goto(door)
        if token:
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("alert").wait_for()
        assert axe(page) == []


def test_the_door_opens_by_keyboard(page, door):
    """The field has the focus; Enter leads to the page that was asked for; nothing is left in the address."""
    page.goto(f"{door}/patient/P001")
    page.locator("#token:focus").wait_for()
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    page.get_by_text("a patient's data").wait_for()
    assert page.url == f"{door}/patient/P001"
    page.locator("#in").fill("asked")
    page.locator("#out", has_text="asked").wait_for()
    assert TOKEN not in page.content()


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_small_and_draw_with_the_bundle_beside(page, address, path):
    """At most 1.8 MB come over the line, packed; the default bundle of plotly.js, of 4.5 MB, is not asked for."""
    wire = page.context.new_cdp_session(page)
    wire.send("Network.enable")
    names, sizes = {}, {}
    wire.on("Network.responseReceived", lambda told: names.update({told["requestId"]: told["response"]["url"]}))
    wire.on("Network.loadingFinished", lambda told: sizes.update({told["requestId"]: told["encodedDataLength"]}))
    drawn(page, address + path)
    assert sum(size for key, size in sizes.items() if "/images/" not in names[key]) <= MOST_BYTES
    assert [name for name in names.values() if name.partition("?")[0].endswith("plotly.min.js")] == []
    assert [name for name in names.values() if "/assets/vendor/plotly-cartesian-" in name]
    assert [name for name in names.values() if not name.startswith((address, "data:", "blob:"))] == []

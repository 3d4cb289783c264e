"""A browser, pages served to it, and axe-core for the rules of access."""

import contextlib
import importlib.resources
import shutil
import threading

import pytest
import waitress

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

FLAGS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-3d-apis"),
]
"""A quiet browser, and one without WebGL, as on many desktops in a clinic."""

PATIENCE_MS = 30_000
"""How long a part of the page may take to appear on a busy machine."""

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""What axe-core looks at: WCAG 2.2 up to AA, and what is good beside."""


@pytest.fixture(scope="module")
def browser():
    """Open a browser, or skip with the reason."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests are driven by playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def serve():
    """Return a function that serves a Dash application until the module ends, and returns its address."""
    with contextlib.ExitStack() as running:

        def start(app) -> str:
            server = waitress.create_server(app.server, host="127.0.0.1", port=0, threads=6)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            running.callback(thread.join, timeout=5)
            running.callback(server.close)
            return f"http://127.0.0.1:{server.effective_port}"

        yield start


@contextlib.contextmanager
def watched(browser, address: str, *, width: int, height: int):
    """Open a page; afterwards nothing may have gone wrong on it, or been asked of another host."""
    with browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True) as context:
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        troubles, asked = [], []
        page.on("console", lambda said: troubles.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("response", lambda answer: troubles.append(answer.url) if answer.status >= 400 else None)
        page.on("request", lambda request: asked.append(request.url))
        yield page
        assert troubles == []
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@pytest.fixture(scope="session")
def axe():
    """Return a function that returns what axe-core finds wrong with a page: rule, how bad, and where, one line each."""
    package = pytest.importorskip("axe_playwright_python", reason="the rules of access are those of axe-core")
    source = (importlib.resources.files(package) / "axe.min.js").read_text(encoding="utf-8")

    def violations(page) -> list[str]:
        # Said to the browser directly: the page's own policy allows no script from elsewhere.
        page.evaluate(source)
        found = page.evaluate(
            "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations', 'passes']})", RULES
        )
        assert found["passes"], "axe-core looked at nothing"
        return [
            f"{rule['id']} ({rule['impact']}): {node['target']} {node['failureSummary']}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    return violations

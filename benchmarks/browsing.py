"""How long the pages take in a browser with an empty cache and without WebGL, and what they send."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError
from rich.console import Console
from rich.table import Table

from monitor import store

SERVER = (sys.executable, "-m", "dashboard")
"""Starts the dashboard; folder and port follow."""

COHORT_FIGURE = "#cohort-figure"
CONDITION = "#cohort-condition"
OPTION = ".dash-dropdown-option"
PATIENT_FIGURE = "#patient-figure"
LESION = "#lesions .ag-row:not(.ag-row-selected):is([row-id='1'], [row-id='2'], [row-id='3'], [row-id='4']) .ag-cell"
STRIP = "#strip"
DRAWN = ".scatterlayer path, .fills path, .barlayer path"
"""Where the pages hold what is measured."""

TARGETS = {
    "server start": (None, None),
    "cohort: first graph": (2.5, None),
    "cohort: a condition chosen": (0.3, 0.5),
    "patient: first graph": (1.5, 1.5),
    "patient: another one": (0.3, 0.3),
    "lesion: click to pictures": (0.25, 0.25),
}
"""Most seconds, of 1,000 patients and of more (issue 8)."""

MOST_BYTES = 1.8e6
"""Most bytes of a page as they are sent, without images (issue 8)."""

MANY = 2_000
"""Patients from which on the second target holds."""

RUNS = 3
"""How often each is measured; the median is told."""

PATIENCE_S = 60
"""How long anything may take before it is given up."""

SHORT_MS = 15_000
"""How long a click on a lesion may take before it is given up: results may be without pictures."""

FLAGS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-3d-apis", "--disable-gpu"),
]
"""A quiet browser without WebGL."""

NOTE_FIRST = """
const look = () => {
    for (const [name, selector] of Object.entries(SELECTORS)) {
        if (!(name in window.first) && document.querySelector(selector)) window.first[name] = performance.now();
    }
    requestAnimationFrame(look);
};
window.first = {};
look();
"""
"""Notes when each part was first there, milliseconds from the start of the navigation."""

STATE = """
drawn => [...document.querySelectorAll(drawn)]
    .map(path => path.getAttribute("d")).join("|")
"""
"""What a figure shows, as one text."""

UNTIL_CHANGED = """
([drawn, before, patience]) => new Promise((resolve, reject) => {
    const started = performance.now();
    const look = () => {
        const now = [...document.querySelectorAll(drawn)].map(path => path.getAttribute("d")).join("|");
        if (now && now !== before) resolve(performance.now() - window.clicked);
        else if (performance.now() - started > patience) reject(new Error(`${drawn} did not change`));
        else requestAnimationFrame(look);
    };
    look();
})
"""

PICTURES = """
strip => [...document.querySelectorAll(`${strip} img`)].filter(image => image.getAttribute("src"))
    .map(image => image.currentSrc || image.src).join("|")
"""
"""Which pictures are shown, as one text."""

UNTIL_PICTURES = """
([strip, before, patience]) => new Promise((resolve, reject) => {
    const started = performance.now();
    const look = () => {
        const images = [...document.querySelectorAll(`${strip} img`)].filter(image => image.getAttribute("src"));
        const shown = images.map(image => image.currentSrc || image.src).join("|");
        if (shown && shown !== before && images.every(image => image.complete && image.naturalWidth > 0))
            resolve(performance.now() - window.clicked);
        else if (performance.now() - started > patience) reject(new Error(`no new pictures in ${strip}`));
        else requestAnimationFrame(look);
    };
    look();
})
"""

NOTE_CLICKS = "window.addEventListener('pointerdown', () => { window.clicked = performance.now(); }, true);"

GO = """
address => {
    window.clicked = performance.now();
    window.history.pushState({}, "", address);
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
    window.scrollTo(0, 0);
}
"""
"""Goes to another page as a link of the page does."""


@dataclass
class Seen:
    """What was measured: seconds by name, and what went over the wire on each page."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    sent: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    peak_mib: float = 0.0

    def note(self, name: str, seconds: float) -> None:
        """Keep one measurement."""
        self.seconds.setdefault(name, []).append(seconds)


@dataclass
class Wire:
    """Requests of a page, their bytes as sent, and those of images."""

    requests: int = 0
    bytes: int = 0
    images: int = 0


def measure(folder: Path, console: Console) -> Seen:
    """Start the dashboard on a results folder, visit its pages, and print what they take."""
    ids = store.read_table(folder, "patients", columns=["patient_id"])["patient_id"].tolist()
    seen = Seen()
    with _served(folder, seen) as address, sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for _ in range(RUNS):
            for part in (_cohort, _patient):
                with _visited(browser, address, seen) as context:
                    part(context, address, ids, seen)
        browser.close()
    _print(seen, len(ids), console)
    return seen


@contextlib.contextmanager
def _served(folder: Path, seen: Seen) -> Iterator[str]:
    """Run the dashboard in a process of its own; note how long it takes to answer, and its peak of memory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    start = time.perf_counter()
    server = subprocess.Popen([*SERVER, str(folder), "--port", str(port)], stderr=subprocess.PIPE, text=True)
    try:
        while not _answers(address):
            if server.poll() is not None or time.perf_counter() - start > PATIENCE_S:
                raise RuntimeError(f"the dashboard must answer at {address}; {server.stderr and server.stderr.read()}")
            time.sleep(0.02)
        seen.note("server start", time.perf_counter() - start)
        yield address
        status = Path(f"/proc/{server.pid}/status").read_text()
        seen.peak_mib = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
    finally:
        server.terminate()
        server.wait(10)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=1) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


@contextlib.contextmanager
def _visited(browser: Browser, address: str, seen: Seen) -> Iterator[BrowserContext]:
    """Give a context with an empty cache; what went wrong in it is noted, and the rest goes on."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(PATIENCE_S * 1000)
    selectors = {name: _drawn(name) for name in (COHORT_FIGURE, PATIENT_FIGURE)}
    context.add_init_script(f"(() => {{ const SELECTORS = {selectors!r}; {NOTE_FIRST} {NOTE_CLICKS} }})()")
    host = urlsplit(address).netloc

    def asked(url: str) -> None:
        if url.startswith("http") and urlsplit(url).netloc != host:
            seen.foreign.add(urlsplit(url).netloc)

    context.on("request", lambda request: asked(request.url))
    context.on("console", lambda said: seen.troubles.append(said.text) if said.type == "error" else None)
    context.on("weberror", lambda error: seen.troubles.append(str(error.error)))
    try:
        yield context
    except PlaywrightError as error:
        seen.troubles.append(str(error).splitlines()[0])
    finally:
        context.close()


def _wired(page: Page) -> Wire:
    """Count what a page asks for from now on, in bytes as they are sent."""
    wire, images = Wire(), set()
    session = page.context.new_cdp_session(page)

    def answered(event: dict) -> None:
        if event["response"]["mimeType"].startswith("image/"):
            images.add(event["requestId"])

    def ended(event: dict) -> None:
        wire.requests += 1
        wire.bytes += int(event["encodedDataLength"])
        wire.images += int(event["encodedDataLength"]) if event["requestId"] in images else 0

    session.on("Network.responseReceived", answered)
    session.on("Network.loadingFinished", ended)
    session.send("Network.enable")
    return wire


def _first(page: Page, address: str, figure: str) -> float:
    """Open a page; return the seconds from the start of the navigation to the first line of a figure."""
    page.goto(address, wait_until="commit")
    page.locator(_drawn(figure)).first.wait_for(state="attached")
    return float(page.evaluate("name => window.first[name]", figure)) / 1000


def _drawn(figure: str) -> str:
    """Return the selector of what is drawn in a figure.

    >>> _drawn("#f").split(", ")[0]
    '#f .scatterlayer path'
    """
    return ", ".join(f"{figure} {part}" for part in DRAWN.split(", "))


def _cohort(context: BrowserContext, address: str, ids: list[str], seen: Seen) -> None:
    """Open the cohort, and choose a condition, then another."""
    page = context.new_page()
    wire = _wired(page)
    seen.note("cohort: first graph", _first(page, f"{address}/", COHORT_FIGURE))
    page.wait_for_load_state("networkidle")
    seen.sent[f"cohort of {len(ids)}"] = (wire.bytes, wire.images, wire.requests)
    for number in (1, 2):
        before = page.evaluate(STATE, _drawn(COHORT_FIGURE))
        page.locator(CONDITION).click()
        page.locator(OPTION).nth(number).click()
        took = page.evaluate(UNTIL_CHANGED, [_drawn(COHORT_FIGURE), before, PATIENCE_S * 1000])
        seen.note("cohort: a condition chosen", took / 1000)
        page.wait_for_load_state("networkidle")
        page.keyboard.press("Escape")


def _patient(context: BrowserContext, address: str, ids: list[str], seen: Seen) -> None:
    """Open a patient, show a lesion's pictures, then go to two others."""
    page = context.new_page()
    wire = _wired(page)
    seen.note("patient: first graph", _first(page, f"{address}/patient/{ids[0]}", PATIENT_FIGURE))
    page.wait_for_load_state("networkidle")
    seen.sent["a patient"] = (wire.bytes, wire.images, wire.requests)
    with contextlib.suppress(PlaywrightError):  # without pictures the rest still counts
        before = page.evaluate(PICTURES, STRIP)
        page.locator(LESION).first.click(timeout=SHORT_MS)
        took = page.evaluate(UNTIL_PICTURES, [STRIP, before, SHORT_MS])
        seen.note("lesion: click to pictures", took / 1000)
        page.wait_for_load_state("networkidle")
    for other in (ids[1], ids[len(ids) // 2]):
        before = page.evaluate(STATE, _drawn(PATIENT_FIGURE))
        page.evaluate(GO, f"/patient/{other}")
        took = page.evaluate(UNTIL_CHANGED, [_drawn(PATIENT_FIGURE), before, PATIENCE_S * 1000])
        seen.note("patient: another one", took / 1000)
        page.wait_for_load_state("networkidle")


def _print(seen: Seen, patients: int, console: Console) -> None:
    """Print the medians beside the targets, and what went over the wire."""
    table = Table("what", "median", "worst", "target", "", title=f"{patients} patients, empty cache, no WebGL")
    for name, targets in TARGETS.items():
        target = targets[patients > MANY]
        took = seen.seconds.get(name)
        if not took:
            table.add_row(name, "not there", "", "" if target is None else f"{target} s", "no")
            continue
        middle = statistics.median(took)
        met = "" if target is None else "yes" if middle <= target else "no"
        table.add_row(name, f"{middle:.2f} s", f"{max(took):.2f} s", "" if target is None else f"{target} s", met)
    for name, (sent, images, requests) in seen.sent.items():
        own = sent - images
        met = "yes" if own <= MOST_BYTES else "no"
        table.add_row(f"{name}: sent without images", f"{own / 1e6:.2f} MB", "", f"{MOST_BYTES / 1e6} MB", met)
        table.add_row(f"{name}: images", f"{images / 1e6:.2f} MB", "", "", "")
        table.add_row(f"{name}: requests", str(requests), "", "", "")
    table.add_row("server: most memory", f"{seen.peak_mib:.0f} MiB", "", "", "")
    for name, found in (("requests to other hosts", seen.foreign), ("console errors", seen.troubles)):
        table.add_row(name, str(len(found)), "", "0", "no" if found else "yes")
    console.print(table)
    for trouble in [*sorted(seen.foreign), *dict.fromkeys(seen.troubles)]:
        console.print(trouble, style="red", markup=False)

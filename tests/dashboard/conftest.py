"""Made-up results, the application on them, and a browser's part of the conversation."""

import pytest
from flask.testing import FlaskClient

from dashboard import create_app
from monitor.store import read_results
from tests.dashboard.made import PNG, write_empty, write_results

PICTURES = {f"P001/{name}": PNG for name in ("V2/lesion_0001.png", "V5/lesion_0001.png", "V5/qc.png")}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Make a results folder with every state that the page must show."""
    return write_results(tmp_path_factory.mktemp("made") / "results", PICTURES)


@pytest.fixture(scope="session")
def results(folder):
    return read_results(folder)


@pytest.fixture(scope="session")
def nothing(tmp_path_factory):
    """Results in which nobody was measured."""
    return read_results(write_empty(tmp_path_factory.mktemp("made") / "empty"))


class Reading(FlaskClient):
    """Reads every answer to its end, as a browser does, so that files are closed."""

    def open(self, *args, **options):
        return super().open(*args, **{"buffered": True, **options})


@pytest.fixture(scope="session")
def app(folder):
    made = create_app(folder)
    made.server.test_client_class = Reading
    return made


@pytest.fixture
def stranger(app):
    """Make a client that never asked for the page."""
    return app.server.test_client()


@pytest.fixture
def client(app):
    """Make a client that opened the page and so holds the cookie."""
    browser = app.server.test_client()
    assert browser.get("/").status_code == 200
    return browser

"""The application as a browser meets it."""

import json
import re

import pytest

from dashboard import app as application
from dashboard import create_app, guard, serve, shell
from dashboard.access import Access
from monitor.store import StoreError
from tests.dashboard.made import write_empty, write_results


def callback(client, app, output: str, **inputs: object):
    """Ask a callback as the page does."""
    found = next(key for key in app.callback_map if output in key)
    known = app.callback_map[found]["inputs"], app.callback_map[found]["state"]
    values = [[{**one, "value": inputs.get(f"{one['id']}.{one['property']}")} for one in part] for part in known]
    outputs = [dict(zip(("id", "property"), one.split("."), strict=True)) for one in found.strip(".").split("...")]
    one_or_all = outputs if found.startswith("..") else outputs[0]
    asked = {"output": found, "outputs": one_or_all, "inputs": values[0], "state": values[1], "changedPropIds": []}
    token = {guard.CSRF_HEADER: client.get_cookie(Access().csrf_cookie).value}
    return client.post("/_dash-update-component", json=asked, headers=token)


def page(client, app, path: str) -> str:
    """Return the page at an address, as it is sent."""
    answer = callback(client, app, "page.children", **{"place.pathname": path})
    assert answer.status_code == 200
    return json.dumps(answer.get_json()["response"], ensure_ascii=False)


@pytest.mark.parametrize("path", ["/", "/patient/P001"])
def test_the_page_is_plain_and_in_english(client, path):
    """Language, a title without a name, and nothing of the patient in the page itself."""
    html = client.get(path).get_data(as_text=True)
    assert '<html lang="en">' in html
    assert "<title>calcitrack</title>" in html
    assert "P001" not in html


def test_the_page_names_no_other_host(client):
    """No script, style or font comes from elsewhere, and all that is asked for is there."""
    html = client.get("/").get_data(as_text=True)
    sources = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert sources
    for source in sources:
        assert re.match("/[^/]", source)
        assert client.get(source).status_code == 200


def test_styles_fetch_nothing(client):
    """The style sheet has no address in it."""
    css = client.get("/assets/page.css").get_data(as_text=True)
    assert "url(" not in css
    assert "@import" not in css


def test_the_frame_holds_nothing_of_the_patients(client):
    """What every page has comes first; the patients only with the page that shows them."""
    frame = json.dumps(client.get("/_dash-layout").get_json())
    assert "Research use only" in frame
    assert "P00" not in frame


def test_the_page_comes_with_the_frame(client, app):
    """A browser says from which page it asks: that page is in the first answer, and is not asked for again."""
    there = client.get("/_dash-layout", headers={"Referer": "http://localhost/patient/P001"}).get_data(as_text=True)
    assert "patient-figure" in there
    asked = {"place.pathname": "/patient/P001", "shown-path.data": "/patient/P001"}
    assert callback(client, app, "page.children", **asked).get_json()["response"] == {}


def test_the_address_decides_on_the_page(client, app):
    """All patients, one of them, or words where there is none of that name; each comes with its figure in it."""
    everybody, one = page(client, app, "/"), page(client, app, "/patient/P001")
    assert "cohort-figure" in everybody
    assert "patient-figure" not in everybody
    assert "patient-figure" in one
    assert "increased by" in one
    for nobody in ("/patient/P999", "/patient/", "/elsewhere", "/patient/..%2f", None):
        shown = page(client, app, nobody) if nobody else page(client, app, "/nothing")
        assert "No such page" in shown
        assert "figure" not in shown


def test_a_new_run_is_shown_without_a_restart(tmp_path):
    """The results are read anew once they were published anew, and kept while they are swapped."""
    folder = write_empty(tmp_path / "results")
    app = create_app(folder)
    browser = app.server.test_client()
    browser.get("/")
    assert "JDM" not in page(browser, app, "/")
    (folder / "run.json").rename(folder / "aside.json")
    assert browser.get("/_dash-layout").status_code == 200
    write_results(folder)
    assert "JDM" in page(browser, app, "/")


def test_no_results_are_an_error_of_ours_to_tell(tmp_path):
    """A folder without results is refused when the application is made."""
    with pytest.raises(StoreError, match=r"must hold run\.json"):
        create_app(tmp_path)


def test_other_hosts_are_refused_before_anything_listens(folder):
    """The message says why."""
    with pytest.raises(ValueError, match="needs a token"):
        serve(folder, Access(host="0.0.0.0"))


def test_it_listens_where_it_was_told(folder, monkeypatch):
    """Host and port go to the server, which says nothing of itself."""
    asked = {}

    class Server:
        effective_port = 8051

        def run(self):
            asked["run"] = True

    def make(app, **options):
        asked.update(options)
        return Server()

    monkeypatch.setattr(application.waitress, "create_server", make)
    serve(folder, port=8051)
    about = {"threads": application.THREADS, "ident": None, "max_request_body_size": guard.BODY_BYTES}
    assert asked == {"host": "127.0.0.1", "port": 8051, "url_scheme": "http", "run": True, **about}


def test_two_applications_share_nothing(folder):
    """Each has a cookie of its own: nothing lives at the top of a module."""
    cookies = [create_app(folder).server.test_client().get("/").headers["Set-Cookie"] for _ in range(2)]
    assert cookies[0] != cookies[1]
    assert all(cookie.startswith(Access().session_cookie) for cookie in cookies)


def test_it_is_alive(stranger):
    """The sign of life holds no data and needs no cookie."""
    assert stranger.get("/healthz").status_code == 200


def test_an_answer_says_of_which_run_it_is(client, app):
    """A page that was made of another run tells its reader; its frame says of which it is."""
    run = callback(client, app, "page.children", **{"place.pathname": "/"}).headers[shell.RUN_HEADER]
    assert f'"data-run":"{run}"' in client.get("/_dash-layout").get_data(as_text=True).replace(" ", "")

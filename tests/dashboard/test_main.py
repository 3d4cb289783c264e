"""``python -m dashboard``: what is typed, and how it ends when that is wrong."""

import re

import pytest

from dashboard import __main__ as program


def test_arguments_reach_the_server(tmp_path, monkeypatch):
    """Folder, host and port are passed on, with this machine as the default."""
    asked = []
    monkeypatch.setattr(program, "serve", lambda folder, **options: asked.append((folder, options)))
    program.main([str(tmp_path)])
    program.main([str(tmp_path), "--host", "::1", "--port", "0"])
    assert asked == [(tmp_path, {"host": "127.0.0.1", "port": 8050}), (tmp_path, {"host": "::1", "port": 0})]


@pytest.mark.parametrize(("options", "said"), [([], r"must hold run\.json"), (["--port", "x"], "invalid int value")])
def test_wrong_use_ends_with_status_2(tmp_path, capsys, options, said):
    """A folder without results and an odd port are told in one line, without a traceback."""
    with pytest.raises(SystemExit, match="2"):
        program.main([str(tmp_path), *options])
    assert re.search(said, capsys.readouterr().err)


def test_another_machine_is_refused(folder, capsys):
    """The message names the rule."""
    with pytest.raises(SystemExit, match="2"):
        program.main([str(folder), "--host", "0.0.0.0"])
    assert "no sign-in" in capsys.readouterr().err


def test_ctrl_c_is_an_ordinary_end(tmp_path, monkeypatch):
    """The interruption is how it is meant to end."""

    def interrupted(folder, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "serve", interrupted)
    program.main([str(tmp_path)])

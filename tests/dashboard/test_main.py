"""``python -m dashboard``: what is typed, and how it ends when that is wrong."""

import re

import pytest
import typer

from dashboard import __main__ as program
from dashboard.access import Access
from monitor import cli, store

TOKEN = "correct-horse-battery"


@pytest.fixture
def asked(monkeypatch):
    """Note what would be served, with the environment without a token."""
    found = []
    monkeypatch.delenv("CALCITRACK_TOKEN", raising=False)
    monkeypatch.setattr(program, "serve", lambda folder, access, port: found.append((folder, access, port)))
    return found


def test_arguments_reach_the_server(tmp_path, asked):
    """Folder, host and port are passed on, with this machine as the default."""
    program.main([str(tmp_path)])
    program.main([str(tmp_path), "--host", "::1", "--port", "0"])
    assert [(folder, access.host, port) for folder, access, port in asked] == [
        (tmp_path, "127.0.0.1", 8050),
        (tmp_path, "::1", 0),
    ]
    assert [(access.names, access.token, access.https) for _, access, _ in asked] == [((), "", False)] * 2
    assert asked[0][1].mark != asked[1][1].mark


def test_the_token_comes_from_a_file_or_the_environment(tmp_path, asked, monkeypatch):
    """The file wins; its last line break is not part of the token."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}-file\n")
    program.main([str(tmp_path), "--host", "0.0.0.0", "--token-file", str(file)])
    monkeypatch.setenv("CALCITRACK_TOKEN", f"{TOKEN}-variable")
    program.main([str(tmp_path), "--name", "ct.example", "--name", "ct", "--https"])
    program.main([str(tmp_path), "--token-file", str(file)])
    assert [access.token[len(TOKEN) :] for _, access, _ in asked] == ["-file", "-variable", "-file"]
    assert (asked[1][1].names, asked[1][1].https) == (("ct.example", "ct"), True)


def test_the_token_is_no_argument(tmp_path, asked, capsys):
    """All users of a machine see the arguments of its programs."""
    with pytest.raises(SystemExit, match="2"):
        program.main([str(tmp_path), "--token", TOKEN])
    assert asked == []


@pytest.mark.parametrize("content", ["", "\n", "short\n", f"{TOKEN}\n{TOKEN}\n"])
def test_a_bad_token_file_is_refused_unseen(tmp_path, asked, capsys, content):
    """An empty file is no open door, and what it holds is not told."""
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(SystemExit, match="2"):
        program.main([str(tmp_path), "--token-file", str(file)])
    told = capsys.readouterr().err
    assert re.search(r"must hold the token|must be at least 16", told)
    assert not content.strip() or content.strip() not in told
    assert asked == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "x"], "invalid int value"),
        (["--token-file", "/nowhere/token"], "No such file"),
        (["--host", "0.0.0.0"], "needs a token, by --token-file FILE or the environment variable CALCITRACK_TOKEN"),
        (["--name", "ct.example"], "needs a token"),
        (["--name", "https://ct.example"], "without scheme and port"),
    ],
)
def test_wrong_use_ends_with_status_2(tmp_path, asked, capsys, options, said):
    """What is wrong is told in one line, without a traceback, and nothing is served."""
    with pytest.raises(SystemExit, match="2"):
        program.main([str(tmp_path), *options])
    assert said in " ".join(capsys.readouterr().err.split())
    assert asked == []


def test_a_folder_without_results_is_told(tmp_path, capsys, monkeypatch):
    """The message names the file that is missing."""
    monkeypatch.delenv("CALCITRACK_TOKEN", raising=False)
    with pytest.raises(SystemExit, match="2"):
        program.main([str(tmp_path)])
    assert re.search(r"must hold run\.json", capsys.readouterr().err)


def test_ctrl_c_is_an_ordinary_end(tmp_path, monkeypatch):
    """The interruption is how it is meant to end."""

    def interrupted(folder, access, port):
        raise KeyboardInterrupt

    monkeypatch.delenv("CALCITRACK_TOKEN", raising=False)
    monkeypatch.setattr(program, "serve", interrupted)
    program.main([str(tmp_path)])


def test_calcitrack_dashboard_passes_all_on(tmp_path, asked, monkeypatch):
    """The command hands its options to this program, by the name of the token's file and not the token."""
    file, commands = tmp_path / "token", []
    file.write_text(TOKEN)

    class Done:
        returncode = 0

    def run(command, check):
        commands.append(command)
        return Done

    monkeypatch.setattr(store, "read_results", lambda folder: None)
    monkeypatch.setattr(cli.subprocess, "run", run)
    with pytest.raises(typer.Exit):
        cli.dashboard(tmp_path, host="0.0.0.0", port=7, name=["ct.example", "ct"], token_file=file, https=True)
    with pytest.raises(typer.Exit):
        cli.dashboard(tmp_path, port=7)
    assert TOKEN not in " ".join(commands[0])
    for command in commands:
        assert command[1:3] == ["-m", "dashboard"]
        program.main(command[3:])
    (folder, access, port), (_, plain, _) = asked
    assert (folder, port, access.host, access.names) == (tmp_path, 7, "0.0.0.0", ("ct.example", "ct"))
    assert (access.token, access.https) == (TOKEN, True)
    assert plain == Access(mark=plain.mark)

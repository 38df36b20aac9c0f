"""The command line itself: what it imports, how it refuses, what it exits with."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from hamgr.api.requests import VERBS as ORDERS
from hamgr.cli.group import hamgr
from hamgr.cli.main import main
from hamgr.cli.verbs import VERBS
from hamgr.daemon.main import main as hamgrd


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch, tmp_path):
    for name in ("HAMGR_CONFIG", "HAMGR_ETCD_ENDPOINTS", "HAMGR_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_overview_names_every_verb(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in [*VERBS, *ORDERS, "simulate"])


@pytest.mark.parametrize("verb", [verb for verb in [*VERBS, *ORDERS] if verb != "sandbox"])
def test_every_verb_can_be_loaded_and_says_what_it_does(verb, capsys):
    assert main([verb, "--help"]) == 0
    help_text = capsys.readouterr().out
    assert help_text.startswith(f"Usage: hamgr {verb}")


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["stats"], 64, "there is no command 'stats' (did you mean 'status'?)"),
        (["status", "--colour"], 64, "No such option '--colour'"),
        (["move", "db"], 64, "Missing argument 'NODE'"),
        (["status"], 78, "no etcd endpoint is known: set HAMGR_ETCD_ENDPOINTS"),
        (["--config", "gone.yaml", "status"], 66, "the settings file gone.yaml cannot be read"),
        (["verify", "gone.yaml"], 66, "the cluster file gone.yaml cannot be read: No such file"),
        (
            ["fence", "n1"],
            64,
            "Fence n1? Whatever runs there is cut off from its volumes (--dry-run shows how). Say --yes",
        ),
        (["fence", "n1", "n2"], 64, "Got unexpected extra argument (n2)"),
        (["fence", "--confirm", "n1"], 64, "Is n1 off? If not, two writers will destroy data. Say --yes"),
        (["fence", "--confirm", "--dry-run", "n1"], 64, "--dry-run does nothing, --confirm puts your word on record"),
        (["fence", "--confirm", "--level", "volume", "n1"], 64, "--confirm is level manual: leave --level out"),
        (["fence", "--reason", "x", "n1"], 64, "--reason is recorded with --confirm, and with nothing else"),
        (["fence", "--timeout", "nan", "n1"], 64, "'nan' is not a number of seconds"),
        (["fence", "--timeout", "inf", "n1"], 64, "'inf' is not a number of seconds from 1 to 31536000"),
        (["fence", "--timeout", "x", "n1"], 64, "'x' is not a number of seconds"),
        (["fence", "--timeout", "0", "n1"], 64, "'0' is not a number of seconds from 1"),
        (["status", "--watch", "--interval", "nan"], 64, "'nan' is not a number of seconds"),
        (["status", "--watch", "-s"], 64, "--simple and --watch show the cluster in different ways: choose one"),
        (["status", "--watch", "--output", "json"], 64, "--watch and --output json show the cluster in"),
        (["move", "db", "n1", "--lifetime", "soon"], 64, "--lifetime: 'soon' is not a duration"),
        (["ban", "db", "n1", "--lifetime", "0s"], 64, "--lifetime: 0 would be over at once"),
        (["import", "gone.xml"], 66, "the CIB gone.xml cannot be read: No such file"),
        (["simulate", "--why", "db", "gone.xml"], 66, "cannot read gone.xml: No such file"),
    ],
)
def test_refusals_are_one_sentence_and_a_code(arguments, code, complaint, capsys):
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.err.splitlines()[-1].startswith("hamgr")
    assert "  [" not in captured.err
    assert "Traceback" not in captured.err


def test_wrong_settings_are_named(capsys, tmp_path):
    (tmp_path / "bad.yaml").write_text("etcd: [")
    assert main(["--config", "bad.yaml", "status"]) == 78
    assert "bad.yaml:" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text("etcd: {endpoints: ['https://x'], ca: nowhere.crt}")
    assert main(["--config", "bad.yaml", "status"]) == 78
    assert "the etcd CA file" in capsys.readouterr().err


def test_text_that_is_no_utf_8_is_named_wherever_it_comes_from(capsys, tmp_path, monkeypatch):
    (tmp_path / "odd.yaml").write_bytes(b"\xff\xfe")
    assert main(["--config", "odd.yaml", "status"]) == 78
    assert "the settings file odd.yaml is not UTF-8 text" in capsys.readouterr().err
    assert main(["verify", "odd.yaml"]) == 78
    assert "the cluster file in odd.yaml is not UTF-8 text" in capsys.readouterr().err
    with (tmp_path / "odd.yaml").open(encoding="utf-8", errors="surrogateescape") as odd:
        monkeypatch.setattr("sys.stdin", odd)
        assert main(["verify", "-"]) == 78
    assert "the cluster file in standard input is not UTF-8 text" in capsys.readouterr().err


def test_a_settings_file_that_may_not_be_read_says_who_may(capsys, tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "secret.yaml").touch()
    monkeypatch.setattr(Path, "read_text", refuse)
    assert main(["--config", "secret.yaml", "status"]) == 66
    assert "secret.yaml cannot be read: Permission denied; ask as a user who may read it" in capsys.readouterr().err


def test_hamgrd_exits_as_documented_on_a_wrong_command_line(capsys):
    with pytest.raises(SystemExit) as ended:
        hamgrd(["--frob"])
    assert ended.value.code == 64
    assert capsys.readouterr().err.splitlines()[-1] == "hamgrd: unrecognized arguments: --frob"


def test_an_unreachable_etcd_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setenv("HAMGR_ETCD_ENDPOINTS", "http://127.0.0.1:1")
    assert main(["status"]) == 69
    assert "etcd endpoint http://127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize("general", [["--config", "FILE"], ["--config=FILE"]])
def test_the_general_option_stands_before_every_verb_simulate_too(capsys, tmp_path, general):
    file = tmp_path / "hamgrd.yaml"
    file.write_text("cluster: t\netcd: {endpoints: ['http://127.0.0.1:9']}\n")
    for verb in (["simulate", "--live"], ["status"]):
        assert main([*(word.replace("FILE", str(file)) for word in general), *verb]) == 69
        assert "connection refused by etcd endpoint http://127.0.0.1:9" in capsys.readouterr().err


def test_a_file_that_may_not_be_read_is_no_wrong_usage():
    """click would say so; the verbs say it with the system's word and the code for files (66)."""
    verbs = [where for verb, where in VERBS.items() if verb != "sandbox"]  # which has a folder of its own
    commands = [hamgr, *(getattr(import_module(module), name) for module, name, _ in verbs)]
    files = [each.type for command in commands for each in command.params if isinstance(each.type, click.Path)]
    assert len(files) >= 5
    assert not any(kind.readable for kind in files)


def test_a_bug_is_one_line_too(capsys, monkeypatch):
    monkeypatch.setattr("hamgr.cli.status.open_store", lambda _target: 1 / 0)
    assert main(["status"]) == 1
    assert "this should not have happened (ZeroDivisionError" in capsys.readouterr().err


def test_verify_lists_every_problem(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("cluster: c\nnodes: [n1]\nresources: [{id: a, agent: nonsense}, {id: b}]\n")
    assert main(["verify", "c.yaml"]) == 78
    error = capsys.readouterr().err
    assert "2 problems in c.yaml:" in error
    assert "c.yaml:3:28: resources[0].agent: there is no agent 'nonsense'" in error


@pytest.mark.parametrize("verb", [["verify", "c.yaml"], ["apply", "-f", "c.yaml"]])
def test_two_resources_of_one_claim_are_refused(capsys, tmp_path, verb):
    disks = "{id: a, agent: volume, params: {claim: d}}, {id: b, agent: volume, params: {claim: d}}"
    (tmp_path / "c.yaml").write_text(f"cluster: c\nnodes: [n1]\nfencing: {{levels: [volume]}}\nresources: [{disks}]\n")
    assert main(verb) == 78
    assert "resources a and b of agent volume have the same claim 'd' in namespace default" in capsys.readouterr().err


def test_verify_shows_what_was_filled_in(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("cluster: c\nnodes: [n1]\nresources: [{id: a, agent: dummy}]\n")
    assert main(["verify", "c.yaml", "--show"]) == 0
    shown = capsys.readouterr().out
    assert "c.yaml: valid (cluster c, 1 resource)" in shown
    assert "  * a (dummy)" in shown
    assert "monitor interval=10s timeout=20s" in shown
    assert "* resource-stickiness=100" in shown


@pytest.mark.parametrize(
    ("verb", "forbidden"),
    [
        ("status", ("kubernetes", "pydantic", "hamgr.executor", "hamgr.kube")),
        ("events", ("kubernetes", "pydantic", "hamgr.executor", "hamgr.kube")),
        ("fence", ("kubernetes", "pydantic", "hamgr.executor")),
    ],
)
def test_a_verb_imports_what_it_needs_and_nothing_slow(verb, forbidden):
    code = f"""
import json, sys
from hamgr.cli.main import main
main([{verb!r}, "--help"])
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "hamgr.cli." + verb in loaded
    assert loaded.isdisjoint(forbidden)


def test_without_the_sandbox_its_verb_says_where_it_is(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "hamgr_sandbox", None)
    monkeypatch.delitem(sys.modules, "hamgr_sandbox.cli", raising=False)
    assert main(["sandbox", "status"]) == 69
    told = capsys.readouterr().err
    assert told.startswith("hamgr: the sandbox is not installed here")
    assert "`make setup`" in told


def test_simulate_does_without_click():
    code = """
import sys
import types
fake = types.ModuleType("hamgr.cli.simulate")
fake.main = lambda argv: print("simulated", argv, "click" in sys.modules) or 7
sys.modules["hamgr.cli.simulate"] = fake
from hamgr.cli.main import main
sys.exit(main(["simulate", "x.xml"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, "simulated ['x.xml'] False\n")

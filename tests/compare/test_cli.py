"""The command line."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import tfopt.__main__
from tfopt.compare import cli, comparison

QUICK = ["--smoke", "--optimizers", "SGD", "keras:Adam"]


def errors(capsys):
    return capsys.readouterr().err.splitlines()


def run(arguments, **options):
    command = [sys.executable, "-m", "tfopt", "compare", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment(), **options)


def environment():
    """That of a user's shell, in which a child finds the tfopt under test, wherever it runs."""
    own = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return own | {"PYTHONPATH": str(pathlib.Path(tfopt.__file__).parent.parent)}


def test_smoke_end_to_end(data_dir, tmp_path):
    done = run([*QUICK, "--data-dir", data_dir, "--output", "out"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "index.html",
        "results.csv",
        "results.json",
        "runs",
    }
    assert str(tmp_path / "out" / "index.html") in done.stdout
    assert "keras:Adam" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--optimizers", "Adm"], "did you mean Adam"),
        (["--optimizers", "SGD,SGD"], "each optimizer once"),
        (["--data", "minst"], "did you mean mnist5k"),
        (["--model", "cn"], "did you mean cnn"),
        (["--evaluations", "0"], "evaluations"),
        (["--evaluations", "many"], "--evaluations"),
        (["--evaluations", "3", "--seconds", "3"], "not both"),
        (["--seconds", "-1"], "seconds"),
        (["--learning-rates", "quick"], "NAME=RATE"),
        (["--learning-rates", "SGD=quick"], "NAME=RATE"),
        (["--target-accuracy", "90"], "target_accuracy"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_a_wrong_argument_is_one_line_and_code_2(arguments, part, data_dir, capsys):
    try:
        code = cli.main([*arguments, "--data-dir", data_dir])
    except SystemExit as left:
        code = left.code
    lines = errors(capsys)
    assert code == 2
    assert len(lines) == 1
    assert part in lines[0]


def test_an_output_that_cannot_be_written_is_one_line_and_code_2(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main([*QUICK, "--output", str(tmp_path / "file")]) == 2
    (line,) = errors(capsys)
    assert "can be written" in line


def test_one_line_alone_reaches_the_terminal(tmp_path):
    done = run(["--optimizers", "Adm"], cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("tfopt compare(optimizer='Adm')")
    assert done.stdout == ""


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    command = f"'{sys.executable}' -m tfopt compare --help | true; exit ${{PIPESTATUS[0]}}"
    pipes = dict(capture_output=True, text=True, timeout=300)
    done = subprocess.run(["bash", "-c", command], env=environment(), cwd=tmp_path, **pipes)
    assert done.returncode in (0, 141)
    assert done.stderr == ""


def test_an_interrupt_says_how_to_go_on(data_dir, tmp_path, capsys, monkeypatch):
    def interrupted(plan, progress=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison.Plan, "execute", interrupted)
    arguments = [*QUICK, "--data-dir", data_dir, "--quiet"]
    assert cli.main([*arguments, "--output", str(tmp_path)]) == 130
    (line,) = errors(capsys)
    assert "the same command goes on" in line
    assert cli.main(arguments) == 130
    (line,) = errors(capsys)
    assert "--output" in line


@pytest.mark.slow
def test_a_real_interrupt_leaves_a_state_that_resumes(data_dir, tmp_path):
    arguments = [*QUICK, "--evaluations", "4000", "--data-dir", data_dir, "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "tfopt", "compare", *arguments]
    # A shell that runs in the background ignores SIGINT, and its children inherit that.
    listens = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(command, env=environment(), preexec_fn=listens, **pipes)
    while not list((tmp_path / "out" / "runs").glob("*.json")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    kept = {path: os.stat(path).st_mtime_ns for path in (tmp_path / "out" / "runs").glob("*.json")}
    done = run(arguments)
    assert done.returncode == 0, done.stderr
    assert {path: os.stat(path).st_mtime_ns for path in kept} == kept


def test_smoke_settings_give_way_to_what_is_written():
    options = cli.new_parser().parse_args(["--smoke", "--seeds", "5", "--seconds", "2"])
    keywords = cli._keywords(options)
    assert (keywords["seeds"], keywords["seconds"], keywords["data"]) == (5, 2.0, "digits")
    assert "evaluations" not in keywords


def test_lists_may_have_commas_or_spaces():
    options = cli.new_parser().parse_args(["--optimizers", "SGD,Adam(beta_1=0.8, beta_2=0.9)", "keras:Adam"])
    assert cli._keywords(options)["optimizers"] == ["SGD", "Adam(beta_1=0.8, beta_2=0.9)", "keras:Adam"]


def test_the_command_itself(capsys):
    assert tfopt.__main__.main(["--help"]) == 0
    assert "compare" in capsys.readouterr().out
    assert tfopt.__main__.main(["--version"]) == 0
    assert tfopt.__version__ in capsys.readouterr().out
    for arguments in ([], ["compere"]):
        assert tfopt.__main__.main(arguments) == 2
        assert "compare" in errors(capsys)[0]


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit) as left:
        tfopt.__main__.main(["compare", "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for option in ("--optimizers", "--seconds", "--tuning-share", "--fresh", "--smoke", "keras:Adam"):
        assert option in text

"""Importing tfopt on a host that does not fit: one sentence, which names what to install."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

from tfopt import version


def write_host(folder, tensorflow=None, keras=None, backend="tensorflow"):
    """Put tfopt into `folder`, with stand-ins of the given versions for TensorFlow and Keras."""
    package = pathlib.Path(importlib.util.find_spec("tfopt").origin).parent
    (folder / "tfopt").symlink_to(package, target_is_directory=True)
    for name, found in (("tensorflow", tensorflow), ("keras", keras)):
        if found is not None:
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text(f"__version__ = {found!r}\n")
    if keras is not None:
        (folder / "keras" / "config.py").write_text(f"def backend():\n    return {backend!r}\n")
        with (folder / "keras" / "__init__.py").open("a") as file:
            file.write("from keras import config\n")


def errors_of_import(folder):
    """Standard error of `import tfopt` in an interpreter that has only `folder`."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import tfopt"
    # -S: no site-packages, so that nothing installed here is found.
    run = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True)
    return run.stderr.strip()


def refusal(folder):
    """The sentence that `import tfopt` ends with there."""
    errors = errors_of_import(folder)
    assert errors.count("Traceback") == 1, errors
    return errors.splitlines()[-1]


def span(bounds):
    return f">={bounds[0]},<{bounds[1]}"


def inside(bounds):
    return f"{bounds[0]}.7"


def test_without_tensorflow_the_message_names_the_extras(tmp_path):
    write_host(tmp_path)
    assert refusal(tmp_path) == (
        f"ImportError: tfopt needs TensorFlow {span(version.TENSORFLOW)}, found none: "
        'pip install "tfopt[cpu]", or "tfopt[cuda]" for NVIDIA GPUs.'
    )


def test_the_empty_folder_of_a_removed_tensorflow_counts_as_none(tmp_path):
    write_host(tmp_path)
    (tmp_path / "tensorflow").mkdir()
    assert "TensorFlow" in refusal(tmp_path)
    assert "found none" in refusal(tmp_path)


FIRST, PAST = version.TENSORFLOW


@pytest.mark.parametrize("found", ["2.9.3", "1.99", f"{FIRST}0.1", f"{PAST}.0", f"{PAST}.0-rc1"])
def test_a_tensorflow_out_of_range_is_refused(tmp_path, found):
    write_host(tmp_path, tensorflow=found)
    message = refusal(tmp_path)
    assert f"tfopt needs TensorFlow {span(version.TENSORFLOW)}, found {found}:" in message
    assert "tfopt[cpu]" in message


@pytest.mark.parametrize("found", ["2.15.0", "3.2.1", f"{version.KERAS[1]}.0"])
def test_a_keras_out_of_range_is_refused(tmp_path, found):
    write_host(tmp_path, tensorflow=inside(version.TENSORFLOW), keras=found)
    assert f"tfopt needs Keras {span(version.KERAS)}, found {found}:" in refusal(tmp_path)


def test_keras_on_another_backend_is_refused(tmp_path):
    write_host(tmp_path, inside(version.TENSORFLOW), inside(version.KERAS), backend="jax")
    assert refusal(tmp_path) == (
        "ImportError: tfopt needs Keras on TensorFlow, found Keras on jax: set KERAS_BACKEND=tensorflow."
    )


def test_a_host_that_fits_passes_the_check(tmp_path):
    write_host(tmp_path, inside(version.TENSORFLOW), inside(version.KERAS))
    # The stand-ins hold nothing more, so that the import may still end, but past the check.
    assert "tfopt needs" not in errors_of_import(tmp_path)

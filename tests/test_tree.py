"""Guards of the source tree itself; they read files, and import tfopt only to compare with them."""

import ast
import contextlib
import functools
import importlib
import inspect
import pathlib
import pkgutil
import re

import keras
import pytest
import tensorflow as tf
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tfopt
from tfopt import version

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tfopt"
MODULES = sorted(PACKAGE.rglob("*.py"))
PYTHON = sorted([*MODULES, *(ROOT / "tests").rglob("*.py"), *ROOT.glob("*.py")])
GENERATED = {".git", ".venv", "build", "dist", "demo", "__pycache__"}

pytestmark = pytest.mark.skipif(not PACKAGE.is_dir(), reason="no source tree around the tests")


def name_of(path):
    return str(path.relative_to(ROOT))


def generated(path):
    return path.name in GENERATED or path.name.endswith((".egg-info", "_cache")) or path.is_symlink()


def files_under(folder):
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not generated(path):
            yield from files_under(path)
        elif path.is_file():
            yield path


@functools.cache
def texts():
    """Text of every text file of the project, by path."""
    found = {}
    for path in files_under(ROOT):
        with contextlib.suppress(UnicodeDecodeError):
            found[path] = path.read_text(encoding="utf-8")
    return found


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def dotted(node):
    """The dotted name an attribute chain spells, '' for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".lstrip(".")
    return ""


# -- Keras' and TensorFlow's private parts ---------------------------------------------------------------

PRIVATE_MODULES = ("keras.src", "tensorflow.python", "tf.python", "tensorflow.compiler")


def private_modules(path):
    """Lines that import, spell or name in a string a private module of the host."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [dotted(node)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]
        else:
            continue
        for name in names:
            if any(name == private or name.startswith(private + ".") for private in PRIVATE_MODULES):
                yield f"{name_of(path)}:{node.lineno}: {name}"


@functools.cache
def hosts():
    """For each class of the host that tfopt derives from or holds: an object that has its private names."""
    return {
        keras.optimizers.Optimizer: keras.optimizers.SGD(),
        keras.layers.Layer: keras.layers.Dense(1),
        keras.Model: keras.Sequential(),
        keras.Variable: keras.Variable([0.0]),
        keras.callbacks.Callback: keras.callbacks.Callback(),
        keras.metrics.Metric: keras.metrics.Mean(),
        keras.losses.Loss: keras.losses.MeanSquaredError(),
    } | {
        host: host
        for host in (
            keras.optimizers.schedules.LearningRateSchedule,
            keras.initializers.Initializer,
            keras.utils.PyDataset,
            tf.Variable,
            tf.Graph,
            tf.data.Dataset,
            tf.distribute.Strategy,
            tf.distribute.StrategyExtended,
            tf.distribute.ReplicaContext,
        )
    }


@functools.cache
def private_names(owner=None):
    """Names with one leading underscore of the host's classes; of those alone that `owner` derives from."""
    seen = (one for host, one in hosts().items() if owner is None or issubclass(owner, host))
    return {name for one in seen for name in dir(one) if re.match("_[^_]", name)}


def class_of(path, node):
    """The class that `node` defines, None where it is not a module's own class."""
    if not path.is_relative_to(PACKAGE):
        return None
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return getattr(importlib.import_module(module), node.name, None)


def is_itself(node):
    """Whether an expression is `self`, `cls` or `super()`."""
    return dotted(node) in ("self", "cls") or (isinstance(node, ast.Call) and dotted(node.func) == "super")


def private_hooks(path):
    """Lines that read, set, override or name in a string a private name of the host's classes."""
    classes = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]
    owners = {node: class_of(path, outer) for outer in classes for node in ast.walk(outer)}
    for node in ast.walk(tree_of(path)):
        owner = owners.get(node)
        if isinstance(node, ast.Attribute):
            names, owner = [node.attr], owner if is_itself(node.value) else None
        elif isinstance(node, ast.Constant):
            names, owner = [node.value], None
        elif isinstance(node, ast.ClassDef):
            names = [member.name for member in node.body if isinstance(member, ast.FunctionDef)]
        else:
            continue
        for name in private_names(owner).intersection(names):
            yield f"{name_of(path)}:{node.lineno}: {name}"


def outside_the_glue():
    return [path for path in MODULES if path.name != "_glue.py"]


def test_only_the_glue_imports_private_modules_of_the_host():
    assert [line for path in outside_the_glue() for line in private_modules(path)] == []


def test_only_the_glue_touches_private_hooks_of_the_host():
    assert {"_backend_apply_gradients", "_backend_update_step"} <= private_names()
    assert [line for path in outside_the_glue() for line in private_hooks(path)] == []


TRESPASSES = """
import keras.src.backend
from tensorflow.python import eager
importlib.import_module("keras.src.trainers")
keras.src.optimizers
class A(keras.optimizers.Optimizer):
    def _backend_update_step(self, gradients): ...
optimizer._trainable_variables
getattr(self, "_apply_weight_decay")
"""


def test_the_guards_see_what_they_guard_against(tmp_path, monkeypatch):
    bad = tmp_path / "bad.py"
    bad.write_text(TRESPASSES)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    line_numbers = [
        {int(line.split(":")[1]) for line in guard(bad)} for guard in (private_modules, private_hooks)
    ]
    assert line_numbers == [{2, 3, 4, 5}, {6, 8, 9}]


# -- Modules and the index -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(tree_of(path)), f"{name_of(path)} has no docstring"


def test_each_optimizer_is_one_file_and_one_line_of_the_index():
    files = sorted(path.stem for path in (PACKAGE / "optimizers").glob("[!_]*.py"))
    index = [getattr(tfopt.optimizers, name).__module__ for name in tfopt.optimizers.__all__]
    assert sorted(index) == [f"tfopt.optimizers.{stem}" for stem in files]


def public_objects():
    """(name, object) of everything an index of tfopt lists."""
    indices = [tfopt.__name__]
    indices += [f"tfopt.{module.name}" for module in pkgutil.iter_modules(tfopt.__path__) if module.ispkg]
    for index in indices:
        module = importlib.import_module(index)
        for name in getattr(module, "__all__", ()):
            yield f"{index}.{name}", getattr(module, name)


PUBLIC = dict(public_objects())


@pytest.mark.parametrize("name", [n for n, found in PUBLIC.items() if callable(found)])
def test_public_docstrings_explain_and_show(name):
    text = inspect.getdoc(PUBLIC[name]) or ""
    assert len(text) >= 200, f"{name}: {len(text)} characters of docstring"
    assert ">>>" in text, f"{name}: no example"


def public_methods():
    """(name, method) of every public method or property that tfopt adds to what Keras' own base class has."""
    for name, found in PUBLIC.items():
        if inspect.isclass(found):
            inherited = {member for base in found.__mro__[1:] for member in vars(base)}
            for member, value in vars(found).items():
                described = isinstance(value, (property, classmethod)) or inspect.isroutine(value)
                if described and not member.startswith("_") and member not in inherited:
                    yield f"{name}.{member}", getattr(found, member)


def test_methods_that_keras_does_not_know_have_a_docstring():
    assert [name for name, method in public_methods() if not inspect.getdoc(method)] == []


def test_public_names_are_of_tfopt():
    foreign = [
        n for n, found in PUBLIC.items() if callable(found) and not found.__module__.startswith("tfopt")
    ]
    assert foreign == []


# -- One truth, and nothing of the machine it was written on -----------------------------------------------

STATED_RANGE = re.compile(
    r"\b(?:tensorflow|keras)(?:[-_]cpu|\[and-cuda\])?\s*(?:==|>=|<=|~=|<|>)\s*\d", re.IGNORECASE
)


def test_host_versions_are_stated_only_in_version_py():
    stated = {name_of(path) for path, text in texts().items() if STATED_RANGE.search(text)}
    assert stated <= {"requirements/demo.txt"}


PERSONAL = re.compile(r"(?<![\w.:/-])/(?:home|Users|root|work|mnt|opt)/\w")


def test_no_file_names_a_place_on_somebodys_machine():
    found = [
        f"{name_of(path)}: {line.strip()}"
        for path, text in texts().items()
        for line in text.splitlines()
        if PERSONAL.search(line)
    ]
    assert found == []


# -- What is installed ----------------------------------------------------------------------------------


def requirements(name):
    """Pinned requirements of requirements/<name>, by canonical name, with those of the files it includes."""
    pins = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        if line.startswith("-r "):
            pins |= requirements(line[3:])
        elif line and not line.startswith("#"):
            distribution, pinned = line.split("==")
            pins[canonicalize_name(distribution)] = pinned
    return pins


def wanted(monkeypatch):
    """Requirements that setup.py states, but for the extra `cuda`, which takes cpu's place."""
    stated = {}
    monkeypatch.setattr("setuptools.setup", lambda **arguments: stated.update(arguments))
    exec(compile((ROOT / "setup.py").read_text(), "setup.py", "exec"), {"__file__": str(ROOT / "setup.py")})
    extras = [line for extra, lines in stated["extras_require"].items() if extra != "cuda" for line in lines]
    return [Requirement(line) for line in stated["install_requires"] + extras]


def test_pins_fit_what_setup_py_asks_for(monkeypatch):
    pins = requirements("dev.txt")
    unfit = [r for r in wanted(monkeypatch) if pins.get(canonicalize_name(r.name), "0") not in r.specifier]
    assert unfit == []


def files_of(folder):
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    # The compiled libraries are made for the wheel and may lie in the tree or not.
    return {str(p) for p in paths if "__pycache__" not in p.parts and not p.name.startswith("libtfopt_")}


def test_the_wheel_holds_every_file_of_the_package():
    assert files_of(pathlib.Path(tfopt.__file__).parent) == files_of(PACKAGE)


def test_the_changelog_knows_the_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text or f"## [{version.VERSION}]" in text

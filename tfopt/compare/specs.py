"""Optimizers by name: `Adam`, `keras:Adam`, `Adam(beta_1=0.8)`, `PolyakAverage(Momentum)`."""

import ast
import dataclasses
import inspect
import re

import keras

from tfopt import optimizers
from tfopt.compare.settings import input_error, near_names

# Averaging is a wrapper; by itself the name means the classical choice, averaged SGD.
DEFAULT_INNER = "SGD"

NOTES = {"DeltaBarDelta": "meant for the full batch: it compares gradient signs from step to step"}


@dataclasses.dataclass(frozen=True)
class OptimizerSpec:
    """What to build: a class, its options, and the name it goes by.

    Attributes:
        label: Canonical name, `Adam(beta_1=0.8)`.
        cls: The optimizer class.
        options: Pairs of constructor argument and value; a value may itself be a spec.
    """

    label: str
    cls: type
    options: tuple = ()

    @property
    def given_rate(self):
        """The learning rate written into the name, or None."""
        return dict(self.options).get("learning_rate") or getattr(self._inner, "given_rate", None)

    @property
    def default_rate(self):
        """The learning rate that the class itself proposes."""
        if self._inner is not None:
            return self._inner.default_rate
        return float(inspect.signature(self.cls).parameters["learning_rate"].default)

    @property
    def is_tfopt(self):
        """Whether the class is one of tfopt's."""
        return getattr(optimizers, self.cls.__name__, None) is self.cls

    @property
    def note(self):
        """What a reader of a table should know about this optimizer, or the empty string."""
        return NOTES.get(self.cls.__name__, "") if self.is_tfopt else ""

    @property
    def _inner(self):
        return next((value for _, value in self.options if isinstance(value, OptimizerSpec)), None)

    def build(self, learning_rate):
        """A new optimizer with this learning rate; a wrapper hands it to what it wraps."""
        options = {
            name: value.build(learning_rate) if isinstance(value, OptimizerSpec) else value
            for name, value in self.options
        }
        if self._inner is None:
            options["learning_rate"] = learning_rate
        return self.cls(**options)


def default_names():
    """Every optimizer of tfopt, and Keras' Adam as the baseline."""
    return [*optimizers.FIRST_ORDER, "keras:Adam"]


def parse_optimizer(text):
    r"""Read an optimizer's name, with options in Python's own notation.

    A name is a class of `tfopt.optimizers`, or of `keras.optimizers` after the prefix `keras:`. Options are
    literals, or names again where a wrapper takes an optimizer. Nothing is evaluated.

    Args:
        text: For instance ``"Adam"``, ``"keras:Adam"``, ``"Adam(beta_1=0.8)"`` or
            ``"PolyakAverage(Momentum)"``.

    Returns:
        An `OptimizerSpec`.

    Raises:
        ValueError: If the name is unknown (near names are proposed), the options are no literals, or the
            class refuses them.

    Example:
        >>> spec = parse_optimizer("Adam( beta_1 = 0.8 )")
        >>> spec.label, spec.build(0.001).beta_1
        ('Adam(beta_1=0.8)', 0.8)
    """
    try:
        tree = ast.parse(re.sub(r"\bkeras\s*:\s*", "keras.", text.strip()), mode="eval").body
    except SyntaxError:
        raise _error(text, "a name such as Adam, keras:Adam or Adam(beta_1=0.8)") from None
    spec = _spec(tree, text)
    try:
        spec.build(spec.given_rate or spec.default_rate)
    except (TypeError, ValueError) as error:
        raise _error(text, f"options that the class accepts; it says: {_first_line(error)}") from None
    return spec


def _spec(node, text):
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    name = ast.unparse(call.func)
    cls = _find(name, text)
    parameters = inspect.signature(cls).parameters
    if len(call.args) > 1 or (call.args and "inner" not in parameters):
        raise _error(text, "options by name, as in Adam(beta_1=0.8)")
    options = {"inner": _value(call.args[0], text)} if call.args else {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in options:
            raise _error(text, "each option once, by name")
        options[keyword.arg] = _value(keyword.value, text)
    if "inner" in parameters and "inner" not in options:
        options = {"inner": _spec(ast.Name(DEFAULT_INNER), text), **options}
    if "inner" in options and not getattr(options["inner"], "is_tfopt", False):
        raise _error(text, f"one of tfopt's optimizers inside {name}")
    return OptimizerSpec(_label(name, options), cls, tuple(options.items()))


def _find(name, text):
    host, _, short = name.rpartition(".")
    module = {"": optimizers, "keras": keras.optimizers}.get(host)
    cls = getattr(module, short, None)
    if _is_optimizer(cls):
        return cls
    shown = name.replace("keras.", "keras:")
    near = near_names(shown, known_names())
    hint = f"; did you mean {near}?" if near else f": keras:NAME or {', '.join(optimizers.__all__)}"
    raise _error(text, f"optimizers that exist, which {shown} is not{hint}")


def known_names():
    """Every name `parse_optimizer` knows."""
    host = [f"keras:{name}" for name, cls in vars(keras.optimizers).items() if _is_optimizer(cls)]
    return [*optimizers.__all__, *sorted(host)]


def _is_optimizer(cls):
    if not (inspect.isclass(cls) and issubclass(cls, keras.optimizers.Optimizer)):
        return False
    parameters = inspect.signature(cls).parameters
    return "inner" in parameters or isinstance(
        getattr(parameters.get("learning_rate"), "default", None), float
    )


def _value(node, text):
    if isinstance(node, (ast.Name, ast.Attribute, ast.Call)):
        return _spec(node, text)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _error(text, "options that are plain values or optimizers") from None


def _label(name, options):
    parts = [
        value.label if key == "inner" else f"{key}={getattr(value, 'label', None) or repr(value)}"
        for key, value in options.items()
    ]
    return name.replace("keras.", "keras:") + (f"({', '.join(parts)})" if parts else "")


def _error(text, expected):
    return input_error("optimizer", text, expected)


def _first_line(error):
    return str(error).strip().splitlines()[0]

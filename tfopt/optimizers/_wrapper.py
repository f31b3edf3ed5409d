"""What optimizers around another optimizer share: checks, options, configuration, and handing on."""

from tfopt._check import require
from tfopt.optimizers._arguments import OPTIONS
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import Machine


def require_inner(owner, inner, foreign):
    """Require an unbuilt tfopt optimizer without an average of its own, and no options beside it."""
    fits = isinstance(inner, MachineOptimizer) and not inner.built
    require(fits, owner, "inner", inner, "a tfopt optimizer that has not been built")
    require(not inner.use_ema, owner, "inner", inner, "an inner optimizer without use_ema")
    for option, value in foreign.items():
        require(False, owner, option, value, "options of the update on the inner optimizer")


def require_no_search(owner, inner):
    """Require an optimizer whose machine takes gradients alone, weight by weight."""
    expected = "an optimizer without a line search, whose points and values are its own affair"
    require(not inner.machine.flat, owner, "inner", inner, expected)


def options_of(inner):
    """The options of every optimizer as `inner` has them."""
    return {option: getattr(inner, option) for option in OPTIONS}


def config_of(config, *own):
    """What of a wrapper's `config` its constructor takes: the learning rate is that of the innermost."""
    innermost = config["inner"]["config"]
    while "learning_rate" not in innermost:
        innermost = innermost["inner"]["config"]
    innermost["learning_rate"] = config["learning_rate"]
    return {key: config[key] for key in ("inner", *own, "name")}


class WrapperMachine(Machine):
    """Hands everything on to the machine inside; what a wrapper changes it overrides."""

    own_slots: tuple = ()

    def __init__(self, inner):
        self.inner = inner
        self.displaced, self.partial, self.wanders = inner.displaced, inner.partial, inner.wanders
        self.swaps = inner.swaps
        self.slots = (*inner.slots, *self.own_slots)

    def arrange(self, paths, shapes):
        """The inner machine may need it."""
        self.inner.arrange(paths, shapes)
        self.slots = (*self.inner.slots, *self.own_slots)

    def iterate(self, point, state, context):
        """The inner machine's iterate."""
        return self.inner.iterate(point, state, context)

    def step(self, evaluation, iterate, state, context):
        """The inner machine's step."""
        return self.inner.step(evaluation, iterate, state, context)

    def settle(self, iterate, state, context):
        """The inner machine's."""
        return self.inner.settle(iterate, state, context)

    def query(self, iterate, state, context):
        """The inner machine's query point."""
        return self.inner.query(iterate, state, context)

    def idle(self, state, context):
        """The inner machine's."""
        return self.inner.idle(state, context)

    def wander(self, point, state, context):
        """The inner machine's next point."""
        return self.inner.wander(point, state, context)

    def expose(self, point, state, context):
        """What the inner machine shows."""
        return self.inner.expose(point, state, context)

    def resume(self, visible, state, context):
        """Undo `expose`."""
        return self.inner.resume(visible, state, context)

    def adopt(self, visible, state, context):
        """The inner machine's new start."""
        return self.inner.adopt(visible, state, context)

    def report(self, value):
        """The inner machine's sentence."""
        return self.inner.report(value)

"""What a variable costs before the first step: nodes of the graph and time of tracing."""

import tfopt
from benchmarks import _shapes, update_step
from benchmarks._steps import Step, random_gradients
from benchmarks._timing import measure

TITLE = "Adam, cost of a variable in the graph"
# `tfopt` is the Python rule.
CONTENDERS = {"fused": tfopt.Adam, **update_step.CONTENDERS}


def run(smoke, rounds):
    """The one row of the table."""
    update_step.warm_up()
    few, more = (2, 3) if smoke else (4, 44)
    nodes = {name: nodes_per_variable(make, few, more) for name, make in CONTENDERS.items()}
    steps = {name: step(make, more) for name, make in CONTENDERS.items()}
    times = measure({name: steps[name].trace for name in steps}, rounds)
    yield {
        **{f"{name} nodes": nodes[name] for name in CONTENDERS},
        **{f"{name} trace ms": times.milliseconds(name) / more for name in CONTENDERS},
        "tfopt / keras": times.ratio("tfopt", "keras"),
        "fused / keras": times.ratio("fused", "keras"),
    }


def nodes_per_variable(make, few, more):
    """Nodes that one more variable adds to the graph."""
    counts = [len(step(make, count).trace().get_operations()) for count in (few, more)]
    return (counts[1] - counts[0]) / (more - few)


def step(make, count):
    """An update of `count` small variables."""
    return Step(make(), random_gradients(_shapes.many(count, 4)))

"""What a variable costs before the first step: nodes of the graph and time of tracing."""

from benchmarks import _shapes
from benchmarks._steps import Step, random_gradients
from benchmarks._timing import measure
from benchmarks.update_step import CONTENDERS, warm_up

TITLE = "Adam, cost of a variable in the graph"


def run(smoke, rounds):
    """The one row of the table."""
    warm_up()
    few, more = (2, 3) if smoke else (4, 44)
    nodes = {name: nodes_per_variable(make, few, more) for name, make in CONTENDERS.items()}
    steps = {name: step(make, more) for name, make in CONTENDERS.items()}
    times = measure({name: steps[name].trace for name in steps}, rounds)
    yield {
        "tfopt nodes": nodes["tfopt"],
        "keras nodes": nodes["keras"],
        "tfopt trace ms": times.milliseconds("tfopt") / more,
        "keras trace ms": times.milliseconds("keras") / more,
        "tfopt / keras": times.ratio("tfopt", "keras"),
    }


def nodes_per_variable(make, few, more):
    """Nodes that one more variable adds to the graph."""
    counts = [len(step(make, count).trace().get_operations()) for count in (few, more)]
    return (counts[1] - counts[0]) / (more - few)


def step(make, count):
    """An update of `count` small variables."""
    return Step(make(), random_gradients(_shapes.many(count, 4)))

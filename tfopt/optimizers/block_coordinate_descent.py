"""BlockCoordinateDescent: one block of weights at a time, the others held fast."""

import math

import keras
import tensorflow as tf

from tfopt._check import require, require_choice, require_integer
from tfopt.line_search._search import choose, double, noise
from tfopt.optimizers._blocks import blocks_of, require_blocks
from tfopt.optimizers._descent import Phase
from tfopt.optimizers._direction_optimizer import DirectionOptimizer
from tfopt.optimizers._machine import Evaluation, Machine, Slot, constrained, decayed
from tfopt.optimizers._noise import require_seed
from tfopt.optimizers._turns import UNDECIDED, Turns
from tfopt.optimizers._vectors import dot, largest
from tfopt.optimizers._wrapper import config_of, options_of, require_inner


class BlockRuleMachine(Machine):
    """Runs a machine that takes gradients weight by weight on one block after another.

    Each block has its own count of updates and its own scalars of the inner machine: a block's bias
    corrections know of its own updates only.
    """

    partial = True

    def __init__(self, inner, blocks, steps, turns):
        self.inner, self.given, self.steps, self.turns = inner, blocks, steps, turns
        self.displaced = inner.displaced
        self.shared = [slot for slot in inner.slots if slot.scalar]
        self.rowwise = [slot.name for slot in inner.slots if not slot.scalar]

    def arrange(self, paths, shapes):
        """Divide the variables, and lay out the state of each block."""
        self.blocks = blocks_of(self.given, paths)
        own = [
            Slot(_of_block(slot.name, block), slot.initial, scalar=True)
            for block in range(len(self.blocks))
            for slot in (Slot("updates", scalar=True), *self.shared)
        ]
        rowwise = [slot for slot in self.inner.slots if not slot.scalar]
        self.slots = (*rowwise, *own, *self.turns.slots)

    def step(self, evaluation, iterate, state, context):
        """The inner machine's step on the block whose turn it is."""
        gradients = evaluation.gradients
        state = self.turns.opened(state, lambda: self._norms(gradients, context))
        moves = [
            lambda block=block: self._move(block, gradients, iterate, state, context)
            for block in range(len(self.blocks))
        ]
        iterate, state = tf.switch_case(tf.cast(state["block"], tf.int32), moves)
        state = state | {"taken": state["taken"] + 1.0}
        following = self.turns.passed(state, len(self.blocks))
        over = state["taken"] >= self.steps
        return iterate, state | {
            s.name: choose(over, following[s.name], state[s.name]) for s in self.turns.slots
        }

    def iterate(self, point, state, context):
        """The inner machine's iterate of the block that moves."""
        return self._within(self.inner.iterate, point, state, context)

    def query(self, iterate, state, context):
        """The inner machine's query point for the block that moves next."""
        return self._within(self.inner.query, iterate, state, context)

    def _within(self, function, weights, state, context):
        """``function(weights, state, context)`` of the inner machine on the active block alone."""
        if not self.displaced:
            return weights

        def on(block):
            places = self._places(block, context)
            part = [weights[i] for i in places]
            moved = function(
                part,
                self._inner_state(block, places, state),
                self._inner_context(block, places, state, context),
            )
            return _replaced(weights, places, moved)

        cases = [lambda block=block: on(block) for block in range(len(self.blocks))]
        # Before a greedy choice no block is ahead of its iterate.
        return tf.switch_case(tf.cast(state["block"] + 1.0, tf.int32), [lambda: _same(weights), *cases])

    def _move(self, block, gradients, iterate, state, context):
        places = self._places(block, context)
        if not places:
            return _same(iterate), _same(state)
        now = self._inner_context(block, places, state, context)
        part, inner_state = [iterate[i] for i in places], self._inner_state(block, places, state)
        evaluation = Evaluation([gradients[i] for i in places])
        moved, after = self.inner.step(evaluation, decayed(part, now.keep), inner_state, now)
        moved = constrained(moved, now.constraints)
        after = self.inner.settle(moved, after, now)
        return _replaced(iterate, places, moved), self._merged(block, places, state, after)

    def _places(self, block, context):
        """Where the block's weights are among those of this step."""
        members = set(self.blocks[block])
        return [place for place, row in enumerate(context.rows) if row in members]

    def _inner_state(self, block, places, state):
        rows = {name: [state[name][i] for i in places] for name in self.rowwise}
        return rows | {slot.name: state[_of_block(slot.name, block)] for slot in self.shared}

    def _inner_context(self, block, places, state, context):
        def part(values):
            return [values[i] for i in places] if values else values

        return context._replace(
            t=state[_of_block("updates", block)] + 1.0,
            multipliers=part(context.multipliers),
            rows=part(context.rows),
            keep=part(context.keep),
            constraints=part(context.constraints),
        )

    def _merged(self, block, places, state, after):
        rows = {name: _replaced(state[name], places, after[name]) for name in self.rowwise}
        shared = {_of_block(slot.name, block): double(after[slot.name]) for slot in self.shared}
        updates = _of_block("updates", block)
        return _same(state | rows | shared | {updates: state[updates] + 1.0})

    def _norms(self, gradients, context):
        places = [self._places(block, context) for block in range(len(self.blocks))]
        return [_norm([gradients[i] for i in chosen]) for chosen in places]


class BlockSearchMachine(Machine):
    """Runs a method with a line search on one block after another, each turn from its start.

    The inner machine sees all weights as one vector and a gradient that is 0 outside the block, so that its
    directions are 0 there.
    """

    displaced = swaps = True
    flat = True

    def __init__(self, inner, blocks, steps, turns):
        self.inner, self.given, self.steps, self.turns = inner, blocks, steps, turns
        self.slots = (*inner.slots, Slot("grad_norm", scalar=True), *turns.slots)

    def arrange(self, paths, shapes):
        """Divide the variables."""
        self.blocks = blocks_of(self.given, paths)
        self.sizes = [math.prod(shape) for shape in shapes]

    def admit(self, size, dtype):
        """The inner machine's limit."""
        self.inner.admit(size, dtype)

    def restart(self):
        """The inner machine's."""
        return self.inner.restart()

    def revisit(self, state):
        """The inner machine's."""
        return self.inner.revisit(state)

    def expose(self, point, state, context):
        """What the inner machine shows."""
        return self.inner.expose(point, state, context)

    def resume(self, visible, state, context):
        """Undo `expose`."""
        return self.inner.resume(visible, state, context)

    def step(self, evaluation, point, state, context):
        """One evaluation of the search in the block whose turn it is; the next turn where it has ended."""
        (x,), (g,) = point, evaluation.gradients
        begun = self.turns.opened(state, lambda: self._norms(g))
        moved, after = self._search(evaluation, x, begun, context)
        accepted = after["iterations"] > state["iterations"]
        stuck = (after["phase"] > float(Phase.SEARCH)) & tf.not_equal(after["phase"], float(Phase.DOUBT))
        after["taken"] = begun["taken"] + double(accepted)
        at_iterate = accepted | tf.not_equal(state["phase"], float(Phase.SEARCH))
        after["grad_norm"] = choose(at_iterate, largest(g), state["grad_norm"])
        # Within the rounding of the loss a search may accept what gains nothing.
        gain = begun["value"] - after["value"]
        idle = stuck | (accepted & (gain <= noise(begun["value"], context.precision)))
        over = idle | (after["taken"] >= self.steps)
        barred = choose(idle, begun["block"], UNDECIDED)
        common = {name: after[name] for name in ("iterations", "grad_norm")}
        passed = self.turns.passed(begun | common, len(self.blocks), barred)
        return tf.cond(
            over,
            lambda: tf.cond(
                accepted,
                lambda: self._begin_here(evaluation, x, passed, context),
                lambda: self._begin_at_iterate(after, passed),
            ),
            lambda: ([tf.identity(moved)], _same(after)),
        )

    def grad_norm(self, value):
        """Largest absolute component of the gradient at the iterate, in all blocks."""
        return float(value("grad_norm"))

    def report(self, value):
        """The inner machine's."""
        return self.inner.report(value)

    def phase(self, value):
        """How the run stands: the end of one block's search is none of it."""
        if not math.isfinite(value("value")):
            return Phase.NOT_FINITE
        return Phase.CONVERGED if self.grad_norm(value) <= self.inner.tolerance else Phase.SEARCH

    def _search(self, evaluation, x, state, context):
        """The inner machine's step with the gradient of the active block; nothing else moves."""
        mask = self._mask(state["block"])
        (g,) = evaluation.gradients
        masked = evaluation._replace(gradients=[tf.where(mask, g, tf.zeros_like(g))])
        (moved,), after = self.inner.step(masked, [x], state, context)
        return tf.where(mask, moved, x), dict(after)

    def _begin_here(self, evaluation, x, state, context):
        """The point just accepted is the new block's start; its evaluation serves both."""
        state = self.turns.opened(state | self.inner.restart(), lambda: self._norms(evaluation.gradients[0]))
        moved, after = self._search(evaluation, x, state, context)
        return [moved], _same(after)

    def _begin_at_iterate(self, after, passed):
        """The point just evaluated was not accepted: the new block starts from the iterate, next time."""
        turn = {slot.name: passed[slot.name] for slot in self.turns.slots}
        return [tf.identity(after["iterate"])], _same(after | self.inner.restart() | turn)

    def _mask(self, block):
        """Which elements of the vector belong to the block."""
        owners = {place: number for number, places in enumerate(self.blocks) for place in places}
        active = [tf.fill([size], tf.equal(block, owners[i])) for i, size in enumerate(self.sizes)]
        return tf.concat(active, axis=0)

    def _norms(self, gradient):
        parts = tf.split(gradient, self.sizes)
        return [_norm([parts[i] for i in places]) for places in self.blocks]


def _of_block(name, block):
    return f"{name}_{block}"


def _replaced(values, places, new):
    """`values` with those at `places` exchanged."""
    exchanged = dict(zip(places, new, strict=True))
    return [tf.identity(exchanged.get(i, value)) for i, value in enumerate(values)]


def _same(structure):
    # Branches must not hand out tensors of the graph around them.
    return tf.nest.map_structure(tf.identity, structure)


def _norm(tensors):
    squares = [dot(tf.reshape(t, [-1]), tf.reshape(t, [-1])) for t in tensors]
    return tf.sqrt(tf.add_n(squares)) if squares else double(0.0)


@keras.saving.register_keras_serializable(package="tfopt")
class BlockCoordinateDescent(DirectionOptimizer):
    """Block coordinate descent: moves one block of the weights at a time with `inner`, and holds the others.

    With θ divided into blocks θ₁ … θ_B and b the block whose turn it is::

        θ_b ← the step of `inner` on J as a function of θ_b alone
        θ_c ← θ_c,   bit for bit, and c's slots with it,   for c ≠ b

    `blocks` says what moves together: "layer", the variables whose paths agree but for the last part; a list
    of regular expressions, each searched for in the variables' paths; or a list of lists of names, each a
    variable's path or the end of it that tells it apart ("dense_1/kernel"). Every variable must be in exactly
    one block. `order` says whose turn is next: "cyclic", in the order given; "random", drawn anew each time
    with equal chances; "greedy", the block whose gradient has the largest Euclidean norm ‖∂J/∂θ_b‖ at the
    moment of the choice, not divided by its size.

    With a first-order `inner` one update is one step, and `steps_per_block` of them a turn; each block counts
    its own updates in `inner`'s bias corrections and schedules of momentum, while the learning rate's
    schedule counts all. With a line search in `inner` (`LBFGS`, `ConjugateGradient`, …) a step is an accepted
    iterate, which may take several evaluations, and a turn begins without the history of turns before: of
    another block it means nothing. A turn also ends where the search finds nothing to gain beyond the
    loss's rounding; "greedy" then leaves that block out of the next choice. Train such a method as it wants
    to be trained, on the full batch. Its `result` is that of all weights: evaluations and iterations of all
    blocks, the gradient's norm over all of them, CONVERGED where that is within the tolerance of `inner`,
    NOT_FINITE, or else RUNNING, for a block that has stalled is passed over and comes back. With a
    first-order `inner` it is None.

    The gradient of all weights is computed whatever the block. While training, the model's variables hold
    what `inner` wants evaluated, when `fit` ends the iterate; for validation inside `fit` add
    `tfopt.callbacks.EvaluationWeights()`. Options such as `clipnorm` are those of `inner`; norms are taken
    over all weights.

    Args:
        inner: A tfopt optimizer that has not been built, wraps no other and needs no Hessian products.
        blocks: "layer", a list of regular expressions, or a list of lists of variable names.
        steps_per_block: >= 1: steps in one turn.
        order: "cyclic", "random" or "greedy".
        seed: For the random order: integer in [0, 2³¹), or None for one from Python's generator, which
            `keras.utils.set_random_seed` sets.
        name: Name of the optimizer.

    Raises:
        ValueError: If an argument lies outside its range; when the optimizer is built, if an expression or a
            name fits no variable, a name several, or a variable is in two blocks or in none.

    Example:
        >>> import keras, tfopt
        >>> a, b = keras.Variable([1.0], name="a"), keras.Variable([1.0], name="b")
        >>> optimizer = tfopt.BlockCoordinateDescent(tfopt.SGD(0.25), blocks=["a", "b"], steps_per_block=2)
        >>> for _ in range(3):
        ...     optimizer.apply([keras.ops.ones(1), keras.ops.ones(1)], [a, b])
        >>> float(a[0]), float(b[0])
        (0.5, 0.75)

    Source: Nesterov, Efficiency of Coordinate Descent Methods on Huge-Scale Optimization Problems, 2012;
    Nutini et al., Coordinate Descent Converges Faster with the Gauss-Southwell Rule Than Random Selection,
    2015; chapter section 8.1.
    """

    def __init__(
        self, inner, blocks="layer", steps_per_block=1, order="cyclic", seed=None, name=None, **options
    ):
        owner = "BlockCoordinateDescent"
        require_inner(owner, inner, options)
        bare = not hasattr(inner.machine, "inner")
        require(bare, owner, "inner", inner, "an optimizer that wraps no other; wrap the whole instead")
        expected = "an optimizer that needs no Hessian products, which know nothing of blocks"
        require(inner.machine.curvature is None, owner, "inner", inner, expected)
        require_blocks(blocks)
        require_integer(owner, 1, steps_per_block=steps_per_block)
        require_choice(owner, ("cyclic", "random", "greedy"), order=order)
        require_seed(owner, seed)
        if not isinstance(blocks, str):
            blocks = [block if isinstance(block, str) else list(block) for block in blocks]
        hyper = dict(inner=inner, blocks=blocks, steps_per_block=steps_per_block, order=order, seed=seed)
        super().__init__(inner.learning_rate_argument(), hyper, name=name, **options_of(inner))

    def make_machine(self, *, inner, blocks, steps_per_block, order, seed):
        """The pure machine behind this optimizer."""
        kind = BlockSearchMachine if inner.machine.flat else BlockRuleMachine
        return kind(inner.machine, blocks, steps_per_block, Turns(order, seed))

    def get_config(self):
        """Constructor arguments; the learning rate and the options are in `inner`."""
        return config_of(super().get_config(), "blocks", "steps_per_block", "order", "seed")

"""Direction times step length: the machine behind every method with a line search."""

import enum

import numpy as np
import tensorflow as tf

from tfopt.line_search._search import ACCEPTED, ENDLESS, FAILED, SEARCHING, choose, double, noise
from tfopt.optimizers._direction import Heading, Move, steep_enough
from tfopt.optimizers._machine import Machine, Slot
from tfopt.optimizers._vectors import combine, dot, either, lies, moved, products


class Phase(enum.IntEnum):
    """Where a run stands, and with it what the next evaluation is for.

    SEARCH: of a trial point. CURVATURE: of the Hessian at the iterate. RETURN: of the iterate once more, in
    the middle of a search; DOUBT: the same, to see whether the function is still what it was. In all others
    of the iterate itself: to begin there, or because the run has ended.
    """

    START = 0
    SEARCH = 1
    CONVERGED = 2
    STALLED = 3
    UNBOUNDED = 4
    NOT_FINITE = 5
    CURVATURE = 6
    RETURN = 7
    DOUBT = 8


# How many times steeper than at both its ends a way may be in between before its value is doubted.
_STEEPER = 10.0

UNDER_WAY = (Phase.START, Phase.SEARCH, Phase.CURVATURE, Phase.RETURN, Phase.DOUBT)


class DescentMachine(Machine):
    """θ ← θ + αd: d from a direction rule, α from a line search, one evaluation at a time.

    All weights are one vector. The variables hold the trial point while a search is under way; the iterate θ
    is part of the state. A search that fails starts again from θ along −g, and where that fails too the run
    has stalled. Then, and once the gradient is small enough, θ is evaluated next: with the same function
    nothing changes any more, with another minibatch the method goes on from there.

    Where a trial's value is far from all that the slopes at both ends of the way lead to, θ is evaluated once
    more. If its value is another one, the function changes, as with a new minibatch every step; the
    difference, "discord", is from then on how exactly values are compared.

    A direction that needs curvature is asked for at the new iterate: after a `step` the machine `awaits` an
    answer to its `probe`, which `absorb` takes, once or several times.
    """

    displaced = swaps = True
    flat = True

    def __init__(self, direction, search, tolerance=0.0):
        self.direction, self.search, self.tolerance = direction, search, tolerance
        self.curvature = direction.curvature
        # Without a search ε is the step itself, where the direction has no length of its own.
        self.strides = not search.searches and not direction.natural
        scalars = (*_SCALARS, "products") if self.curvature else _SCALARS
        self.slots = (
            *(Slot(name, shape=lambda n: (n,)) for name in ("iterate", "gradient", "direction")),
            *direction.slots,
            Slot("evaluations", scalar=True),
            Slot("discord", scalar=True),
            *(Slot(name, scalar=True) for name in scalars),
            *(Slot(f"search_{name}", scalar=True) for name in search.names),
        )

    def admit(self, size, dtype):
        """Raise ValueError where the direction needs too much memory for so many weights."""
        self.direction.admit(size, dtype)

    def step(self, evaluation, point, state, context):
        """The next point, and the state in which its evaluation is awaited."""
        (x,), (g,), f = point, evaluation.gradients, double(evaluation.loss)
        state = state | self._known_of_discord(f, state, context)
        context = self._with_discord(state, context)
        slope, gg = tf.unstack(products([state["direction"], g], [g])[:, 0])
        searched = self.search.advance(self._search_of(state), f, slope)
        sound = tf.math.is_finite(f) & tf.math.is_finite(gg)
        first = tf.not_equal(state["phase"], float(Phase.SEARCH))
        verdict = choose(first, double(ACCEPTED), searched["verdict"])
        endless = tf.equal(verdict, ENDLESS)
        verdict = choose(endless, ACCEPTED, verdict)
        # A search that looks at values only may accept a point whose gradient is of no use.
        verdict = choose(~sound & tf.equal(verdict, ACCEPTED), double(FAILED), verdict)
        odd = ~first & tf.not_equal(verdict, ACCEPTED) & self._contradicts(f, slope, state, context)
        verdict = choose(odd, SEARCHING, verdict)
        choices = {
            SEARCHING: lambda: self._go_on(
                state, searched, choose(odd, float(Phase.DOUBT), float(Phase.SEARCH))
            ),
            ACCEPTED: lambda: self._accept(x, g, f, gg, first, endless, state, context),
            FAILED: lambda: self._fail(x, g, f, first, state, context),
        }
        ordered = [choices[code] for code in sorted(choices)]
        following = tf.switch_case(tf.cast(verdict, tf.int32), ordered)
        following["evaluations"] = state["evaluations"] + 1.0
        following["discord"] = state["discord"]
        return [following.pop("point")], state | following

    def restart(self):
        """Whatever the phase, the next evaluation is accepted as the first iterate."""
        return {"phase": double(float(Phase.START))}

    def expose(self, point, state, context):
        """Show the iterate; the trial point waits in its slot."""
        started = tf.equal(state["phase"], float(Phase.START))
        return [tf.where(started, point[0], state["iterate"])], state | {"iterate": point[0]}

    def resume(self, visible, state, context):
        """Undo `expose`."""
        return [state["iterate"]], state | {"iterate": visible[0]}

    def revisit(self, state):
        """The phase in which the iterate, held in place of a trial point, can be evaluated."""
        interrupted = tf.equal(state["phase"], float(Phase.SEARCH))
        return {"phase": choose(interrupted, float(Phase.RETURN), state["phase"])}

    def awaits(self, state):
        """Whether curvature at the iterate is wanted next."""
        return tf.equal(state["phase"], float(Phase.CURVATURE))

    def probe(self, state):
        """The vector whose product with the Hessian is wanted."""
        return self.direction.probe(state)

    def absorb(self, answer, point, state, context):
        """The next point and state after a product with the Hessian, or the Hessian, at the iterate."""
        context = self._with_discord(state, context)
        state = state | {
            "products": state["products"] + float(answer.shape[0] if answer.shape.rank == 2 else 1)
        }
        state = state | self.direction.absorb(answer, state)
        following = tf.cond(
            self.direction.asks(state),
            lambda: state | {"point": point[0]},
            lambda: state | self._set_out(state, context),
        )
        return [following.pop("point")], following

    def report(self, value):
        """What there is to tell of the run, a sentence each."""
        discord = float(value("discord"))
        changes = (
            f"The loss of one point came out different, by {discord:.3g}: it is another function from "
            "evaluation to evaluation, as with a new batch or new dropout masks each time."
        )
        return " ".join(filter(None, (self.direction.report(value), changes if discord > 0.0 else "")))

    def grad_norm(self, value):
        """Largest absolute component of the gradient at the iterate."""
        return float(np.max(np.abs(value("gradient"))))

    def phase(self, value):
        """How the run stands."""
        return Phase(int(value("phase")))

    def _known_of_discord(self, f, state, context):
        """What the value of a point that was evaluated before says of the function."""
        spread, known = tf.abs(f - state["value"]), state["discord"]
        differs = spread > 2.0 * noise(state["value"], context.precision)
        # Where one value is like the other the function is taken at its word from now on.
        alike = choose(known > 0.0, known, -1.0)
        asked = tf.equal(state["phase"], float(Phase.DOUBT)) & tf.math.is_finite(spread)
        return {"discord": choose(asked, choose(differs, tf.maximum(spread, known), alike), known)}

    def _with_discord(self, state, context):
        """The context with the precision that the function's values have shown."""
        shown = tf.math.divide_no_nan(state["discord"], 8.0 * tf.abs(state["value"]))
        return context._replace(precision=tf.maximum(double(context.precision), shown))

    def _contradicts(self, f, slope, state, context):
        """Whether a trial's value is none that the slopes at both ends of the way there would lead to."""
        if context.steady:
            return False
        steepest = tf.maximum(tf.abs(slope), tf.abs(state["slope"]))
        way = _STEEPER * state["search_step"] * steepest
        jump = tf.abs(f - state["value"]) - 2.0 * noise(state["value"], context.precision)
        return (state["discord"] >= 0.0) & tf.math.is_finite(jump) & (jump > way)

    def _go_on(self, state, searched, phase):
        """The search asks for another trial, or the machine for the iterate once more."""
        kept = {name: state[name] for name in ("iterate", "gradient", "direction", *_SCALARS)}
        kept["phase"] = phase
        return self._trial(kept | self.direction.keep(state), searched)

    def _accept(self, x, g, f, gg, first, endless, state, context):
        """The trial point is the new iterate; a direction from there."""
        doubted = tf.equal(state["phase"], float(Phase.DOUBT))
        returned = doubted | tf.equal(state["phase"], float(Phase.RETURN))
        found = moved(self.direction.rows(state), x, state["iterate"], g, state["gradient"])
        move = Move(
            s=found.s,
            y=found.y,
            gradient=g,
            last_gradient=state["gradient"],
            last_direction=state["direction"],
            last_slope=state["slope"],
            step=state["search_step"],
            learning_rate=context.learning_rate,
            decrease=state["value"] - f,
            products=found.products,
            ss=found.ss,
            precision=context.precision,
            fresh=first if self.curvature else first & ~returned,
            changing=state["discord"] > 0.0,
            void=doubted & (state["discord"] > 0.0),
        )
        phase = choose(endless, float(Phase.UNBOUNDED), self._phase_at(f, found.largest, g.dtype))
        begun = {
            "iterate": x,
            "gradient": g,
            "phase": double(phase),
            "value": f,
            "iterations": state["iterations"] + double(~first),
        }
        if self.curvature:
            return self._ask(begun, move, state)
        d, slots = self.direction.next(move, state)
        heading = d if isinstance(d, Heading) else Heading(d, *lies(d, g))
        bold = lambda slope: self._bold(move, slope, gg, context)  # noqa: E731
        return self._depart(begun, heading, gg, slots, move.fresh, state, context, bold)

    def _ask(self, begun, move, state):
        """Hold the iterate until its curvature is known."""
        going_on = tf.equal(begun["phase"], float(Phase.SEARCH))
        phase = choose(going_on, float(Phase.CURVATURE), begun["phase"])
        held = {name: state[name] for name in ("direction", "slope", "fresh")}
        search = {f"search_{name}": state[f"search_{name}"] for name in self.search.names}
        slots = self.direction.begin(move, state)
        return begun | held | search | slots | {"phase": phase, "point": begun["iterate"]}

    def _set_out(self, state, context):
        """Along the direction that the curvature has shown."""
        begun = {name: state[name] for name in ("iterate", "gradient", "value", "iterations")}
        begun["phase"] = double(float(Phase.SEARCH))
        natural = self.direction.natural
        trial = lambda slope: context.learning_rate if natural else self.direction.trial(state, slope)  # noqa: E731
        slots = self.direction.keep(state)
        d, g = self.direction.direction(state), begun["gradient"]
        (gg, slope), (_, dd) = map(tf.unstack, tf.unstack(products([g, d], [g, d])))
        fresh = tf.constant(False)
        return self._depart(begun, Heading(d, slope, dd), gg, slots, fresh, state, context, trial)

    def _depart(self, begun, heading, gg, slots, fresh, state, context, bold):
        """Begin a search along d, or along the fallback where d does not lead down.

        The very first trial is a step of length ε.
        """
        leads = self._leads(heading.slope, gg, heading.square)
        d, slope, slots = either(
            leads,
            lambda: (heading.d, heading.slope, slots),
            lambda: self._turned(begun["gradient"], self.direction.reset(state)),
        )
        fresh = fresh | ~leads
        very_first = context.learning_rate / tf.sqrt(gg)
        timid = choose(begun["iterations"] > 0.0, self._timid(gg, context), very_first)
        trial = choose(fresh, context.learning_rate if self.strides else timid, bold(slope))
        begun |= {"direction": d, "slope": slope, "fresh": double(fresh)}
        search = self.search.begin(begun["value"], slope, trial, context.precision)
        return self._trial(begun | slots, search)

    def _turned(self, g, slots):
        """The fallback, its slope, and slots that know no past."""
        d = self.direction.fallback(g)
        return d, dot(g, d), slots

    def _leads(self, slope, gg, dd):
        """Whether a direction is fit to be followed."""
        if self.direction.descends:
            return steep_enough(slope, gg, dd)
        return tf.math.is_finite(dd) & tf.math.is_finite(slope)

    def _fail(self, x, g, f, first, state, context):
        """No trial was good: again along −g, or the end."""
        steepest = tf.equal(state["fresh"], 1.0) | first
        theta, gradient = tf.where(first, x, state["iterate"]), tf.where(first, g, state["gradient"])
        value = choose(first, f, state["value"])
        phase = choose(first, float(Phase.NOT_FINITE), float(Phase.STALLED))
        d = self.direction.fallback(gradient)
        slope = dot(gradient, d)
        again = {
            "iterate": theta,
            "gradient": gradient,
            "direction": d,
            "phase": choose(steepest, phase, float(Phase.SEARCH)),
            "fresh": double(1.0),
            "value": value,
            "slope": slope,
            "iterations": state["iterations"],
        }
        begun = self.search.begin(
            value, slope, self._timid(dot(gradient, gradient), context), context.precision
        )
        return self._trial(again | self.direction.reset(state), begun)

    def _trial(self, following, search):
        """Add the search's state and the point to evaluate: a trial, or the iterate where a run has ended."""
        goes_on = tf.equal(following["phase"], float(Phase.SEARCH))
        factors = tf.stack([double(1.0), choose(goes_on, search["step"], 0.0)])
        point = combine(factors, [following["iterate"], following["direction"]])
        return following | {f"search_{name}": search[name] for name in self.search.names} | {"point": point}

    def _phase_at(self, f, largest, dtype):
        """Phase after an accepted point."""
        bottomless = f < (-1e30 if dtype == tf.float32 else -1e100)
        small = largest <= self.tolerance
        going_on = choose(bottomless, float(Phase.UNBOUNDED), float(Phase.SEARCH))
        return choose(small, float(Phase.CONVERGED), going_on)

    def _timid(self, gg, context):
        """First trial where nothing is known of the scale: at most a step of length ε."""
        return context.learning_rate * tf.minimum(1.0 / tf.sqrt(gg), 1.0)

    def _bold(self, move, slope, gg, context):
        """First trial along a direction that knows the past."""
        if self.direction.natural or self.strides:
            return context.learning_rate
        # Among values that scatter steps are shortened by mistake too: what makes up for it is twice as long.
        trial = choose(move.changing, 2.0, 1.0) * self.direction.first_trial(move, slope)
        return choose(move.void, self._timid(gg, context), trial)

    def _search_of(self, state):
        return {name: state[f"search_{name}"] for name in self.search.names}


_SCALARS = ("phase", "fresh", "value", "slope", "iterations")

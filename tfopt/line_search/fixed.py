"""Fixed: no search at all."""

from tfopt.line_search._search import ACCEPTED, FAILED, LineSearch, choose, doubles, register, usable


@register
class Fixed(LineSearch):
    """Takes the first step proposed: α = α₀, whatever the function does there.

    α₀ comes from the method: 1 for Newton and quasi-Newton directions, the learning rate for the others. A
    trial where the function is not finite fails. Needs neither a value nor a slope, hence one evaluation per
    step.

    Example:
        >>> import tfopt
        >>> newton = tfopt.Newton(line_search=tfopt.line_search.Fixed())
        >>> tfopt.minimize(lambda x: (x - 3.0) ** 2, 0.0, method=newton).iterations
        1

    Source: chapter section 6.1.
    """

    searches = False

    def begin(self, value, slope, step, precision):
        return doubles(step=step, verdict=0.0)

    def advance(self, state, value, slope):
        return state | doubles(verdict=choose(usable(value, slope), ACCEPTED, FAILED))

    def get_config(self):
        return {}

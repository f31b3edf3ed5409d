"""Sets an optimizer back to its first step without tracing anything anew."""


def restart_optimizer(optimizer, fresh, variables):
    """Give a built optimizer the state of a fresh one, its learning rate included.

    Args:
        optimizer: Built optimizer; functions traced with it stay valid.
        fresh: Unbuilt optimizer of the same class and options, possibly another learning rate.
        variables: The weights, at the values they start from: slots may depend on them.
    """
    fresh.build(variables)
    for variable, value in zip(optimizer.variables, fresh.variables, strict=True):
        variable.assign(value)

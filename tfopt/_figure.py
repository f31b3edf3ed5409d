"""Figures that objects draw of themselves, with matplotlib, which is imported when one is asked for."""


def panels(owner, count, width=5.0, height=3.6):
    """The axes of a new figure: `count` panels in one row.

    Args:
        owner: Name of the function or method that draws.
        count: Number of panels.
        width: Width of a panel in inches.
        height: Height in inches.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f'{owner}.plot: expected matplotlib, found none: pip install "tfopt[compare]".', name="matplotlib"
        ) from error
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return list(figure.subplots(1, count, squeeze=False)[0])

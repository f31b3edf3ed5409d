"""What optimizers say in the log."""

import contextlib
import logging


@contextlib.contextmanager
def listening(name):
    """Collect what a logger says, from INFO on, without changing where its messages go or which are shown.

    Args:
        name: Name of the logger.

    Yields:
        List that receives the messages.
    """
    logger = logging.getLogger(name)
    level, propagates, shown = logger.level, logger.propagate, logger.getEffectiveLevel()
    handler = _Collector(logger.parent if propagates else None, shown)
    logger.addHandler(handler)
    logger.setLevel(min(shown, logging.INFO))
    # A handler further up would print whatever reaches it: levels are those of the logger that speaks.
    logger.propagate = False
    try:
        yield handler.said
    finally:
        logger.setLevel(level)
        logger.propagate = propagates
        logger.removeHandler(handler)


class _Collector(logging.Handler):
    def __init__(self, above, shown):
        super().__init__(logging.INFO)
        self.above, self.shown, self.said = above, shown, []

    def emit(self, record):
        self.said.append(record.getMessage())
        if self.above is not None and record.levelno >= self.shown:
            self.above.handle(record)

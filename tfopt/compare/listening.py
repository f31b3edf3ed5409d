"""What optimizers say in the log."""

import contextlib
import logging


@contextlib.contextmanager
def listening(name):
    """Collect what a logger says, from INFO on, without changing where it goes.

    Args:
        name: Name of the logger.

    Yields:
        List that receives the messages.
    """
    logger, handler = logging.getLogger(name), _Collector(logging.INFO)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
    try:
        yield handler.said
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _Collector(logging.Handler):
    def __init__(self, level):
        super().__init__(level)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())

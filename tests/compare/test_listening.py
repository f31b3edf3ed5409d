"""What is heard is not printed unless it would have been."""

import logging

from tfopt.compare.listening import listening


def test_only_what_would_have_been_shown_is_shown(caplog):
    logger = logging.getLogger("tfopt.speaker")
    with caplog.at_level(logging.WARNING), caplog.at_level(logging.NOTSET, "tfopt"):
        caplog.handler.setLevel(logging.NOTSET)  # as absl's handler, which prints whatever reaches it
        with listening("tfopt.speaker") as said:
            logger.debug("detail")
            logger.info("news")
            logger.warning("trouble")
    assert said == ["news", "trouble"]
    assert [record.getMessage() for record in caplog.records] == ["trouble"]
    assert (logger.level, logger.propagate) == (logging.NOTSET, True)

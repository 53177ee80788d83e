"""Structured logs of the workers: one `key=value` line an event, on stderr.

Counts, topics, offsets and reasons only: no text of an event and no secret is ever logged.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

# Back-pressure and commits that wait for a fetch are no warnings; a lost connection needs one line, not three.
_QUIETER: Final[dict[str, int]] = {
    "faust.transport.producer": logging.ERROR,
    "mode.timers": logging.ERROR,
    "kafka.net.manager": logging.ERROR,
    "kafka.net.connection": logging.CRITICAL,
    "kafka.net.transport": logging.CRITICAL,
    "kafka.cluster": logging.CRITICAL,
}

LEVELS: Final = ("debug", "info", "warning", "error")


def configure_logs(level: str = "info") -> None:
    """Send structlog and the libraries' own warnings to stderr; called by commands, never at import."""
    import structlog

    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="timestamp=%(asctime)s level=%(levelname)s %(name)s: %(message)s",
    )
    for name, lowest in _QUIETER.items():
        logging.getLogger(name).setLevel(lowest)


def get_logger(name: str) -> Any:
    """A structlog logger bound to the worker's name."""
    import structlog

    return structlog.get_logger().bind(worker=name)

"""Make ``jobs.*`` and ``platform.*`` ours under a bare ``pytest``.

It starts without the checkout on the import path, and with the standard module ``platform`` already loaded.
"""

import signal
import sys
from pathlib import Path

import platform

ROOT = str(Path(__file__).parent)

if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
if not hasattr(platform, "__path__"):
    platform.__path__ = [str(Path(ROOT) / "platform")]


def pytest_configure() -> None:
    """Heed Ctrl-C: a shell's background job is started with it ignored, and so would be all commands under test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

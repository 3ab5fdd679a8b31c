"""Make ``platform.*`` mean our package under a bare ``pytest``, which starts with the standard module already loaded."""

from pathlib import Path

import platform

if not hasattr(platform, "__path__"):
    platform.__path__ = [str(Path(__file__).parent / "platform")]

"""Orchestration package; it also answers for the standard library's ``platform``."""

import os as _os
from importlib.machinery import PathFinder as _PathFinder

exec(_PathFinder.find_spec("platform", [_os.path.dirname(_os.__file__)]).loader.get_code("platform"), globals())

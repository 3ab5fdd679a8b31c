"""Orchestration package; it also answers for the standard library's ``platform``.

The folder has the name of a standard module, which ray, mlflow, pandas and uuid import. So this file runs the code of
that module in its own namespace: every name is there, and ``platform.launch`` is a submodule. Nothing else belongs
here. A job sees the standard module itself: it runs a program, not this checkout.
"""

import os as _os
from importlib.machinery import PathFinder as _PathFinder

_spec = _PathFinder.find_spec("platform", [_os.path.dirname(_os.__file__)])  # noqa: PTH120 - pathlib costs 10 ms
_code = _spec.loader.get_code("platform")  # type: ignore[union-attr]  # found always; its loader reads source
exec(_code, globals())
del _os, _PathFinder, _spec, _code

"""Moved to ``platform.locks``; the name stays until trial.py and plan.py ask there."""

from ..locks import held

__all__ = ["held"]

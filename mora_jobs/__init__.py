"""MORA jobs: rollouts, prompt rewriting and multi-objective alignment."""

__version__ = "0.1.0"

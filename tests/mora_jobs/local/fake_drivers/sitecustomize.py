"""Fake drivers for tests of the local runner: Python imports this file at start, because its folder is on PYTHONPATH.

Only the three `run` functions are fake. They claim and complete real artifacts and report over the real wire. What a
job does is told by its annotations: `fake/steps`, `fake/seconds` (per step), `fake/end` (Success, UserError, EarlyUserError, App, Hang,
Exit, Kill, ShowCredentials), `fake/deaths` (kill -9 of so many attempts), `fake/meet` (wait until that job runs too), `fake/ray` (hold an actor and a grandchild process), `fake/ignore-stop`.
"""

import importlib.abc
import importlib.machinery
import sys

NAMES = {"mora_jobs.rollout.driver", "mora_jobs.rewrite.driver", "mora_jobs.align.driver"}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in NAMES else None

    def exec_module(self, module):
        import fake_driver

        module.run = fake_driver.run


sys.meta_path.insert(0, _Finder())

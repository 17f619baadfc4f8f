"""Import stable-worldmodel without the 200 MB that its data files and image transforms need.

Its package imports Lance, Arrow and torchvision wherever it is imported, though planning uses none
of them; and on PyPI there is no torchvision that works with a PyTorch without CUDA. What is
missing of them gets a stand-in here; all that the tests use of the library is its own.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

NOT_NEEDED_TO_PLAN = ('imageio', 'lancedb', 'pyarrow', 'torchvision')


class StandIn(types.ModuleType):
    """A module that has every name, for nothing."""

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stand-in for each of these packages and whatever is in them."""

    def __init__(self, packages):
        self.packages = packages

    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in self.packages:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        pass


def works(package):
    """Whether a package can be imported; an installed torchvision may not fit PyTorch."""
    if importlib.util.find_spec(package) is None:
        return False
    try:
        importlib.import_module(package)
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.split('.')[0] == package]:
            del sys.modules[name]
        return False
    return True


@contextlib.contextmanager
def stand_ins():
    """While the library is imported, stand-ins where packages are missing or broken."""
    finder = Finder([package for package in NOT_NEEDED_TO_PLAN if not works(package)])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split('.')[0] in finder.packages]:
            del sys.modules[name]

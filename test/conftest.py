"""One thread for every solve, and the same examples every time."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

pytest.register_assert_rewrite('harness')
# `harness` and `system` are found by processes that tests start, too.
os.environ['PYTHONPATH'] = os.pathsep.join(
    filter(None, (str(Path(__file__).parent), os.environ.get('PYTHONPATH')))
)
torch.set_num_threads(1)
settings.register_profile('project', deadline=None, derandomize=True, database=None)
settings.load_profile('project')


def pytest_collection_modifyitems(items):
    """Leave out what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker('gpu'):
            item.add_marker(pytest.mark.skip(reason='needs a CUDA device'))

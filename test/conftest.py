"""One thread for every solve, and the same examples every time."""

import pytest
import torch
from hypothesis import settings

pytest.register_assert_rewrite('controller_rig', 'rival_harness')
torch.set_num_threads(1)
settings.register_profile('project', deadline=None, derandomize=True, database=None)
settings.load_profile('project')

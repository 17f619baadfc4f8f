"""How the process gets its memory."""

import platform
import subprocess
import sys

import pytest

# With a low threshold fixed, large tensors come from the system and go back to it.
PROGRAM = """
import ctypes
import resource
import torch
from grasp_ros.planning.process_tuning import M_MMAP_THRESHOLD, keep_freed_memory

torch.set_num_threads(1)
ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**17)
if {keep}:
    keep_freed_memory()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        several = [torch.ones(2**20) for _ in range(3)]
        del several
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


def page_faults(keep: bool) -> int:
    """Of 20 times 12 MiB, after as many to warm up."""
    program = PROGRAM.format(keep=keep)
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='a setting of glibc')
def test_freed_memory_is_used_again_without_the_system():
    assert page_faults(keep=False) > 1000
    assert page_faults(keep=True) < 100

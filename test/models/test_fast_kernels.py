"""Kernels that PyTorch does not document equal what it does, and are not needed."""

import subprocess
import sys

import pytest
import torch

from grasp_ros.models import fast_kernels

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]

WITHOUT_KERNELS = """
import sys
import torch

if {broken}:
    torch._fused_adam_ = lambda *arguments, **options: None
else:
    del torch._fused_adam_
torch.ops.mkldnn.__dict__['_linear_pointwise'] = {product}

from grasp_ros.models import fast_kernels

assert not fast_kernels.HAS_FUSED_ADAM
assert not fast_kernels.HAS_ONEDNN
variable = torch.tensor([1.0, -1.0])
fast_kernels.adam_step(
    variable, torch.tensor([1.0, -1.0]), torch.zeros(2), torch.zeros(2), torch.tensor(1.0), 0.25
)
print(variable.tolist(), fast_kernels.linear(torch.ones(1024, 64), torch.ones(64, 64))[0, 0])
"""


@pytest.fixture(params=[True, False], ids=['kernel', 'public'])
def kernels(request, monkeypatch):
    """With the kernels, and without them."""
    assert fast_kernels.HAS_FUSED_ADAM, 'the PyTorch of the tests has it'
    if not request.param:
        monkeypatch.setattr(fast_kernels, 'HAS_FUSED_ADAM', False)
        monkeypatch.setattr(fast_kernels, 'HAS_ONEDNN', False)


@pytest.mark.parametrize('rows', [1, 50])
def test_products_of_any_size_are_the_same(rows, kernels):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(rows, 200, generator=generator)
    weight = torch.randn(300, 200, generator=generator)
    bias = torch.randn(300, generator=generator)
    assert (rows * weight.numel() >= fast_kernels.ONEDNN_MULTIPLICATIONS) == (rows == 50)
    for given in (weight, weight.t().contiguous().t()):
        for added in (bias, None):
            expected = inputs.double() @ weight.double().t()
            expected = expected if added is None else expected + bias.double()
            found = fast_kernels.linear(inputs, given, added)
            torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('as_tensor', [False, True])
def test_steps_are_those_of_adam(as_tensor, dtype, device, kernels):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=generator, dtype=dtype).to(device)
    variable = start.clone()
    first, second = torch.zeros_like(variable), torch.zeros_like(variable)
    steps = torch.zeros((), device=device)
    rate = torch.full((), 0.1, dtype=dtype, device=device) if as_tensor else 0.1
    expected = start.clone().requires_grad_()
    adam = torch.optim.Adam([expected], lr=0.1)
    for scale in (1.0, 1e-3, 10.0, 0.0, 1.0):
        # Other strides and another precision than the variable's, as gradients may have.
        gradient = scale * torch.randn(3, 4, generator=generator).to(device).bfloat16().t()
        expected.grad = gradient.to(dtype)
        adam.step()
        steps.add_(1)
        fast_kernels.adam_step(variable, gradient, first, second, steps, rate)
        torch.testing.assert_close(variable, expected.detach(), rtol=1e-5, atol=1e-6)
    assert not torch.equal(variable, start)


@pytest.mark.parametrize('broken', [False, True], ids=['missing', 'wrong'])
def test_a_pytorch_without_the_kernels_is_noticed_at_import(broken):
    product = 'lambda inputs, *_: inputs[:, :1] * 0' if broken else 'None'
    program = WITHOUT_KERNELS.format(broken=broken, product=product)
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == '[0.75, -0.75] tensor(64.)'

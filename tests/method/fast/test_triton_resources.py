"""Every Triton kernel that is offered, compiled ahead of time for GPUs that are not here: what it takes of them.

A kernel that spills registers to memory, or takes all of a multiprocessor, would be slow for reasons that no test of
its numbers shows.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("triton")

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ffc_dense.method.fast.triton_kernels import backward_kernel, forward_kernel
from ffc_dense.method.fast.triton_mean import tile

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
if not CUOBJDUMP.exists():
    CUOBJDUMP = shutil.which("cuobjdump")
pytestmark = pytest.mark.skipif(not CUOBJDUMP, reason="this Triton brings no cuobjdump")

MAX_REGISTERS = 208  # of a thread: at most 255, and with 208 for 256 threads a multiprocessor is not yet full
MAX_SHARED = 16 * 1024  # bytes of a block: several fit on every GPU since Volta
capabilities = pytest.mark.parametrize("capability", [80, 90])
WIDTHS = [512, 1024, 2048]


def compiled(kernel, signature, constants, capability, warps, aligned):
    """(registers, bytes spilled, bytes of shared memory) of a kernel."""
    attributes = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or (name in aligned and signature[name] == "i32")
    }
    try:
        binary = triton.compile(
            ASTSource(kernel, signature, constants, attributes),
            target=GPUTarget("cuda", capability, 32),
            options=dict(num_warps=warps),
        )
    except (RuntimeError, OSError) as error:
        if "ptxas" in str(error) and "not find" in str(error):
            pytest.skip(f"Triton cannot compile here: {error}")
        raise
    return binary


def resources(binary, folder):
    path = folder / "kernel.cubin"
    path.write_bytes(binary.asm["cubin"])
    report = subprocess.run([CUOBJDUMP, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    registers, stack, local = map(int, re.search(r"REG:(\d+) STACK:(\d+).*?LOCAL:(\d+)", report).groups())
    return registers, stack + local, binary.metadata.shared


def chain(kernel, features, layout, dtype, capability):
    """One of the two kernels of the filter chain, as ``triton_mean`` launches it."""
    constants = dict(tile(features, layout == "rows"), FILTERS=3)
    warps = constants.pop("num_warps")
    ours = ("x_ptr", "out_ptr", "grad_ptr", "grad_x_ptr", "sum_ptr")
    adjacent = "_feature" if layout == "rows" else "_position"
    signature = {}
    for name in kernel.arg_names:
        if name.endswith(adjacent):
            constants[name] = 1
        kind = f"*{dtype if name in ours else 'fp32'}" if name.endswith("_ptr") else "i32"
        signature[name] = "constexpr" if name in constants else kind
    # Rows are aligned; those of a 97x97 map are not.
    aligned = kernel.arg_names if layout == "rows" else ()
    return compiled(kernel, signature, constants, capability, warps, aligned)


@capabilities
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("layout", ["rows", "map"])
@pytest.mark.parametrize("features", WIDTHS)
@pytest.mark.parametrize("kernel", [forward_kernel, backward_kernel], ids=["forward", "backward"])
def test_no_kernel_of_the_chain_spills(kernel, features, layout, dtype, capability, tmp_path):
    registers, spilled, shared = resources(chain(kernel, features, layout, dtype, capability), tmp_path)
    assert spilled == 0
    assert registers <= MAX_REGISTERS
    assert shared <= MAX_SHARED


@pytest.mark.parametrize(
    ("features", "layout"), [(32, "map"), (256, "map"), (256, "rows"), (4096, "rows"), (4096, "map")]
)
def test_narrow_and_the_widest_layers_do_not_spill(features, layout, tmp_path):
    assert resources(chain(backward_kernel, features, layout, "fp32", 90), tmp_path)[1] == 0


@capabilities
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_vote_kernel_does_not_spill(dtype, capability, tmp_path):
    from ffc_dense.segmentation.model.upsampled_vote_triton import BLOCK, _vote_kernel

    constants = dict(ALIGN_CORNERS=False, COUNT=True, M_BLOCK=8, BLOCK=BLOCK)
    pointers = dict(maps=f"*{dtype}", result="*fp32", agreement="*fp32")
    signature = {
        name: "constexpr"
        if name in constants
        else pointers.get(name, "fp32" if name.startswith("scale") or name == "raising" else "i32")
        for name in _vote_kernel.arg_names
    }
    binary = compiled(_vote_kernel, signature, constants, capability, 4, ())
    registers, spilled, shared = resources(binary, tmp_path)
    assert spilled == 0 and registers <= 128 and shared <= MAX_SHARED


def test_a_tile_that_is_too_large_would_be_seen(monkeypatch, tmp_path):
    monkeypatch.setattr("ffc_dense.method.fast.triton_mean.MAP_TILE", 8192)
    assert resources(chain(backward_kernel, 512, "map", "fp32", 80), tmp_path)[1] > 0

"""A program that sets torch's precision by its newer names is sampled, and described, as any other."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

NEWER = hasattr(torch.backends, "fp32_precision")


def told(*settings: str) -> str:
    """What a fresh process says, since these settings are the process's: the precisions, and cuDNN's before, in, after."""
    program = [
        "import torch",
        *settings,
        "from memcore.sampling.diffusers.precision import describe_precision, deterministic_kernels",
        "cudnn = torch.backends.cudnn",
        "cudnn.benchmark = True",
        "said = [(cudnn.benchmark, cudnn.deterministic)]",
        "with deterministic_kernels(): said.append((cudnn.benchmark, cudnn.deterministic))",
        "said.append((cudnn.benchmark, cudnn.deterministic))",
        "assert said == [(True, False), (False, True), (True, False)], said",
        "print(*describe_precision(on_gpu=True).values(), sep=', ')",
        "assert list(describe_precision(on_gpu=False)) == ['matmul_precision']",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(program)], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_as_torch_is_when_nothing_is_set() -> None:
    assert told() == "highest, tf32, cudnn"


@pytest.mark.skipif(not NEWER, reason="torch has the newer names from 2.9 on")
def test_newer_names() -> None:
    """``allow_tf32`` and ``get_float32_matmul_precision`` raise in each of these programs."""
    assert told("torch.backends.fp32_precision = 'ieee'") == "highest, ieee, cudnn"
    convolution = "torch.backends.cudnn.conv.fp32_precision = 'ieee'"
    assert told(convolution) == "highest, ieee, cudnn"
    both = ("torch.backends.fp32_precision = 'ieee'", "torch.backends.cuda.matmul.fp32_precision = 'tf32'")
    assert told(*both) == "fp32_precision tf32, ieee, cudnn"


def test_deterministic_algorithms() -> None:
    """Where the program asks for them, torch may choose other kernels than before: another fingerprint."""
    assert told("torch.use_deterministic_algorithms(True)") == "highest, tf32, all"
    warned = "torch.use_deterministic_algorithms(True, warn_only=True)"
    assert told(warned) == "highest, tf32, all that there are"

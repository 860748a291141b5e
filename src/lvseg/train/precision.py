"""Precision of a training step: how wide the numbers are that the layers compute with."""

from __future__ import annotations

import platform
import time
from typing import Literal

import torch
from torch.nn import functional

Precision = Literal["float32", "bfloat16", "float16"]


def resolve_precision(wanted: Precision | Literal["auto"], device: torch.device) -> Precision:
    """``auto`` is bfloat16 where the device computes it natively, else float32.

    Emulated bfloat16 takes longer than float32, on a CPU ten times as long.
    """
    if wanted != "auto":
        return wanted
    native = _cuda_has_bfloat16() if device.type == "cuda" else _cpu_has_bfloat16()
    return "bfloat16" if native else "float32"


def _cuda_has_bfloat16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _cpu_has_bfloat16() -> bool:
    """Whether the processor has the instructions; measured where torch cannot say.

    Not ``torch.ops.mkldnn._is_mkldnn_bf16_supported``: on x86 that accepts emulation by AVX-512.
    """
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if has_instructions is not None and platform.machine().lower() in ("x86_64", "amd64"):
        return bool(has_instructions())
    return _step_seconds(torch.bfloat16) < _step_seconds(torch.float32)


def _step_seconds(dtype: torch.dtype) -> float:
    """Least of three times of one convolution, forwards and backwards, on the CPU."""
    images = torch.ones(4, 16, 96, 96, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernels = torch.ones(16, 16, 3, 3, dtype=dtype, requires_grad=True)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        functional.conv2d(images, kernels, padding=1).sum().backward()  # type: ignore[no-untyped-call]
        taken.append(time.perf_counter() - began)
    return min(taken)

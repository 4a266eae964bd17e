"""Number formats by what the device can do."""

from __future__ import annotations

import pytest
import torch

from training.trainers import hardware


@pytest.mark.parametrize(
    ("cuda", "native", "sampling", "autocasts"),
    [
        (False, False, torch.float32, False),
        (True, True, torch.bfloat16, True),
        # A T4 or V100: torch says yes to bfloat16, but only emulates it.
        (True, False, torch.float16, False),
    ],
)
def test_bfloat16_is_used_where_the_device_has_it(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, native: bool, sampling: torch.dtype, autocasts: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: cuda and (native or including_emulation)
    )
    assert hardware.sampling_dtype() == sampling
    assert hardware.autocasts() is autocasts
    if cuda:
        assert hardware.emulates_bfloat16() is not native


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_a_precision_that_is_asked_for_holds_on_any_device(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setattr(hardware, "_precision", "auto")
    for native in (False, True):
        monkeypatch.setattr(hardware, "has_bfloat16", lambda native=native: native)
        hardware.compute_in(asked)
        assert hardware.autocasts() is (asked == "bfloat16")
        hardware.compute_in("auto")
        assert hardware.autocasts() is native


@pytest.mark.parametrize(
    ("known", "emulated"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, False),
        ({"architecture": "x86_64", "avx512_f": True}, True),
        ({"architecture": "aarch64"}, False),  # nothing is known, so nothing is said
    ],
)
def test_a_processor_without_units_for_bfloat16_is_told_by_its_flags(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, object], emulated: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert hardware.emulates_bfloat16() is emulated

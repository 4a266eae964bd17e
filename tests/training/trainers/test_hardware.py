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

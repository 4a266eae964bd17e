"""The folder `platform/` must stay a plain folder, and trainers must start without Django or torch."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_platform_folder_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    code = "import platform, hone; print(platform.system(), hone.__name__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split()[1] == "hone"


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo", "sample", "prepare"])
def test_a_trainer_starts_without_django_and_loads_torch_only_when_it_trains(stage: str) -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv[1:] = ['--help']\n"
        f"try: runpy.run_module('training.trainers.{stage}', run_name='__main__')\n"
        "except SystemExit as ended: assert not ended.code\n"
        "found = {'django', 'celery', 'rest_framework', 'hone', 'labeling', 'torch'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.slow
def test_web_process_imports_no_torch() -> None:
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE']='hone.settings';"
        "import django; django.setup();"
        "from django.urls import get_resolver; get_resolver().url_patterns;"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'vllm'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

"""The folder `platform/` must stay a plain folder, and trainers must start without Django or torch."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_platform_folder_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    code = "import platform, hone; print(platform.system(), hone.__name__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split()[1] == "hone"


def test_web_process_imports_no_torch() -> None:
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE']='hone.settings';"
        "import django; django.setup();"
        "from django.urls import get_resolver; get_resolver().url_patterns;"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'vllm'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

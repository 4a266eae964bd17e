"""The operator's files say what the code says: compose commands, environment names, images, the guide's table."""

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hone.supervisor import commands
from training import launcher

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
SUPERVISED = {command.name: command.argv for command in commands(address="0.0.0.0:8000")}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def names_read_by_settings() -> set[str]:
    """The first argument of every env.text, env.boolean, env.integer and env.words in settings.py."""
    tree = ast.parse((ROOT / "platform" / "hone" / "settings.py").read_text(encoding="utf-8"))
    return {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "env"
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def stages() -> dict[str, str]:
    """The Dockerfile's stages by name, each with its own lines."""
    parts = re.split(r"^(FROM \S+ AS \S+)$", DOCKERFILE, flags=re.MULTILINE)
    return {head.split()[-1]: f"{head}\n{body}" for head, body in zip(parts[1::2], parts[2::2], strict=True)}


def requirement_files(target: str) -> set[str]:
    """The requirement files installed into a target, through the stages that it starts or copies from."""
    lines = stages()[target]
    before = {name for name in re.findall(r"(?:^FROM |--from=)(\S+)", lines, flags=re.MULTILINE) if name in stages()}
    own = set(re.findall(r"-r requirements/(\S+)", lines))
    return own.union(*(requirement_files(name) for name in before))


def test_services_cover_the_supervisors_processes() -> None:
    assert set(SUPERVISED) <= set(SERVICES)
    assert {"db", "broker", "migrate"} <= set(SERVICES)


@pytest.mark.parametrize("name", [*SUPERVISED, "trainer-gpu"])
def test_command_is_the_supervisors_but_for_the_interpreter(name: str) -> None:
    assert SERVICES[name]["command"] == ["python", *SUPERVISED[name.removesuffix("-gpu")][1:]]


@pytest.mark.parametrize("name", OURS)
def test_every_environment_name_is_read_by_the_settings(name: str) -> None:
    given = {key.removesuffix("_FILE") for key in SERVICES[name]["environment"]}
    assert given - names_read_by_settings() == set()


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_the_guides_table_reaches_the_containers(name: str) -> None:
    """The table is what the settings read, see below; the image says where var/ is, and DEBUG stays off."""
    given = {key.removesuffix("_FILE") for key in SERVICES[name]["environment"]}
    assert names_read_by_settings() - given == {"HONE_VAR", "DEBUG"}


@pytest.mark.parametrize("name", ["trainer", "trainer-gpu"])
def test_trainers_read_their_hardware_settings_from_a_file_that_may_be_missing(name: str) -> None:
    assert SERVICES[name]["env_file"] == [{"path": "./trainer.env", "required": False}]
    guide = (ROOT / "docs" / "guides" / "operator.md").read_text(encoding="utf-8")
    assert "`trainer.env`" in guide and all(f"`{prefix}`" in guide for prefix in launcher._PASSED_PREFIXES)


def test_make_clean_keeps_labels_and_models() -> None:
    done = subprocess.run(["make", "-n", "clean"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ".venv" in done.stdout
    removed = [word for line in done.stdout.splitlines() if line.startswith("rm") for word in line.split()]
    assert not any(word.strip("/").split("/")[0] == "var" for word in removed)


@pytest.mark.parametrize("name", OURS)
def test_secrets_and_volumes_that_a_service_names_are_declared(name: str) -> None:
    service = SERVICES[name]
    assert set(service["secrets"]) <= set(COMPOSE["secrets"])
    files = [value for key, value in service["environment"].items() if key.endswith("_FILE")]
    assert {Path(path).name for path in files} <= set(service["secrets"])
    assert {volume.split(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", ["web", "worker", "trainer", "trainer-gpu"])
def test_whoever_freezes_or_reads_data_shares_the_four_volumes(name: str) -> None:
    assert {volume.split("/")[-1] for volume in SERVICES[name]["volumes"]} == {"runs", "snapshots", "models", "corpora"}


@pytest.mark.parametrize("name", ["web", "worker", "trainer", "trainer-gpu", "beat"])
def test_processes_wait_for_the_migrated_database(name: str) -> None:
    assert SERVICES[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_web_health_check_asks_the_health_page_of_an_allowed_host() -> None:
    web = SERVICES["web"]
    assert "http://127.0.0.1:8000/health/" in web["healthcheck"]["test"][-1]
    assert web["environment"]["ALLOWED_HOSTS"].split(",")[0] == "127.0.0.1"


@pytest.mark.parametrize("name", ["trainer", "trainer-gpu"])
def test_a_stopped_trainer_has_time_to_save_its_state(name: str) -> None:
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > launcher.GRACE_SECONDS


def test_web_image_installs_the_web_set_alone_and_no_torch() -> None:
    assert requirement_files("web") == {"web.txt"}
    locked = (ROOT / "requirements" / "web.txt").read_text(encoding="utf-8")
    names = set(re.findall(r"^([a-z0-9._-]+)==", locked, flags=re.MULTILINE))
    assert "django" in names and names.isdisjoint({"torch", "transformers", "trl", "peft", "accelerate", "vllm"})


def test_trainer_image_adds_torch_and_the_trainers_set() -> None:
    assert requirement_files("trainer") == {"web.txt", "torch.txt", "train.txt", "model.txt"}


@pytest.mark.parametrize("name", OURS)
def test_built_targets_exist_and_do_not_run_as_root(name: str) -> None:
    assert stages()[SERVICES[name]["build"]["target"]].rstrip().endswith("USER hone")


def test_operators_table_lists_exactly_what_the_settings_read() -> None:
    guide = (ROOT / "docs" / "guides" / "operator.md").read_text(encoding="utf-8")
    section = guide.split("## Environment variables")[1].split("\n## ")[0].split("Read elsewhere")[0]
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", section, flags=re.MULTILINE))
    assert listed == names_read_by_settings()

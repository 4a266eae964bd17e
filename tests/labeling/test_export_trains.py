"""What the export promises: TRL's trainers eat the file unchanged."""

from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from hone.accounts.models import ApiToken, Project, User
from tests import factories

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    from training.trainers.prepare import main

    folder = tmp_path / "tiny"
    assert main(["--model", "tiny", "--output", str(folder)]) in (0, None)
    return folder


def exported(project: Project, manager: User, fmt: str, tmp_path: Path) -> Any:
    """The comparisons as a data consumer gets them: over HTTP with a token, read by `datasets`."""
    from datasets import load_dataset

    for _ in range(3):
        factories.make_ranking(factories.make_member(project), project, [[0], [1, 2], [3]])
    _token, secret = ApiToken.objects.create(user=manager, name="consumer")
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Token {secret}")
    answer = api.get(f"/api/v1/projects/{project.slug}/comparisons/export/?fmt={fmt}")
    path = tmp_path / "comparisons.jsonl"
    path.write_bytes(b"".join(answer.streaming_content))
    return load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize("fmt", ["conversational", "plain"])
@pytest.mark.parametrize("trainer", ["dpo", "reward"])
def test_trl_trains_on_the_export_unchanged(
    project: Project, manager: User, tiny: Path, tmp_path: Path, fmt: str, trainer: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    rows = exported(project, manager, fmt, tmp_path)
    assert len(rows) == 15
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    common: dict[str, Any] = {
        "output_dir": str(tmp_path / "out"), "max_steps": 2, "per_device_train_batch_size": 2, "report_to": [],
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "save_strategy": "no", "logging_steps": 1,
    }  # fmt: skip
    made: Any
    if trainer == "dpo":
        model = AutoModelForCausalLM.from_pretrained(tiny)
        made = DPOTrainer(model=model, args=DPOConfig(**common), train_dataset=rows, processing_class=tokenizer)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=1)
        model.config.pad_token_id = tokenizer.pad_token_id
        made = RewardTrainer(model=model, args=RewardConfig(**common), train_dataset=rows, processing_class=tokenizer)
    made.train()
    assert made.state.global_step == 2


@pytest.mark.parametrize("fmt", ["conversational", "plain"])
def test_a_form_that_comes_after_many_rows_keeps_the_file_loading(
    project: Project, manager: User, contractor: User, tmp_path: Path, fmt: str
) -> None:
    """Readers take the columns from the first 10 MB; here from as much as the rows without a form and a guideline."""
    import uuid

    from datasets import load_dataset

    from labeling import assignment, ranking_forms, responses
    from labeling.export import comparison_lines

    factories.make_ranking(contractor, project, [[0], [1]])
    lines = list(comparison_lines(project=project, fmt=fmt))
    scale = {"key": "quality", "label": "Quality", "low": 1, "high": 7, "low_label": "", "high_label": ""}
    flag = {"key": "unsafe", "label": "Unsafe", "help": ""}
    factories.make_guideline(project)
    for key in ("quality", "style"):  # each form brings a key that the rows before it lack
        form = {"scales": [{**scale, "key": key, "optional": False}], "flags": [flag], "strength": True}
        ranking_forms.change(project=project, form={**form, "reason": "required"}, actor=manager)
        factories.make_batch(project, answers=2)
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None and slot.lease_token is not None
        rated = {"A": {key: 2}, "B": {key: 6}}
        more = {"ratings": rated, "flags": {"A": ["unsafe"]}, "strength": 3, "reason": "A lies"}
        answer = {**factories.rank_answer(slot, [[0], [1]]), **more}
        token = slot.lease_token
        responses.submit(slot_id=slot.pk, user=contractor, lease_token=token, client_key=uuid.uuid4(), answer=answer)
    early, *late = b"".join(comparison_lines(project=project, fmt=fmt)).splitlines(keepends=True)
    assert [early] == lines and len(late) == 2
    path = tmp_path / "grown.jsonl"
    path.write_bytes(early * 40 + b"".join(late) * 40)
    rows = load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"), chunksize=len(early) * 10
    )
    assert len(rows) == 120 and set(rows["strength"]) == {0, 3} and set(rows["guideline_version"]) == {0, 1}
    assert set(rows["chosen_ratings"]) >= {"{}"} and "style" in rows[-1]["chosen_ratings"]

"""Import: every known shape, all or nothing, faults by line."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from hone.accounts.models import Project, User
from labeling.importing import ImportRefused, import_demonstrations, import_prompts
from labeling.models import Demonstration, Prompt

pytestmark = pytest.mark.django_db
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def lines(*rows: Any) -> io.BytesIO:
    return io.BytesIO("\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode())


def load(project: Project, user: User, file: io.BytesIO, kind: str = "prompts") -> Any:
    function = import_prompts if kind == "prompts" else import_demonstrations
    return function(project=project, file=file, name="file.jsonl", actor=user)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Why?"}]},
        {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
        {"instruction": "Why?", "input": "", "output": "Because."},
        {"turns": ["Why?", "And then?"], "category": "reasoning"},
        {"instruction": "Why?", "instances": [{"input": "", "output": "Because."}]},
        {"question": "Why?", "std_answer": "Because.", "class": "open qa"},
        {"user_prompt": "Why?"},
        {"prompt": [{"role": "user", "content": "Why?"}]},
    ],
)
def test_every_known_shape_gives_the_same_prompt(project: Project, manager: User, row: dict[str, Any]) -> None:
    assert load(project, manager, lines(row)).created == 1
    assert Prompt.objects.get().messages == [{"role": "user", "content": "Why?"}]


def test_alpaca_input_follows_the_instruction(project: Project, manager: User) -> None:
    load(project, manager, lines({"instruction": "Translate.", "input": "Hola", "output": "Hello"}))
    assert Prompt.objects.get().messages[0]["content"] == "Translate.\n\nHola"


def test_a_json_list_and_gzip_are_sniffed(project: Project, manager: User) -> None:
    rows = json.dumps([{"prompt": "One?"}, {"prompt": "Two?"}], indent=1).encode()
    assert load(project, manager, io.BytesIO(gzip.compress(rows))).created == 2


def test_repeats_in_the_file_and_the_project_are_counted(project: Project, manager: User) -> None:
    load(project, manager, lines({"prompt": "One?"}))
    done = load(project, manager, lines({"prompt": "One?"}, {"prompt": " One? "}, {"prompt": "Two?"}))
    assert (done.created, done.duplicates, Prompt.objects.count()) == (1, 2, 2)


def test_language_is_found_and_may_be_given(project: Project, manager: User) -> None:
    load(project, manager, lines({"prompt": "你好吗？"}, {"prompt": "Hola", "language": "es"}, {"prompt": "Hello"}))
    assert list(Prompt.objects.order_by("id").values_list("language", flat=True)) == ["zh", "es", "en"]


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b'{"prompt": "a"}\n{"prompt": \n', 2, "not valid JSON"),
        (b'{"prompt": "a"}\n\n["x"]\n', 3, "must be an object"),
        (b'{"prompt": "a"}\n{"text": "b"}\n', 2, "no prompt found"),
        (b'{"messages": [{"role": "user", "content": ""}]}', 1, "message 1 is empty"),
        (b'{"messages": [{"role": "robot", "content": "x"}]}', 1, "must be system, user or assistant"),
        (b'{"messages": [{"role": "user", "content": 5}]}', 1, "needs a role and a text"),
        (b'{"messages": [{"role":"user","content":"a"},{"role":"user","content":"b"}]}', 1, "take turns"),
        (b'{"prompt": "a"}\n{"prompt": "\xff"}\n', 1, "not UTF-8: byte 0xff"),
        (b"", 1, "holds no rows"),
        (b'[{"prompt": "a"},', 1, "not valid JSON"),
        (gzip.compress(b'{"prompt": "a"}\n' * 50)[:-12], 1, "damaged"),
    ],
)
def test_a_malformed_file_names_line_and_reason_and_imports_nothing(
    project: Project, manager: User, content: bytes, line: int, words: str
) -> None:
    with pytest.raises(ImportRefused) as refused:
        load(project, manager, io.BytesIO(content))
    fault = refused.value.faults[0]
    assert words in fault.reason
    if "UTF-8" not in words and "damaged" not in words:
        assert fault.line == line
    assert refused.value.file == "file.jsonl"
    assert not Prompt.objects.exists()


def test_a_fault_after_two_thousand_good_rows_rolls_all_of_them_back(project: Project, manager: User) -> None:
    rows = [{"prompt": f"Question {n}?"} for n in range(2500)]
    with pytest.raises(ImportRefused) as refused:
        load(project, manager, lines(*rows, {"nothing": 1}))
    assert refused.value.faults[0].line == 2501
    assert not Prompt.objects.exists()


def test_several_faults_are_named_at_once(project: Project, manager: User) -> None:
    with pytest.raises(ImportRefused) as refused:
        load(project, manager, lines({"prompt": "ok?"}, {}, {"prompt": "ok too?"}, []))
    assert [fault.line for fault in refused.value.faults] == [2, 4]


def test_demonstrations_need_an_answer(project: Project, manager: User) -> None:
    with pytest.raises(ImportRefused, match="no answer"):
        load(project, manager, lines({"prompt": "Why?"}), "demonstrations")


def test_demonstrations_are_imported_once(project: Project, manager: User) -> None:
    row = {"instruction": "Why?", "output": "Because."}
    assert load(project, manager, lines(row), "demonstrations").created == 1
    assert load(project, manager, lines(row), "demonstrations").duplicates == 1
    assert Demonstration.objects.get().messages[-1] == {"role": "assistant", "content": "Because."}


def test_the_shipped_examples_are_whole(project: Project, manager: User) -> None:
    with (EXAMPLES / "prompts.jsonl").open("rb") as file:
        prompts = import_prompts(project=project, file=file, name="prompts.jsonl", actor=manager)
    with (EXAMPLES / "demonstrations.jsonl").open("rb") as file:
        demonstrations = import_demonstrations(project=project, file=file, name="d.jsonl", actor=manager)
    assert prompts.created >= 60 and prompts.duplicates == 0
    assert demonstrations.created >= prompts.created // 2
    assert Prompt.objects.count() == prompts.created, "every demonstration's prompt is one of the prompts"
    assert Prompt.objects.values("category").distinct().count() == 10
    assert set(Prompt.objects.values_list("language", flat=True)) == {"en", "zh"}


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        ("prompts/mt_bench_question.jsonl", 80),
        ("prompts/vicuna_bench_question.jsonl", 80),
        ("prompts/belle_eval_set.json", 1000),
        ("prompts/moss_helpful_code_prompts.jsonl", 100),
        ("sft/selfinstruct_seed_tasks.jsonl", 175),
        ("sft/selfinstruct_user_oriented_instructions.jsonl", 252),
        ("sft/alpaca_zh_demo.json", 1000),
        ("sft/fastchat_dummy_conversation.json", 500),
    ],
)
def test_real_files_are_read(project: Project, manager: User, shared_data: Path, path: str, rows: int) -> None:
    with (shared_data / path).open("rb") as file:
        done = import_prompts(project=project, file=file, name=path, actor=manager)
    assert done.created + done.duplicates == rows
    assert Prompt.objects.count() == done.created > rows * 0.1

"""Import: every known shape, all or nothing, faults by line."""

import gzip
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction

from hone.accounts.models import Project, User
from labeling import reading
from labeling.importing import ImportRefused, import_demonstrations, import_prompts
from labeling.models import Demonstration, Prompt, Slot
from tests import factories

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
    assert load(project, manager, io.BytesIO(gzip.compress(rows, mtime=0))).created == 2


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
        (b'{"prompt": "a"}\n' * 1000 + b'{"prompt": "\xff"}\n', 1001, "not UTF-8: byte 0xff"),
        (b'[{"prompt": "a"},\n{"prompt": "\xff"}]', 2, "not UTF-8: byte 0xff"),
        ('{"prompt": "a"}'.encode("utf-16"), 1, "not UTF-8"),
        (b'{"prompt": "a"}\n{"prompt": ' + b"9" * 5000 + b"}\n", 2, "too many digits"),
        (b'{"prompt": "a"}\n{"prompt": ' + b"[" * 9999 + b"\n", 2, "nested too deeply"),
        (
            b'{"conversations": [{"from": ' + b"[" * 900 + b"]" * 900 + b', "value": "a"}]}',
            1,
            "needs a role and a text",
        ),
        (b"[" * 9999, 1, "nested too deeply"),
        (b'{"messages": [{"role": ["user"], "content": "x"}]}', 1, "needs a role and a text"),
        (b'{"messages": [{"role": {"a": 1}, "content": "x"}]}', 1, "needs a role and a text"),
        (b"", 1, "holds no rows"),
        (b'[{"prompt": "a"},', 1, "not valid JSON"),
        (gzip.compress(b'{"prompt": "a"}\n' * 50, mtime=0)[:-12], 1, "damaged"),
        (gzip.compress(b'{"prompt": "a"}\n' * 50, mtime=0)[:12] + b"\xff" * 40, 1, "damaged"),
        (b"\x1f\x8b\xff\xff", 1, "damaged"),
    ],
)
def test_a_malformed_file_names_line_and_reason_and_imports_nothing(
    project: Project, manager: User, content: bytes, line: int, words: str
) -> None:
    with pytest.raises(ImportRefused) as refused:
        load(project, manager, io.BytesIO(content))
    fault = refused.value.faults[0]
    assert words in fault.reason
    if words != "damaged":
        assert fault.line == line
    assert refused.value.file == "file.jsonl"
    assert not Prompt.objects.exists()


def test_lines_after_one_that_is_not_utf8_are_still_checked(project: Project, manager: User) -> None:
    with pytest.raises(ImportRefused) as refused:
        load(project, manager, io.BytesIO(b'{"prompt": "\xff"}\n{"prompt": "a"}\n{"prompt": "\xfe"}\n'))
    assert [fault.line for fault in refused.value.faults] == [1, 3]


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b'{"prompt": "a"}\n{"prompt": "' + b"x" * 3000 + b'"}', 2, "the line is longer"),
        (b"x" * 3000, 1, "the line is longer"),
        (b"[" + b" " * 9000 + b"]", 1, "use JSON Lines"),
        (b"[\n" * 9000, 1, "use JSON Lines"),
        (b"\n" * 99_999, 20_001, "the file holds more"),
        (b'{"prompt": "a"}\n' * 9999, 1251, "the file holds more"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_too_large_is_refused_before_it_is_read_whole(
    project: Project,
    manager: User,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    line: int,
    words: str,
    packed: bool,
) -> None:
    """A few kilobytes of gzip may hold gigabytes."""
    monkeypatch.setattr(reading, "LINE_BYTES", 2000)
    monkeypatch.setattr(reading, "LIST_BYTES", 8000)
    monkeypatch.setattr(reading, "FILE_BYTES", 20_000)
    file = io.BytesIO(gzip.compress(content, mtime=0) if packed else content)
    with pytest.raises(ImportRefused) as refused:
        load(project, manager, file)
    fault = refused.value.faults[0]
    assert words in fault.reason and fault.line == line
    assert not Prompt.objects.exists()


def test_an_overlong_answer_that_is_left_out_refuses_no_prompt(project: Project, manager: User) -> None:
    row = {"instruction": "Why?", "output": "x" * (project.max_chars + 1)}
    assert load(project, manager, lines(row)).created == 1
    assert Prompt.objects.get().messages == [{"role": "user", "content": "Why?"}]
    with pytest.raises(ImportRefused, match="characters"):
        load(project, manager, lines(row), "demonstrations")


def test_odd_characters_are_cleaned_in_every_column(project: Project, manager: User) -> None:
    content = rb'{"messages": [{"role": "user", "content": "a\u0000\ud83d", "html": "<b>"}],'
    content += rb' "source": "s\u0000", "language": "e\u0000n\ud83d", "category": "\u0000"}'
    load(project, manager, io.BytesIO(content))
    row = Prompt.objects.get()
    assert row.messages == [{"role": "user", "content": "a\ufffd"}], "and keys that a page would trust are dropped"
    assert (row.source, row.language, row.category) == ("s", "en\ufffd", "other")


@pytest.mark.parametrize("odd", [None, 0.5, {}, ["zh"], [[[]]], True, 7])
def test_odd_values_beside_the_prompt_do_not_matter(project: Project, manager: User, odd: Any) -> None:
    load(project, manager, lines({"prompt": "a", "category": odd, "class": odd, "language": odd, "source": odd}))
    assert Prompt.objects.get().category == "other"


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


def test_the_database_holds_an_imported_conversation_once(project: Project, manager: User, contractor: User) -> None:
    load(project, manager, lines({"instruction": "Why?", "output": "Because."}), "demonstrations")
    row = Demonstration.objects.get()
    row.pk = None
    with pytest.raises(IntegrityError, match="demonstration_imported_once"), transaction.atomic():
        row.save()
    factories.make_batch(project, "write")
    row.slot, row.author = Slot.objects.get(), contractor
    row.save()  # somebody may write the same


def test_the_look_up_of_known_conversations_reads_an_index(project: Project, manager: User) -> None:
    rows = [{"instruction": f"Why {n}?", "output": "Because."} for n in range(500)]
    load(project, manager, lines(*rows), "demonstrations")
    query = Demonstration.objects.filter(project=project, content_hash__in=["0" * 64, "1" * 64]).order_by().query
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE labeling_demonstration")  # of an empty table any index is as good
        sql, params = query.sql_with_params()
        cursor.execute(f"EXPLAIN {sql}", params)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "demonstration_by_hash" in plan


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_imports_of_one_file_at_once_make_each_row_once(project: Project, manager: User) -> None:
    rows = [{"instruction": f"Why {n}?", "output": "Because."} for n in range(20)]
    results: list[Any] = []

    def second() -> None:
        try:
            results.append(load(project, manager, lines(*rows), "demonstrations"))
        finally:
            connections.close_all()

    thread = threading.Thread(target=second)
    with transaction.atomic():
        assert load(project, manager, lines(*rows), "demonstrations").created == 20
        thread.start()
        thread.join(1)
    thread.join(20)
    [late] = results
    assert (late.created, late.duplicates, Demonstration.objects.count()) == (0, 20, 20)


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

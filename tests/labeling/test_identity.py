"""Names of models in answers: found where a text says them of itself, hidden from raters alone, or set aside."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from labeling import assignment, identity, queries
from labeling.batches import NewItem, open_batch
from labeling.export import comparison_lines
from labeling.models import Completion, Item, ModelNames, Slot
from labeling.models.model_names import default_names
from labeling.work import payload
from tests import factories
from training import snapshots
from training.records import RankingRow, read_parquet

NAMES = tuple(default_names().splitlines())


def shown(text: str, where: str = "self") -> str:
    return identity.shown(text, hidden={"where": where, "names": default_names()})["text"]


def html(text: str, where: str = "any") -> str:
    return identity.shown(text, hidden={"where": where, "names": default_names()})["html"]


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("I am ChatGPT, a model by OpenAI.", "I am ▒▒▒, a model by ▒▒▒."),
        ("I’m a large language model trained by OpenAI.", "I’m a large language model trained by ▒▒▒."),
        ("As Qwen, made by Alibaba Cloud, I cannot.", "As ▒▒▒, made by ▒▒▒, I cannot."),
        ("as an AI model developed by Google DeepMind, I do", "as an AI model developed by ▒▒▒, I do"),
        ("My name is **Claude**.", "My name is **▒▒▒**."),
        ("You can call me Vicuna, if you like.", "You can call me ▒▒▒, if you like."),
        ("I was built by a team at Google.", "I was built by a team at ▒▒▒."),
        ("I'm Qwen2.5-72B-Instruct. Ask.", "I'm ▒▒▒. Ask."),
        ("I am GPT-4o mini.", "I am ▒▒▒ mini."),
        ("I am Claude 3.5 Sonnet", "I am ▒▒▒ Sonnet"),
        ("I am chatgpt and CHATGPT is new.", "I am ▒▒▒ and ▒▒▒ is new."),
        ("Hi! ChatGPT here.", "Hi! ▒▒▒ here."),
        ("我是由阿里云开发的通义千问。", "我是由▒▒▒开发的▒▒▒。"),
        ("我是GPT-4吗？", "我是▒▒▒吗？"),
        ("作为一个由OpenAI训练的助手，我不能。", "作为一个由▒▒▒训练的助手，我不能。"),
        ("Ich bin ChatGPT von OpenAI.", "Ich bin ▒▒▒ von ▒▒▒."),
        # What it called itself is hidden wherever it stands.
        ("I am Qwen.\n\nLater: `pip install Qwen`", "I am ▒▒▒.\n\nLater: `pip install ▒▒▒`"),
    ],
)
def test_what_an_answer_says_of_itself_is_hidden(said: str, seen: str) -> None:
    assert shown(said) == seen


@pytest.mark.parametrize(
    "text",
    [
        "Models such as ChatGPT help, I think.",
        "I am a teacher who uses ChatGPT.",
        "Claude Monet was born in 1840.",
        "OpenAI was founded in 2015; Google made BERT.",
        "ChatGPTs and Llamas are plural, and so is Gptish.",
        "I made a list of assistants. Gemini is one of them.",
        "百度是一家公司。",
        "",
    ],
)
def test_what_is_about_others_is_left_alone(text: str) -> None:
    assert shown(text) == text


def test_any_place_of_a_name_is_hidden_where_the_project_says_so() -> None:
    assert shown("Claude Monet used ChatGPT; 百度也是。", "any") == "▒▒▒ Monet used ▒▒▒; ▒▒▒也是。"
    assert shown("ChatGPTs, gpt_x, metal, Chat GPTs", "any") == "ChatGPTs, gpt_x, metal, Chat GPTs"


HIDDEN = '<span class="name-hidden" role="img" aria-label="name hidden">▒▒▒</span>'


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("**ChatGPT** and *Claude*", f"<strong>{HIDDEN}</strong> and <em>{HIDDEN}</em>"),
        ("`import openai`", f"<code>import {HIDDEN}</code>"),
        ("```python\nimport anthropic\n```", f'<code class="language-python">import {HIDDEN}\n</code>'),
        ("| a |\n|---|\n| Qwen-7B |", f'<td dir="auto">{HIDDEN}</td>'),
        ("[the docs of OpenAI](https://example.org)", f"the docs of {HIDDEN}</a>"),
        ("# Llama 3.1\n\ntext", f'<h2 dir="auto">{HIDDEN}</h2>'),
        ("- GPT-4\n- b", f'<li dir="auto">{HIDDEN}</li>'),
        ("<b>ChatGPT</b>", f"&lt;b&gt;{HIDDEN}&lt;/b&gt;"),
        ("$x$ Qwen", "<math"),
    ],
)
def test_markdown_stays_what_it_is(source: str, part: str) -> None:
    assert part in html(source)


def test_neither_addresses_nor_titles_name_it_and_no_attribute_breaks() -> None:
    made = html(
        "[x](https://openai.com/chatgpt \"by OpenAI > 'all'\") <https://claude.ai/chat> ```Qwen```\n\n```qwen\ny\n```"
    )
    assert not any(name in made.lower() for name in ("openai", "chatgpt", "claude", "qwen"))
    assert 'title="by ▒▒▒ &gt; ' in made or 'title="by ▒▒▒ > ' in made
    assert made.count("<span") == made.count("</span>") and '="<span' not in made


def test_a_text_with_blocks_or_marks_of_its_own_gets_no_false_names() -> None:
    bar = "Progress ▒▒▒ \ufdd0 60 %"
    assert shown(bar, "any") == bar and "name-hidden" not in html(bar)
    assert html(f"{bar} ChatGPT").count("name-hidden") == 1


@given(st.text(max_size=300))
def test_hiding_changes_nothing_but_names(text: str) -> None:
    spans = identity.names_in(text, names=NAMES, where="any")
    assert spans == sorted(spans) and all(a < b for a, b in spans)
    own = identity.names_in(text, names=NAMES, where="self")
    assert set(own) <= set(spans)
    if not spans:
        assert shown(text, "any") == text
    assert not identity.names_in(shown(text, "any"), names=NAMES, where="any")


def test_long_answers_take_no_time() -> None:
    """20,000 characters that begin like self-identification all along, and one name at the end."""
    text = "As I am, I was made and I am the model of my " * 450 + "GPT"
    before = time.perf_counter()
    for where in ("self", "any"):
        identity.names_in(text, names=NAMES, where=where)
    assert time.perf_counter() - before < 1


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts(part)


def read(path: Path) -> list[Any]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in content.splitlines()] if ".jsonl" in path.name else json.loads(content)


class TestRealText:
    def test_an_assistants_own_words_are_found(self, shared_data: Path) -> None:
        found = [
            text for text in texts(read(shared_data / "sft/fastchat_dummy_conversation.json")) if shown(text) != text
        ]
        assert len(found) > 40
        assert all("Vicuna" not in shown(text) for text in found)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "most"),
        [
            ("sft/alpaca_en_demo.json", 0),
            ("sft/alpaca_zh_demo.json", 0),
            ("preferences/dpo_en_demo.json", 0),
            ("preferences/dpo_zh_demo.json", 0),
            ("preferences/hh_helpful_base_test.jsonl.gz", 0),
            ("kresponses/alpaca_eval_k8.jsonl.gz", 10),
        ],
    )
    def test_texts_about_other_things_are_left_alone(self, shared_data: Path, name: str, most: int) -> None:
        assert sum(shown(text) != text for text in texts(read(shared_data / name))) <= most

    def test_hidden_html_has_no_name_and_whole_tags(self, shared_data: Path) -> None:
        rows = [text for text in texts(read(shared_data / "kresponses/alpaca_eval_k8.jsonl.gz")) if "OpenAI" in text]
        assert rows
        for text in rows:
            made = html(text)
            assert "openai" not in made.lower() and made.count("<span") == made.count("</span>") > 0


@pytest.mark.django_db
class TestMask:
    TRUE = "I am ChatGPT, made by OpenAI."

    @pytest.fixture
    def slot(self, project: Project, contractor: User) -> Slot:
        ModelNames.objects.create(project=project, handling="mask")
        answers = [self.TRUE, "A plain answer."]
        open_batch(project=project, kind="rank", name="R", items=[NewItem(factories.make_prompt(project), answers)])
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None
        return slot

    def test_raters_see_blocks_by_every_way(self, api: APIClient, contractor: User, slot: Slot) -> None:
        api.force_authenticate(contractor)
        work = api.post("/api/v1/projects/alpha/work/rank/next/").json()  # the lease that is held
        assert work == {**payload(slot=slot, user=contractor), "lease_expires_at": work["lease_expires_at"]}
        page = json.dumps(work, ensure_ascii=False)
        assert "ChatGPT" not in page and "OpenAI" not in page and "I am ▒▒▒, made by ▒▒▒." in page
        api.force_login(contractor)
        assert "ChatGPT" not in api.get("/p/alpha/rank/").content.decode()

    def test_what_is_stored_exported_and_trained_on_is_the_true_text(
        self, project: Project, contractor: User, slot: Slot
    ) -> None:
        factories.submit_next(project, contractor)
        assert Completion.objects.get(index=0).text == self.TRUE
        assert self.TRUE in b"".join(comparison_lines(project=project, fmt="plain")).decode()
        made = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
        [row] = read_parquet(made.path, row_type=RankingRow)
        assert self.TRUE in row.completions

    def test_a_project_that_hides_nothing_sees_them_and_reads_no_more(
        self, project: Project, contractor: User, django_assert_num_queries: Any
    ) -> None:
        open_batch(
            project=project, kind="rank", name="R", items=[NewItem(factories.make_prompt(project), [self.TRUE] * 2)]
        )
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None and slot.hidden_names is None
        with django_assert_num_queries(0):
            assert payload(slot=slot, user=contractor)["answers"][0]["text"] == self.TRUE


@pytest.mark.django_db
class TestSetAside:
    def open(self, project: Project, *answers: str) -> Item:
        batch = open_batch(
            project=project, kind="rank", name="R", items=[NewItem(factories.make_prompt(project), answers)]
        )
        return batch.items.get()

    @pytest.fixture(autouse=True)
    def aside(self, project: Project) -> None:
        ModelNames.objects.create(project=project, handling="aside")

    def test_an_answer_that_names_itself_is_left_out_and_the_others_keep_their_places(
        self, project: Project, contractor: User
    ) -> None:
        item = self.open(project, "Yes.", "I am ChatGPT.", "No.", "I use ChatGPT.")
        assert list(item.completions.values_list("index", "text")) == [(0, "Yes."), (2, "No."), (3, "I use ChatGPT.")]
        assert (item.withdrawn, item.batch.answers_set_aside) == ("", 1)
        slot = factories.submit_next(project, contractor)
        assert sorted(slot.order_shown or []) == [0, 2, 3]
        made = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
        [row] = read_parquet(made.path, row_type=RankingRow)
        assert sorted(row.completions) == ["I use ChatGPT.", "No.", "Yes."]

    def test_with_fewer_than_two_left_the_item_is_listed_not_handed_out_and_the_batch_is_whole(
        self, project: Project, manager: User, contractor: User, client: Any
    ) -> None:
        item = self.open(project, "I am ChatGPT.", "No.", "I am Claude.")
        assert item.withdrawn == "identity" and item.completions.count() == 3
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None
        assert queries.batch_progress(item.batch_id)["total"] == 0
        client.force_login(manager)
        html = client.get("/p/alpha/quality/items/").content.decode()
        assert "its answers name their model" in html
        client.post(f"/p/alpha/quality/items/{item.pk}/restore/")
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None and len(slot.order_shown or []) == 3

    def test_writing_is_not_touched(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, "write")
        assert assignment.next_slot(project=project, user=contractor, kind="write") is not None

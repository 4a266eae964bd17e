"""A project's writing rules at the API: live answers, refusals that write nothing, warnings kept with the label."""

import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import checks, tasks
from labeling.batches import NewItem, open_batch
from labeling.models import Demonstration, Draft, Prompt, PromptBand, Slot, WritingRules
from labeling.writing_rules import Changed, WritingRulesForm
from tests import factories

pytestmark = pytest.mark.django_db

PAGE = "/p/alpha/settings/writing/"
RICE = "How do I cook rice in a small pot without burning it at the bottom?"


def rules(project: Project, **fields: Any) -> WritingRules:
    return WritingRules.objects.create(project=project, **fields)


def begin(api: APIClient, user: User, project: Project, *prompts: Prompt | None) -> dict[str, Any]:
    open_batch(project=project, kind="write", name="Batch", items=[NewItem(prompt=prompt) for prompt in prompts])
    api.force_authenticate(user)
    return api.post(f"/api/v1/projects/{project.slug}/work/write/next/").json()


def conversation(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def check(api: APIClient, work: dict[str, Any], *texts: str) -> Any:
    return api.post(f"/api/v1/work/{work['slot']}/check/", {"messages": conversation(*texts)})


def submit(api: APIClient, work: dict[str, Any], *texts: str) -> Any:
    body = {
        "lease_token": work["lease_token"],
        "client_key": str(uuid.uuid4()),
        "messages": conversation(*texts),
        "active_seconds": 1,
    }
    return api.post(f"/api/v1/work/{work['slot']}/submit/", body)


def test_without_rules_nothing_is_found(project: Project) -> None:
    texts = conversation("Hi", "jane@acme.com +44 20 7946 0018")
    assert checks.run(project=project, messages=texts) == []


def test_a_blocking_finding_is_refused_at_its_field_and_nothing_is_written(
    api: APIClient, project: Project, contractor: User
) -> None:
    rules(project, personal="block", words_action="block", words="rice cooker")
    work = begin(api, contractor, project, factories.make_prompt(project, RICE))
    draft = {"messages": conversation("kept")}
    api.put(f"/api/v1/work/{work['slot']}/draft/", {"content": draft})
    answer = submit(api, work, RICE, "Take a rice  cooker and ask jane@acme.com.")
    assert answer.status_code == 400
    assert answer.json()["errors"] == {
        "messages.1.content": ["“rice cooker” is not wanted here. This looks like an e-mail address."]
    }
    assert not Demonstration.objects.exists() and Slot.objects.get().state == "leased"
    assert Draft.objects.get().content == draft
    assert submit(api, work, RICE, "Take a pot.").status_code == 201


def test_warnings_are_kept_with_the_label(api: APIClient, project: Project, contractor: User, reviewer: User) -> None:
    rules(project, personal="warn")
    work = begin(api, contractor, project, factories.make_prompt(project, RICE))
    text = "😀 Ask jane@acme.com."
    assert submit(api, work, RICE, text).status_code == 201
    [finding] = Demonstration.objects.get().findings
    assert (finding["check"], finding["action"], finding["message"]) == ("email", "warn", 1)
    assert text[finding["start"] : finding["end"]] == "jane@acme.com"
    api.force_authenticate(reviewer)
    [row] = api.get("/api/v1/projects/alpha/demonstrations/").json()["results"]
    assert row["findings"] == [finding]


def test_a_label_without_remarks_keeps_none(api: APIClient, project: Project, contractor: User) -> None:
    rules(project, personal="block", language="block", min_chars=3)
    work = begin(api, contractor, project, factories.make_prompt(project, RICE))
    assert (
        submit(api, work, RICE, "Use a heavy pot, little heat, and leave the lid on until it is done.").status_code
        == 201
    )
    assert Demonstration.objects.get().findings == []


@pytest.mark.parametrize(
    ("fields", "text", "sentence"),
    [
        ({"min_chars": 20}, "Short.", "6 characters; at least 20 are wanted."),
        ({"max_chars": 5}, "Too long", "8 characters; at most 5 are wanted."),
        (
            {"language": "block"},
            "Nimm einen schweren Topf, wenig Hitze, und lass den Deckel darauf.",
            "The prompt is in English, this looks like German.",
        ),
        ({"personal": "block", "phone_regions": "US"}, "Call 212 555 0143", "This looks like a phone number."),
    ],
)
def test_each_rule_refuses(
    api: APIClient, project: Project, contractor: User, fields: dict[str, Any], text: str, sentence: str
) -> None:
    rules(project, **fields)
    work = begin(api, contractor, project, factories.make_prompt(project, RICE))
    assert [found["sentence"] for found in check(api, work, RICE, text).json()["findings"]] == [sentence]
    assert submit(api, work, RICE, text).json()["errors"]["messages.1.content"] == [sentence]
    assert not Demonstration.objects.exists()


def test_given_turns_are_not_judged(api: APIClient, project: Project, contractor: User) -> None:
    rules(project, personal="block")
    asked = "Mail jane@acme.com for me"
    work = begin(api, contractor, project, factories.make_prompt(project, asked))
    assert check(api, work, asked, "I cannot.").json() == {"findings": []}
    assert submit(api, work, asked, "I cannot.").status_code == 201


def test_a_prompt_like_an_earlier_one_is_shown_with_it(api: APIClient, project: Project, contractor: User) -> None:
    rules(project, duplicates="block")
    earlier = factories.make_prompt(project, RICE)
    tasks.remember_prompts()
    work = begin(api, contractor, project, None, None)
    near = RICE.replace("small", "little")
    [finding] = check(api, work, near, "").json()["findings"]
    assert finding["prompt"] == {"id": earlier.pk, "text": RICE} and finding["message"] == 0
    assert finding["sentence"] == "An earlier prompt is 94 % the same."
    assert submit(api, work, near, "Well.").json()["errors"].keys() == {"messages.0.content"}
    assert Prompt.objects.count() == 1
    assert submit(api, work, "Which trees grow in wet and heavy soil?", "Willows.").status_code == 201


def test_a_prompt_of_ones_own_is_remembered_at_once(api: APIClient, project: Project, contractor: User) -> None:
    rules(project, duplicates="warn")
    work = begin(api, contractor, project, None, None)
    assert submit(api, work, RICE, "Well.").status_code == 201
    assert PromptBand.objects.filter(prompt=Prompt.objects.get()).exists()
    work = api.post("/api/v1/projects/alpha/work/write/next/").json()
    assert len(check(api, work, RICE + "!", "").json()["findings"]) == 1


def test_only_the_holder_of_the_item_is_answered(
    api: APIClient, project: Project, contractor: User, reviewer: User, outsider: User
) -> None:
    rules(project, duplicates="warn")
    work = begin(api, contractor, project, None)
    for user, status in ((reviewer, 409), (outsider, 404), (contractor, 200)):
        api.force_authenticate(user)
        assert check(api, work, RICE, "").status_code == status


def test_after_the_submit_nobody_is_shown_prompts_any_more(api: APIClient, project: Project, contractor: User) -> None:
    rules(project, duplicates="warn")
    factories.make_prompt(project, RICE)
    tasks.remember_prompts()
    work = begin(api, contractor, project, None)
    assert submit(api, work, "Which trees grow in wet and heavy soil?", "Willows.").status_code == 201
    answer = check(api, work, RICE, "")
    assert answer.status_code == 409 and RICE not in answer.content.decode()


def test_a_conversation_is_checked_up_to_a_length(api: APIClient, project: Project, contractor: User) -> None:
    rules(project, min_chars=5)
    work = begin(api, contractor, project, None)
    assert check(api, work, *["x" * 1000] * 200).status_code == 200
    answer = check(api, work, *["x" * 1000] * 201)
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"messages": ["The conversation is too long to be checked."]}


@pytest.mark.parametrize("messages", ["x", [1], [["a"]], [{"role": "user", "content": {}}], [{}] * 401, None])
def test_a_malformed_conversation_is_400(api: APIClient, project: Project, contractor: User, messages: Any) -> None:
    rules(project, personal="warn")
    work = begin(api, contractor, project, None)
    answer = api.post(f"/api/v1/work/{work['slot']}/check/", {"messages": messages})
    assert answer.status_code == 400 and answer.json()["errors"].keys() == {"messages"}


def test_odd_conversations_are_answered(api: APIClient, project: Project, contractor: User) -> None:
    rules(project, personal="warn", language="warn", duplicates="warn", min_chars=5, words_action="warn", words="a\nb")
    work = begin(api, contractor, project, None)
    for messages in ([], [{}], conversation("", ""), [{"role": "assistant", "content": "\x00 a"}]):
        body = {"messages": messages}
        assert api.post(f"/api/v1/work/{work['slot']}/check/", body).status_code == 200


FORM = {
    "language": "warn",
    "words_action": "off",
    "words": "",
    "personal": "off",
    "duplicates": "off",
    "similarity": 85,
}


def test_a_manager_sets_the_rules_and_it_is_recorded(client: Client, project: Project, manager: User) -> None:
    client.force_login(manager)
    assert client.get(PAGE).status_code == 200
    values = {
        **FORM,
        "min_chars": 10,
        "words_action": "block",
        "words": " As  an AI \n\nas an AI\nAs an AI",
        "phone_regions": "us, gb",
    }
    assert client.post(PAGE, values).status_code == 302
    row = WritingRules.objects.get()
    assert (row.min_chars, row.language, row.phrases, row.regions) == (
        10,
        "warn",
        ["As an AI", "as an AI"],
        ["US", "GB"],
    )
    event = Event.objects.get(verb="writing_rules.changed")
    assert event.actor == manager
    assert client.post(PAGE, {**FORM, "min_chars": ""}).status_code == 302
    assert WritingRules.objects.get().min_chars is None


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"min_chars": 20, "max_chars": 10}, "max_chars"),
        ({"max_chars": 10**6}, "max_chars"),
        ({"min_chars": 0}, "min_chars"),
        ({"words_action": "warn"}, "words"),
        ({"words_action": "warn", "words": "\n".join(map(str, range(501)))}, "words"),
        ({"phone_regions": "US, XX"}, "phone_regions"),
        ({"similarity": 79}, "similarity"),
        ({"similarity": 101}, "similarity"),
        ({"language": "maybe"}, "language"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(
    client: Client, project: Project, manager: User, values: dict[str, Any], field: str
) -> None:
    client.force_login(manager)
    answer = client.post(PAGE, {**FORM, **values})
    assert answer.status_code == 200 and list(answer.context["form"].errors) == [field]
    assert not WritingRules.objects.exists()


def test_a_low_likeness_of_an_earlier_time_stays_valid(client: Client, project: Project, manager: User) -> None:
    rules(project, similarity=70, duplicates="warn")
    client.force_login(manager)
    assert client.post(PAGE, {**FORM, "similarity": 70}).status_code == 302
    assert WritingRules.objects.get().similarity == 70
    assert list(client.post(PAGE, {**FORM, "similarity": 69}).context["form"].errors) == ["similarity"]
    assert WritingRules.objects.get().similarity == 70


@pytest.mark.parametrize(
    ("who", "status"), [("manager", 200), ("reviewer", 403), ("contractor", 403), ("outsider", 404)]
)
def test_who_may_set_the_rules(
    request: pytest.FixtureRequest, client: Client, project: Project, who: str, status: int
) -> None:
    client.force_login(request.getfixturevalue(who))
    assert client.get(PAGE).status_code == status


@pytest.mark.parametrize("fields", [{"min_chars": 5, "max_chars": 4}, {"similarity": 10}, {"personal": "maybe"}])
def test_the_database_holds_the_rules_too(project: Project, fields: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        rules(project, **fields)


class TestTwoManagersAtOnce:
    sent = {"min_chars": "5", "words_action": "off", "language": "off", "personal": "off", "duplicates": "off",
            "similarity": "85"}  # fmt: skip

    def test_the_later_one_sees_the_earlier_ones_rules_and_keeps_what_they_typed(
        self, client: Client, project: Project, manager: User
    ) -> None:
        client.force_login(manager)
        began = client.get(PAGE).context["form"].based_on
        first = {**self.sent, "min_chars": "", "words_action": "warn", "words": "theirs alone", "based_on": began}
        assert client.post(PAGE, first).status_code == 302
        answer = client.post(PAGE, {**self.sent, "based_on": began})
        shown = answer.content.decode()
        assert answer.status_code == 200 and "Somebody else changed the writing rules meanwhile" in shown
        assert "theirs alone" in shown and "Warn, and record it with the label" in shown
        assert answer.context["form"]["min_chars"].value() == "5"
        kept = WritingRules.objects.get()
        assert (kept.min_chars, kept.words, kept.words_action) == (None, "theirs alone", "warn")
        assert Event.objects.filter(verb="writing_rules.changed").count() == 1
        again = client.post(PAGE, {**self.sent, "based_on": answer.context["form"].based_on})
        assert again.status_code == 302
        kept.refresh_from_db()
        assert (kept.min_chars, kept.words, kept.words_action) == (5, "", "off")
        fields = Event.objects.filter(verb="writing_rules.changed").latest("id").detail["fields"]
        assert fields == ["min_chars", "words", "words_action"]

    def test_of_two_first_saves_the_second_updates(self, project: Project, manager: User) -> None:
        """Both were read before there was a row: an insert by the later one would be the second of its project."""
        one, other = (WritingRulesForm(self.sent, project=project) for _ in range(2))
        assert one.is_valid() and other.is_valid()
        one.save_for(manager)
        with pytest.raises(Changed):
            other.save_for(manager)
        assert WritingRules.objects.get().min_chars == 5

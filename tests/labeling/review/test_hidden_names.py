"""A project hides models' names: who ranked the answers does not read them when the ranking comes back either."""

import json

import pytest
from django.test import Client

from hone.accounts.models import Project, User
from labeling import assignment, identity
from labeling.models import Completion, ModelNames, Review, ReviewRules
from labeling.review import queue
from labeling.work import payload
from tests import factories

pytestmark = pytest.mark.django_db
TEXT = "Hello. I am ChatGPT by OpenAI, at your service."


@pytest.fixture
def returned(project: Project, contractor: User, reviewer: User) -> Review:
    """With a comment about half of a name, where the sentence that makes it one is outside."""
    ModelNames.objects.create(project=project, handling="mask")
    ReviewRules.objects.create(project=project, rankings_percent=100)
    ranking = factories.make_ranking(contractor, project, [[0], [1]])
    Completion.objects.filter(item=ranking.item, index=0).update(text=TEXT)
    found = queue.next_review(project=project, user=reviewer)
    assert found is not None
    letter = "AB"[ranking.order_shown.index(0)]
    at = TEXT.index("GPT")
    comment = {"answer": letter, "start": at, "end": TEXT.index(" at your"), "body": "Not this."}
    return factories.give_verdict(found, reviewer, "return", comments=[comment])


def test_its_author_corrects_it_without_the_names(
    client: Client, project: Project, contractor: User, returned: Review
) -> None:
    slot = assignment.next_slot(project=project, user=contractor, kind="rank")
    assert slot is not None and slot.hidden_names
    work = payload(slot=slot, user=contractor)
    assert not [name for name in ("GPT", "Chat", "OpenAI") if name in json.dumps(work)]
    block = identity.BLOCK
    [comment] = work["returned"]["comments"]
    assert comment["quote"] == f"{block} by {block},"
    [text] = work["returned"]["commented"]
    assert [piece["text"] for piece in text["pieces"]] == [
        f"Hello. I am {block}",
        f"{block} by {block},",
        " at your service.",
    ]
    client.force_login(contractor)
    page = client.get("/p/alpha/rank/").content.decode()
    assert block in page and "OpenAI" not in page and "GPT" not in page


def test_its_author_reads_the_verdict_without_the_names_and_a_reviewer_with_them(
    client: Client, contractor: User, reviewer: User, returned: Review
) -> None:
    client.force_login(contractor)
    own = client.get(f"/p/alpha/reviews/{returned.pk}/").content.decode()
    assert identity.BLOCK in own and "OpenAI" not in own and "GPT" not in own
    client.force_login(reviewer)
    page = client.get(f"/p/alpha/reviews/{returned.pk}/").content.decode()
    assert "OpenAI" in page and identity.BLOCK not in page


def test_names_that_the_project_shows_stay(project: Project, contractor: User, returned: Review) -> None:
    ModelNames.objects.update(handling="aside")
    slot = assignment.next_slot(project=project, user=contractor, kind="rank")
    assert slot is not None
    assert payload(slot=slot, user=contractor)["returned"]["comments"][0]["quote"] == "GPT by OpenAI,"

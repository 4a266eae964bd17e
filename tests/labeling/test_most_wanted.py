"""Which kind of prompt is wanted most, by the wanted mix and by what people wrote."""

import pytest
from django.test import Client

from hone.accounts.models import Project, User
from labeling import queries, retraction
from labeling.batches import NewItem, open_batch
from labeling.models import Demonstration
from tests import factories

pytestmark = pytest.mark.django_db


def written(project: Project, user: User, category: str, count: int, *, simulated: bool = False) -> None:
    prompt = factories.make_prompt(project, category=category)
    Demonstration.objects.bulk_create(
        Demonstration(project=project, author=user, prompt=prompt, messages=[], simulated=simulated)
        for _ in range(count)
    )


def test_an_empty_project_wants_what_the_mix_has_most_of(project: Project) -> None:
    found = queries.most_wanted(project)
    assert (found["category"], found["have"], found["wanted"]) == ("generation", 0, 1)


def test_the_largest_deficit_among_peoples_demonstrations_is_wanted(project: Project, contractor: User) -> None:
    """Of 100 with the next: generation 45.6, open QA 12.4, brainstorming 11.2, chat 8.4 …; people lack 12.4 open QA."""
    written(project, contractor, "generation", 60)
    written(project, contractor, "brainstorming", 20)
    written(project, contractor, "chat", 19)
    written(project, contractor, "open_qa", 500, simulated=True)
    found = queries.most_wanted(project)
    assert (found["category"], found["have"], found["wanted"]) == ("open_qa", 0, 13)


def test_a_retracted_demonstration_is_wanted_again(project: Project, manager: User, contractor: User) -> None:
    written(project, contractor, "generation", 9)
    assert queries.most_wanted(project)["category"] == "open_qa"
    retraction.retract(
        project=project, author=contractor, since=None, reason="Machine text", ask_again=False, actor=manager
    )
    found = queries.most_wanted(project)
    assert (found["category"], found["have"], found["wanted"]) == ("generation", 0, 1)


def test_the_write_page_says_it_and_has_it_chosen(client: Client, project: Project, contractor: User) -> None:
    written(project, contractor, "generation", 9)
    open_batch(project=project, kind="write", name="Batch", items=[NewItem(prompt=None)])
    client.force_login(contractor)
    page = client.get("/p/alpha/write/").content.decode()
    assert "Most wanted now: Open QA (0 of 2)" in page
    assert '<option value="open_qa" selected>' in page and page.count("selected>") == 1


def test_an_item_with_a_prompt_does_not_ask(client: Client, project: Project, contractor: User) -> None:
    factories.make_batch(project, "write")
    client.force_login(contractor)
    assert "Most wanted" not in client.get("/p/alpha/write/").content.decode()

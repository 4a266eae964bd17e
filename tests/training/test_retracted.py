"""Models whose data were retracted since: the list and the checkpoint's page."""

import pytest
from django.test import Client

from hone.accounts.models import Project, User
from labeling import retraction
from tests import factories
from training import snapshots
from training.models import Checkpoint, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def trained(project: Project, contractor: User) -> Checkpoint:
    """A reward model of two rankings, beside a base model that nothing was retracted of."""
    for _ in range(2):
        factories.make_ranking(contractor, project, [[0], [1]])
    snapshot = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    run = factories.make_run(project, kind="reward", snapshot=snapshot, state=Run.State.SUCCEEDED)
    return factories.make_checkpoint(name="spoilt", kind="reward", project=project, run=run, parent=run.model)


def test_the_list_and_the_page_say_how_many(
    client: Client, project: Project, lead: User, contractor: User, trained: Checkpoint
) -> None:
    client.force_login(lead)
    assert "No model was trained" in client.get("/console/checkpoints/?retracted=1").content.decode()
    assert "retracted since" not in client.get(f"/console/checkpoints/{trained.pk}/").content.decode()
    made = retraction.retract(project=project, author=contractor, since=None, reason="No", ask_again=False, actor=lead)
    found = client.get("/console/checkpoints/?retracted=1")
    assert [row.name for row in found.context["page_obj"]] == ["spoilt"]
    assert found.context["retracted"] == {trained.run.snapshot_id: 2}  # type: ignore[union-attr]
    assert '<td class="num" data-label="Retracted">2</td>' in found.content.decode()
    page = client.get(f"/console/checkpoints/{trained.pk}/").content.decode()
    assert "2 labels of its data were retracted since" in page
    assert len(client.get("/console/checkpoints/").context["page_obj"]) == 2
    retraction.undo(retraction=made, actor=lead)
    assert not client.get("/console/checkpoints/?retracted=1").context["page_obj"].object_list


def test_staff_alone(client: Client, manager: User) -> None:
    client.force_login(manager)
    assert client.get("/console/checkpoints/?retracted=1").status_code == 403

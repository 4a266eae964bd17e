"""How much time in use a label may claim: never more than can have passed since the item was first handed out."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from hone.accounts.models import Project, User
from labeling import ahead, assignment, item_keys, responses
from labeling.models import Draft, Ranking, Slot
from tests import factories

pytestmark = pytest.mark.django_db


def held(project: Project, user: User, *, ago: int = 0) -> Slot:
    """The user's item, handed out so many seconds ago."""
    slot = assignment.next_slot(project=project, user=user, kind="rank")
    assert slot is not None
    Slot.objects.filter(pk=slot.pk).update(leased_at=timezone.now() - timedelta(seconds=ago))
    return slot


def submit(slot: Slot, user: User, seconds: int) -> Ranking:
    assert slot.lease_token is not None and slot.order_shown is not None
    answer = {**factories.rank_answer(slot, [[index] for index in slot.order_shown]), "active_seconds": seconds}
    done = responses.submit(
        slot_id=slot.pk, user=user, lease_token=slot.lease_token, client_key=uuid.uuid4(), answer=answer
    )
    return Ranking.objects.get(pk=done.label.pk)


def test_what_can_have_passed_is_taken_as_it_is(project: Project, contractor: User) -> None:
    factories.make_batch(project)
    label = submit(held(project, contractor, ago=90), contractor, 80)
    assert (label.active_seconds, label.claimed_seconds) == (80, None)


@pytest.mark.parametrize("claimed", [3600, 90_000, 2_147_483_647])
def test_more_is_cut_and_marked_and_never_refused(project: Project, contractor: User, claimed: int) -> None:
    factories.make_batch(project)
    label = submit(held(project, contractor, ago=90), contractor, claimed)
    assert 90 <= label.active_seconds <= 100 and label.claimed_seconds == claimed


def test_a_draft_remembers_the_first_hand_out_after_the_lease_is_lost(project: Project, contractor: User) -> None:
    factories.make_batch(project)
    first = held(project, contractor, ago=1800)
    responses.save_draft(slot_id=first.pk, user=contractor, content={"tiers": [], "active_seconds": 600})
    Slot.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assignment.free_expired()
    responses.save_draft(slot_id=first.pk, user=contractor, content={"tiers": [], "active_seconds": 601})
    again = held(project, contractor)
    label = submit(again, contractor, 640)
    assert (label.active_seconds, label.claimed_seconds) == (640, None)


def test_a_draft_begun_without_a_lease_gives_no_time(project: Project, contractor: User) -> None:
    factories.make_batch(project)
    slot = Slot.objects.get()
    key = item_keys.of(slot, user=contractor)
    responses.save_draft(slot_id=slot.pk, user=contractor, content={"active_seconds": 50_000}, item_key=key)
    assert Draft.objects.get().begun_at >= timezone.now() - timedelta(seconds=10)
    assert submit(held(project, contractor), contractor, 50_000).active_seconds <= 10


def test_a_refused_submit_keeps_its_time_in_the_draft(project: Project, contractor: User) -> None:
    factories.make_batch(project)
    slot = held(project, contractor, ago=100)
    Slot.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(assignment.LeaseLost):
        submit(slot, contractor, 77)
    assert Draft.objects.get().content["active_seconds"] == 77


@pytest.mark.parametrize("by", ["submit", "skip"])
def test_what_waited_counts_from_when_the_page_had_it(project: Project, contractor: User, by: str) -> None:
    """The page shows it before the answer to the submit is there; laid aside, it was worked on before."""
    factories.make_batch(project, items=2)
    first = held(project, contractor, ago=60)
    assert first.lease_token is not None
    lease = {"slot_id": first.pk, "user": contractor, "lease_token": first.lease_token}
    behind = ahead.fetch(**lease, project=project)  # type: ignore[arg-type]
    assert behind is not None
    Slot.objects.filter(pk=behind.pk).update(leased_at=timezone.now() - timedelta(seconds=20))
    if by == "submit":
        submit(first, contractor, 40)
    else:
        responses.skip(**lease, reason="other", note="")  # type: ignore[arg-type]
    label = submit(behind, contractor, 18)
    assert (label.active_seconds, label.claimed_seconds) == (18, None)


def test_scripts_keep_what_they_say(project: Project) -> None:
    script = factories.make_member(project, is_simulated=True)
    factories.make_batch(project)
    assert submit(held(project, script), script, 500).active_seconds == 500

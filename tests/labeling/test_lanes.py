"""Languages and skills at the hand-out: who gets what, in which order, and what is counted as waiting."""

import threading
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from hone.accounts.models import Membership, Project, User
from hone.audit.models import Event
from labeling import assignment, lanes, retraction, waiting
from labeling.batches import NewItem, open_batch
from labeling.models import Batch, Lane, Prompt, Slot
from tests import factories

pytestmark = pytest.mark.django_db


def open_items(project: Project, *prompts: dict[str, Any], slots: int = 1) -> Batch:
    new = [NewItem(prompt=factories.make_prompt(project, **fields), answers=["a", "b"]) for fields in prompts]
    return open_batch(project=project, kind="rank", name="Batch", items=new, slots_per_item=slots)


def bring(project: Project, user: User, *, languages: tuple[str, ...] = (), skills: tuple[str, ...] = ()) -> None:
    Membership.objects.filter(project=project, user=user).update(languages=list(languages), skills=list(skills))


def take_all(project: Project, user: User) -> list[Slot]:
    """Everything that the user is handed, submitted one after the other."""
    done = []
    while (slot := assignment.next_slot(project=project, user=user, kind="rank")) is not None:
        factories.submit_next(project, user)
        done.append(slot)
    return done


def languages_of(slots: list[Slot]) -> list[str]:
    return sorted(slot.item.prompt.language for slot in slots if slot.item.prompt)


@pytest.fixture
def matching(project: Project) -> Project:
    project.match_languages = True
    project.save()
    return project


class TestTags:
    def test_languages_are_read_cleaned_and_sorted(self) -> None:
        assert lanes.parse_languages("zh-CN, en  EN_us；de") == ["de", "en", "zh"]
        assert lanes.parse_languages("  ") == []

    @pytest.mark.parametrize("text", ["e", "english-but-long-ok, 中文", "en, 12", "en!", "abcdefghi"])
    def test_what_is_no_language_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(lanes.BadTag, match="is no language tag"):
            lanes.parse_languages(text)

    def test_skills_are_short_words(self) -> None:
        assert lanes.parse_skills(["Law", "python-3", "法律", "law"]) == ["law", "python-3", "法律"]
        for bad in ("two words", "a,b", "x|y", "a" * 25, "-x"):
            with pytest.raises(lanes.BadTag):
                lanes.parse_skills([bad])
        with pytest.raises(lanes.BadTag, match="At most 5"):
            lanes.parse_skills(list("abcdef"), most=5)


class TestHandOut:
    def test_without_matching_every_language_is_handed_out(self, project: Project, contractor: User) -> None:
        open_items(project, {"language": "zh"}, {"language": "en"})
        bring(project, contractor, languages=("de",))
        assert languages_of(take_all(project, contractor)) == ["en", "zh"]
        assert not Lane.objects.exists()

    def test_a_person_is_handed_their_languages_alone(
        self, matching: Project, contractor: User, reviewer: User
    ) -> None:
        open_items(matching, {"language": "zh-CN"}, {"language": "en"}, {"language": "de"}, {"language": "?"}, slots=2)
        bring(matching, contractor, languages=("zh", "en"))
        # A prompt whose language is no tag asks for none.
        assert languages_of(take_all(matching, contractor)) == ["?", "en", "zh-CN"]
        assert languages_of(take_all(matching, reviewer)) == ["?", "de", "en", "zh-CN"]

    def test_all_skills_are_needed_also_without_matching_languages(
        self, project: Project, contractor: User, reviewer: User, lead: User
    ) -> None:
        open_items(project, {"skills": ["law", "medicine"]}, {"skills": ["law"]}, {}, slots=3)
        bring(project, contractor, skills=("law",))
        bring(project, reviewer, skills=("medicine", "law", "art"))
        assert [len(take_all(project, user)) for user in (contractor, reviewer, lead)] == [2, 3, 1]

    def test_a_change_of_languages_holds_for_the_next_item(self, matching: Project, contractor: User) -> None:
        open_items(matching, {"language": "zh"}, {"language": "zh"})
        bring(matching, contractor, languages=("zh",))
        first = assignment.next_slot(project=matching, user=contractor, kind="rank")
        bring(matching, contractor, languages=("en",))
        held = assignment.next_slot(project=matching, user=contractor, kind="rank")
        assert first is not None and held is not None and held.pk == first.pk
        factories.submit_next(matching, contractor)
        assert assignment.next_slot(project=matching, user=contractor, kind="rank") is None

    def test_own_begun_work_of_another_language_is_not_handed_out(self, matching: Project, contractor: User) -> None:
        open_items(matching, {"language": "zh"})
        slot = assignment.next_slot(project=matching, user=contractor, kind="rank")
        assert slot is not None
        slot.item.drafts.create(author=contractor, content={})
        assignment.release(slot)
        bring(matching, contractor, languages=("en",))
        assert assignment.next_slot(project=matching, user=contractor, kind="rank") is None

    def test_lanes_are_walked_as_one_order(self, matching: Project, contractor: User) -> None:
        open_items(matching, *({"language": language} for language in ("en", "zh", "de") * 4))
        Slot.objects.filter(lane="zh").order_by("pk")[:1]
        urgent = Slot.objects.filter(lane="zh").first()
        assert urgent is not None
        Slot.objects.filter(pk=urgent.pk).update(priority=2)
        done = take_all(matching, contractor)
        assert len(done) == 12 and done[0].pk == urgent.pk
        # Going on behind the urgent one, then what stands before it, each in the order of draws over all lanes.
        draws = [slot.draw for slot in done[1:]]
        assert draws == sorted(draws) and len({slot.item_id for slot in done}) == 12

    def test_an_urgent_item_of_another_lane_comes_first(self, matching: Project, contractor: User) -> None:
        open_items(matching, {"language": "en"}, {"language": "en"}, {"language": "zh"})
        Slot.objects.filter(lane="zh").update(draw=0.99)
        Slot.objects.filter(lane="en").update(draw=0.5)
        factories.submit_next(matching, contractor)
        Slot.objects.filter(lane="zh").update(priority=5, draw=0.1)
        slot = assignment.next_slot(project=matching, user=contractor, kind="rank")
        assert slot is not None and slot.priority == 5

    def test_an_item_is_finished_before_a_new_one_is_opened(self, matching: Project) -> None:
        open_items(matching, *({"language": language} for language in ("en", "zh") * 3), slots=3)
        people = [factories.make_member(matching) for _ in range(3)]
        taken = [assignment.next_slot(project=matching, user=user, kind="rank") for user in people]
        assert len({slot.item_id for slot in taken if slot}) == 1 and None not in taken

    def test_a_slot_asked_for_again_keeps_its_lane(
        self, matching: Project, contractor: User, reviewer: User, manager: User
    ) -> None:
        open_items(matching, {"language": "zh", "skills": ["law"]})
        bring(matching, contractor, languages=("zh",), skills=("law",))
        factories.submit_next(matching, contractor)
        lanes.match_languages(project=matching, on=False, actor=manager)
        retraction.retract(project=matching, author=contractor, since=None, reason="x", ask_again=True, actor=manager)
        assert Slot.objects.get(state="open").lane == "|law"
        assert assignment.next_slot(project=matching, user=reviewer, kind="rank") is None
        bring(matching, reviewer, skills=("law",))
        assert assignment.next_slot(project=matching, user=reviewer, kind="rank") is not None


class TestSwitch:
    def test_switching_moves_open_slots_and_back(self, project: Project, contractor: User, manager: User) -> None:
        open_items(project, {"language": "zh"}, {"language": "en", "skills": ["law"]}, {"language": "en"})
        bring(project, contractor, languages=("en",))
        other = factories.make_project()
        open_items(other, {"language": "zh"})
        lanes.match_languages(project=project, on=True, actor=manager)
        assert sorted(Slot.objects.filter(project=project).values_list("lane", flat=True)) == ["en", "en|law", "zh"]
        assert Slot.objects.get(project=other).lane == ""
        assert languages_of(take_all(project, contractor)) == ["en"]
        lanes.match_languages(project=project, on=False, actor=manager)
        lanes_now = Slot.objects.filter(project=project).exclude(state="submitted").values_list("lane", flat=True)
        assert sorted(lanes_now) == ["", "|law"]
        assert list(Event.objects.filter(verb__startswith="project.languages").values_list("verb", flat=True)) != []

    @pytest.mark.django_db(transaction=True)
    def test_a_batch_opened_meanwhile_has_the_new_lanes(self, project: Project, manager: User) -> None:
        """Each waits for the other: whichever is first, no slot is left in a lane of the old rule."""
        barrier = threading.Barrier(2)

        def do(act: Any) -> None:
            barrier.wait()
            act()
            connections.close_all()

        open_it = threading.Thread(target=do, args=(lambda: open_items(project, *[{"language": "zh"}] * 30),))
        switch = threading.Thread(
            target=do, args=(lambda: lanes.match_languages(project=project, on=True, actor=manager),)
        )
        for thread in (open_it, switch):
            thread.start()
        for thread in (open_it, switch):
            thread.join(30)
        assert set(Slot.objects.values_list("lane", flat=True)) == {"zh"}


class TestWaiting:
    def test_counts_are_of_what_the_person_may_take(self, matching: Project, contractor: User, reviewer: User) -> None:
        open_items(matching, *[{"language": "zh"}] * 3, *[{"language": "en"}] * 2, slots=2)
        bring(matching, contractor, languages=("en",))
        [mine] = waiting.overview(Project.objects.all(), user=contractor)
        [theirs] = waiting.overview(Project.objects.all(), user=reviewer)
        assert (mine["rank_open"], theirs["rank_open"]) == (2, 5)
        assert waiting.count(project=matching, user=contractor, kind="rank") == 2
        take_all(matching, contractor)
        assert waiting.count(project=matching, user=contractor, kind="rank") == 0
        assert not waiting.is_any(project=matching, user=contractor, kind="rank")

    @pytest.mark.parametrize(("languages", "said"), [(("en",), True), ((), False)])
    def test_the_empty_page_says_that_others_are_wanted(
        self,
        client: Client,
        matching: Project,
        contractor: User,
        languages: tuple[str, ...],
        said: bool,
    ) -> None:
        open_items(matching, {"language": "zh"})
        bring(matching, contractor, languages=languages)
        if not languages:
            factories.submit_next(matching, contractor)
        client.force_login(contractor)
        page = client.get("/p/alpha/rank/").content.decode()
        assert ("asks for other languages or skills" in page) is said and "Nothing to rank right now" in page


class TestPages:
    def send(self, client: Client, project: Project, user: User, **fields: str) -> Any:
        member = project.memberships.get(user=user)
        body = {"action": "tags", "member": str(member.pk), "languages": "", "skills": "", **fields}
        return client.post("/p/alpha/members/", body)

    def test_a_manager_sets_them_and_the_member_sees_them(
        self, client: Client, matching: Project, manager: User, contractor: User
    ) -> None:
        client.force_login(manager)
        assert self.send(client, matching, contractor, languages="zh-CN en", skills="Law, math").status_code == 302
        member = matching.memberships.get(user=contractor)
        assert (member.languages, member.skills) == (["en", "zh"], ["law", "math"])
        event = Event.objects.get(verb="member.tags_changed")
        assert event.actor == manager and event.detail["skills"] == ["law", "math"]
        client.force_login(contractor)
        page = client.get("/p/alpha/me/").content.decode()
        assert "en, zh" in page and "law, math" in page

    def test_a_bad_tag_keeps_what_was_typed_and_changes_nothing(
        self, client: Client, project: Project, manager: User, contractor: User
    ) -> None:
        client.force_login(manager)
        answer = self.send(client, project, contractor, languages="en, 中文", skills="law")
        page = answer.content.decode()
        assert answer.status_code == 400 and "“中文” is no language tag" in page and 'value="en, 中文"' in page
        assert project.memberships.get(user=contractor).skills == []

    @pytest.mark.parametrize(
        ("who", "status"), [("manager", 302), ("reviewer", 403), ("contractor", 403), ("outsider", 404)]
    )
    def test_only_managers_set_them(
        self, request: pytest.FixtureRequest, client: Client, project: Project, contractor: User, who: str, status: int
    ) -> None:
        client.force_login(request.getfixturevalue(who))
        assert self.send(client, project, contractor, skills="law").status_code == status
        assert (project.memberships.get(user=contractor).skills == ["law"]) is (who == "manager")

    def test_a_member_of_another_project_is_not_changed(self, client: Client, project: Project, manager: User) -> None:
        other = factories.make_project()
        stranger = factories.make_member(other)
        client.force_login(manager)
        member = other.memberships.get(user=stranger)
        answer = client.post("/p/alpha/members/", {"action": "tags", "member": member.pk, "skills": "law"})
        assert answer.status_code == 400
        member.refresh_from_db()
        assert member.skills == []

    def test_the_settings_switch_matching(self, client: Client, project: Project, manager: User) -> None:
        open_items(project, {"language": "zh"})
        client.force_login(manager)
        answer = client.post("/p/alpha/settings/", {"section": "work", "match_languages": "on"}, follow=True)
        assert "The rules for handing out are saved." in answer.content.decode()
        project.refresh_from_db()
        assert project.match_languages and not project.confirm_guideline and Slot.objects.get().lane == "zh"


class TestImport:
    @pytest.mark.parametrize("skills", ['["Law", "math"]', '"law, math"'])
    def test_skills_are_read(self, project: Project, manager: User, skills: str) -> None:
        import_text(project, manager, f'{{"prompt": "q", "skills": {skills}}}')
        assert Prompt.objects.get().skills == ["law", "math"]

    @pytest.mark.parametrize("skills", ['["two words"]', "3", "[1]", '["a","b","c","d","e","f"]', '{"a": 1}'])
    def test_faults_are_named(self, project: Project, manager: User, skills: str) -> None:
        from labeling.importing import ImportRefused

        with pytest.raises(ImportRefused, match="line 1: skills"):
            import_text(project, manager, f'{{"prompt": "q", "skills": {skills}}}')
        assert not Prompt.objects.exists()


def import_text(project: Project, actor: User, text: str) -> None:
    import io

    from labeling.importing import import_prompts

    import_prompts(project=project, file=io.BytesIO(text.encode()), name="x.jsonl", actor=actor)

"""The settings page: who reaches it, how the editor works without scripts, and what saving writes."""

from typing import Any

import pytest
from django.test import Client

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import ranking_forms
from labeling.models import RankingForm

pytestmark = pytest.mark.django_db
ADDRESS = "/p/alpha/settings/"


def body(action: str = "save", scales: list[dict[str, Any]] = [], flags: list[dict[str, Any]] = [], **more: Any) -> Any:  # noqa: B006
    """What the browser sends for these rows."""
    found = {"section": "ranking", "action": action, "reason": "off", "ties": "on", **more}
    for part, rows in (("scales", scales), ("flags", flags)):
        found[f"{part}-count"] = str(len(rows))
        found |= {f"{part}-{at}-{field}": value for at, row in enumerate(rows) for field, value in row.items()}
    return found


@pytest.fixture
def page(client: Client, manager: User) -> Client:
    client.force_login(manager)
    return client


@pytest.mark.parametrize(
    ("who", "status"), [("manager", 200), ("reviewer", 403), ("contractor", 403), ("outsider", 404)]
)
def test_only_managers_see_and_change_it(
    request: pytest.FixtureRequest, client: Client, project: Project, who: str, status: int
) -> None:
    client.force_login(request.getfixturevalue(who))
    assert client.get(ADDRESS).status_code == status
    assert client.post(ADDRESS, body(reason="required")).status_code == (302 if status == 200 else status)
    assert RankingForm.objects.exists() == (who == "manager")


def test_the_tab_is_the_managers_alone(client: Client, project: Project, manager: User, contractor: User) -> None:
    for user, there in ((manager, True), (contractor, False)):
        client.force_login(user)
        assert (ADDRESS in client.get("/p/alpha/").content.decode()) is there


def test_saving_keeps_rows_makes_keys_and_is_audited(page: Client, project: Project, manager: User) -> None:
    sent = body(
        scales=[
            {"label": "Overall quality", "low": "1", "high": "5", "low_label": "bad", "high_label": "good", "key": ""}
        ],
        flags=[{"label": "Makes things up", "help": "", "key": "hallucination"}],
        strength="on",
        reason="required",
    )
    answer = page.post(ADDRESS, sent, follow=True)
    assert "The ranking form is saved." in answer.content.decode()
    form = ranking_forms.of(project)
    assert form == {
        "scales": [
            {
                "key": "overall_quality",
                "label": "Overall quality",
                "low": 1,
                "high": 5,
                "low_label": "bad",
                "high_label": "good",
                "optional": False,
            }
        ],
        "flags": [{"key": "hallucination", "label": "Makes things up", "help": ""}],
        "strength": True,
        "ties": True,
        "reason": "required",
    }
    event = Event.objects.get(verb="ranking_form.changed")
    assert event.actor == manager and event.target == f"project:{project.pk}" and event.detail["after"] == form


@pytest.mark.parametrize("name", ["plain", "instructgpt", "llama2"])
def test_a_preset_fills_the_editor_and_is_kept_by_save_alone(page: Client, project: Project, name: str) -> None:
    form = {key: form for key, _title, form in ranking_forms.presets()}[name]
    answer = page.post(ADDRESS, body(f"preset:{name}", flags=[{"label": "Mine"}]))
    section = answer.context["sections"][0]["form"]
    assert section.edited() == form and section.preview() == form
    assert not RankingForm.objects.exists() and section.differs == (name != "plain")
    # What the page now shows, sent back by Save, is the preset.
    shown = {"section": "ranking", "action": "save"}
    for part in ("scales", "flags"):
        shown[f"{part}-count"] = str(len(section.rows[part]))
        for row in section.rows[part]:
            shown |= {field.html_name: field.value() for field in row if field.value() not in (False, "")}
    shown |= {field.html_name: field.value() for field in section.choices if field.value() is not False}
    page.post(ADDRESS, shown)
    assert (ranking_forms.of(project) or ranking_forms.plain()) == form


def test_rows_are_added_and_removed_without_losing_what_was_typed(page: Client, project: Project) -> None:
    rows = [{"label": "One"}, {"label": "Two"}, {"label": "Three", "help": "half ty"}]
    section = page.post(ADDRESS, body("remove:flags:1", flags=rows)).context["sections"][0]["form"]
    assert [row["label"].value() for row in section.rows["flags"]] == ["One", "Three"]
    assert section.rows["flags"][1]["help"].value() == "half ty"
    section = page.post(ADDRESS, body("add:scales", flags=rows)).context["sections"][0]["form"]
    assert len(section.rows["flags"]) == 3 and section.rows["scales"][0]["high"].value() == 7
    assert section.preview() is None  # the new scale has no name yet
    assert not RankingForm.objects.exists()


@pytest.mark.parametrize(
    "action", ["", "remove:flags:9", "remove:flags:-1", "remove:x:0", "add:x", "preset:x", "delete"]
)
def test_an_unknown_action_keeps_nothing(page: Client, project: Project, action: str) -> None:
    answer = page.post(ADDRESS, body(action, flags=[{"label": "One"}]))
    assert answer.status_code == 200 and not RankingForm.objects.exists()


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (body(scales=[{"label": "Q", "low": "5", "high": "1"}]), "The highest value must be above the lowest."),
        (body(scales=[{"label": "Q", "low": "one", "high": "7"}]), "Enter a whole number."),
        (body(scales=[{"label": "Q", "low": "", "high": ""}]), "This must be a whole number from 0 to 9."),
        (body(scales=[{"label": "", "low": "1", "high": "7"}]), "This needs a name."),
        (body(flags=[{"label": "Same"}, {"label": "same"}]), "Another row has this name."),
        (body(flags=[{"label": "A", "key": "Not OK"}]), "Use small letters a to z"),
        (body(flags=[{"label": f"F{n}"} for n in range(25)]), "At most 24 are possible; this has 25."),
        (body(flags=[{"label": "a\x00b"}]), "Null characters are not allowed."),
        (body(reason="never"), "Select a valid choice."),
    ],
)
def test_a_fault_is_shown_and_nothing_is_kept(page: Client, project: Project, sent: Any, sentence: str) -> None:
    answer = page.post(ADDRESS, sent)
    assert answer.status_code == 200 and sentence in answer.content.decode()
    assert "This was not saved" in answer.content.decode()
    assert not RankingForm.objects.exists()


def test_a_row_without_a_name_is_told_so_once(page: Client, project: Project) -> None:
    section = page.post(ADDRESS, body(flags=[{"label": ""}])).context["sections"][0]["form"]
    assert section.rows["flags"][0].errors == {"label": ["This needs a name."]}


@pytest.mark.parametrize("count", ["-1", "x", "99999999999", "٣", ""])
def test_a_count_that_is_none_gives_no_rows(page: Client, project: Project, count: str) -> None:
    answer = page.post(ADDRESS, body("preview", **{"flags-count": count}))
    assert answer.status_code == 200 and len(answer.context["sections"][0]["form"].rows["flags"]) in (0, 3)


class TestTwoManagersAtOnce:
    def test_the_later_one_sees_the_earlier_ones_form_and_keeps_what_they_typed(
        self, page: Client, project: Project, manager: User
    ) -> None:
        began = page.get(ADDRESS).context["sections"][0]["form"].based_on
        theirs = {"flags": [{"key": "unsafe", "label": "Theirs alone", "help": ""}]}
        ranking_forms.change(project=project, form=theirs, actor=manager)
        sent = body(flags=[{"label": "Mine", "help": "", "key": "mine"}], based_on=began)
        answer = page.post(ADDRESS, sent)
        shown = answer.content.decode()
        assert answer.status_code == 200 and "Somebody else changed the ranking form meanwhile" in shown
        assert "Theirs alone" in shown and 'value="Mine"' in shown
        assert [flag["key"] for flag in (ranking_forms.of(project) or {})["flags"]] == ["unsafe"]
        again = body(flags=[{"label": "Mine", "help": "", "key": "mine"}], based_on=section(answer).based_on)
        assert page.post(ADDRESS, again).status_code == 302
        assert [flag["key"] for flag in (ranking_forms.of(project) or {})["flags"]] == ["mine"]

    def test_the_stamp_outlives_the_editors_buttons(self, page: Client, project: Project, manager: User) -> None:
        began = section(page.get(ADDRESS)).based_on
        ranking_forms.change(project=project, form={"reason": "required"}, actor=manager)
        added = page.post(ADDRESS, body("add:flags", based_on=began))
        assert section(added).based_on == began
        page.post(ADDRESS, body(based_on=section(added).based_on))
        assert RankingForm.objects.get().reason == "required"


def section(answer: Any) -> Any:
    return answer.context["sections"][0]["form"]

"""Keeping a project's review rules."""

import pytest

from hone.accounts.models import Project, User
from labeling.models import ReviewRules
from labeling.review.rules import FIELDS, ReviewRulesForm


@pytest.mark.django_db
def test_of_two_first_saves_one_makes_the_rules_and_the_other_changes_them(
    project: Project, manager: User, lead: User
) -> None:
    values = {name: getattr(ReviewRules(project=project), name) for name in FIELDS}
    # Both pages were opened before either was saved.
    first, second = (ReviewRulesForm({**values, "rankings_percent": percent}, project=project) for percent in (10, 20))
    assert first.is_valid() and second.is_valid(), first.errors
    first.save_for(manager)
    second.save_for(lead)
    assert ReviewRules.objects.get().rankings_percent == 20

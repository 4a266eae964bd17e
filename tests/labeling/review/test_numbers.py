"""First-pass rates with their intervals, spans and paragraphs."""

import pytest

from hone.accounts.models import Project, User
from labeling.models import Review
from labeling.review import numbers, queue
from labeling.review.spans import blocks, pieces
from tests import factories


@pytest.mark.parametrize(
    ("passed", "n", "low", "high"),
    # Newcombe 1998, table I, method 3 (Wilson's score without continuity correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_that_of_published_examples(passed: int, n: int, low: float, high: float) -> None:
    found = numbers.share(passed, n)
    assert found is not None and found["n"] == n and found["value"] == passed / n
    assert (round(found["low"], 4), round(found["high"], 4)) == (low, high)


def test_of_nothing_there_is_no_rate() -> None:
    assert numbers.share(0, 0) is None


@pytest.mark.django_db
def test_only_the_first_review_of_a_work_counts(project: Project, contractor: User, reviewer: User) -> None:
    for verdict in ("approve", "approve", "reject", "return"):
        factories.give_verdict(factories.make_review(contractor, project, reviewer), reviewer, verdict)
    factories.write_next(contractor, project, "Better")
    again = queue.next_review(project=project, user=reviewer)
    assert again is not None and again.round == 2
    factories.give_verdict(again, reviewer, "approve")
    factories.make_review(contractor, project, reviewer)  # not decided
    found = numbers.of_people(project, [contractor, reviewer])
    share = found[contractor.pk]["first_pass"]
    assert (share["value"], share["n"]) == (0.5, 4)
    assert found[contractor.pk]["rejected"] == 1 and found[contractor.pk]["returned"] == 0
    assert found[reviewer.pk] == {"first_pass": None, "returned": 0, "rejected": 0, "reviews": 5}
    assert Review.objects.count() == 6


@pytest.mark.parametrize(
    "text", ["", "one", "one\n\ntwo\nstill two\n \n\t\nthree\n\n", "\n\nafter blank lines", "  indented\n\n  code"]
)
def test_paragraphs_stand_where_they_say(text: str) -> None:
    found = blocks(text)
    assert all(text[block.start : block.end] == block.text for block in found)
    assert "".join("".join(block.text for block in found).split()) == "".join(text.split())
    assert not any("\n\n" in block.text for block in found)


def test_pieces_make_the_whole_text_and_know_overlapping_comments() -> None:
    found = pieces("abcdef", [(1, 4, 1), (3, 5, 2)])
    assert [(piece.text, piece.numbers) for piece in found] == [
        ("a", ()),
        ("bc", (1,)),
        ("d", (1, 2)),
        ("e", (2,)),
        ("f", ()),
    ]

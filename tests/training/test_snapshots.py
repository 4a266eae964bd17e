"""Frozen data sets: what is in them, what is left out, and that they never change."""

import os
from pathlib import Path

import pytest

from hone.accounts.models import Project, User
from tests import factories
from training import snapshots
from training.records import RankingRow, read_parquet, sha256_file

pytestmark = pytest.mark.django_db


def test_rankings_carry_ranks_unacceptable_and_provenance(project: Project, contractor: User) -> None:
    factories.make_guideline(project)
    ranking = factories.make_ranking(contractor, project, [[2], [0, 1]], unacceptable=[3])
    snapshot = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    [row] = read_parquet(snapshot.path, row_type=RankingRow)
    assert row.completions == ["Answer 0", "Answer 1", "Answer 2", "Answer 3"]
    assert row.ranks == [1, 1, 0, 2] and row.unacceptable == [False, False, False, True]
    assert (row.annotator, row.split, row.id) == (f"a{contractor.pk}", "train", f"r{ranking.pk}")
    assert snapshot.manifest["label_ids"] == [ranking.pk]
    assert snapshot.manifest["guideline_versions"] == [1] and snapshot.manifest["comparisons"] == 5


def test_the_file_is_read_only_and_its_hash_is_on_the_row(project: Project, contractor: User) -> None:
    factories.make_ranking(contractor, project, [[0], [1]])
    snapshot = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    assert sha256_file(snapshot.path) == snapshot.sha256
    assert not os.stat(snapshot.path).st_mode & 0o222
    factories.make_ranking(contractor, project, [[0], [1]])
    assert sha256_file(snapshot.path) == snapshot.sha256 and snapshot.rows == 1


def test_simulated_labels_stay_out_unless_asked_for(project: Project, contractor: User) -> None:
    robot = factories.make_member(project, is_simulated=True)
    factories.make_ranking(robot, project, [[0], [1]])
    with pytest.raises(snapshots.NothingToFreeze, match="by people"):
        snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    assert snapshots.freeze_rankings(project=project, include_simulated=True, heldout_percent=0).rows == 1


def test_a_ranking_of_ties_alone_is_left_out(project: Project, contractor: User) -> None:
    factories.make_ranking(contractor, project, [[0, 1, 2]])
    factories.make_ranking(contractor, project, [[0], [1]])
    snapshot = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    assert snapshot.rows == 1 and len(snapshot.manifest["label_ids"]) == 1


def test_a_prompt_keeps_its_split_in_every_round(project: Project, contractor: User) -> None:
    for _ in range(12):
        factories.make_ranking(contractor, project, [[0], [1]])
    options = {"project": project, "include_simulated": False, "heldout_percent": 40}
    first = {r.id: r.split for r in read_parquet(snapshots.freeze_rankings(**options).path, row_type=RankingRow)}
    for _ in range(6):
        factories.make_ranking(contractor, project, [[0], [1]])
    second = {r.id: r.split for r in read_parquet(snapshots.freeze_rankings(**options).path, row_type=RankingRow)}
    assert set(first.values()) == {"train", "heldout"}
    assert all(second[name] == split for name, split in first.items())


def test_no_prompt_is_a_sentence(project: Project) -> None:
    with pytest.raises(snapshots.NothingToFreeze, match="import prompts first"):
        snapshots.freeze_prompts(project=project, prompts=project.prompts.all())


def test_nothing_half_written_stays_behind(project: Project, contractor: User, settings: object) -> None:
    factories.make_ranking(contractor, project, [[0], [1]])
    snapshot = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    folder = Path(snapshot.path).parent
    assert [path.name for path in folder.iterdir()] == [Path(snapshot.path).name]

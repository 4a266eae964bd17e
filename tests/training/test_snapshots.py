"""Frozen data sets: what is in them, what is left out, and that they never change."""

import os
from pathlib import Path
from typing import Any

import pytest

from hone.accounts.models import Project, User
from tests import factories
from training import snapshots
from training.models import Generation, Snapshot
from training.records import DemonstrationRow, PromptRow, RankingRow, read_parquet, sha256_file, split_of

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


def test_a_cut_off_answer_is_marked_and_an_imported_one_counts_as_ended(project: Project, contractor: User) -> None:
    ranking = factories.make_ranking(contractor, project, [[2], [0], [1]])
    run = factories.make_run(project, kind="sample")
    for index, reason in ((0, "length"), (1, "stop")):
        Generation.objects.create(
            completion=ranking.item.completions.get(index=index),
            checkpoint=run.model,
            run=run,
            seed=index,
            finish_reason=reason,
            token_count=5,
        )
    snapshot = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    [row] = read_parquet(snapshot.path, row_type=RankingRow)
    assert row.ended == [False, True, True]
    assert snapshot.manifest["schema_version"] == 3


def test_the_file_is_the_same_whatever_is_read_at_once(
    project: Project, contractor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        factories.make_ranking(contractor, project, [[0], [1]])
    options = {"project": project, "include_simulated": False, "heldout_percent": 0}
    whole = snapshots.freeze_rankings(**options)
    held: list[int] = []
    write = snapshots.write_parquet

    def watching(path: Path, rows: Any, **words: Any) -> int:
        assert not isinstance(rows, list | tuple)
        return write(path, (held.append(1) or row for row in rows), **words)

    monkeypatch.setattr(snapshots, "CHUNK_ROWS", 2)
    monkeypatch.setattr(snapshots, "write_parquet", watching)
    in_chunks = snapshots.freeze_rankings(**options)
    assert len(held) == 5
    assert (in_chunks.sha256, in_chunks.manifest) == (whole.sha256, whole.manifest)
    prompts = project.prompts.order_by("id")
    first = snapshots.freeze_prompts(project=project, prompts=prompts)
    assert first.sha256 == snapshots.freeze_prompts(project=project, prompts=list(prompts)).sha256
    assert [row.id for row in read_parquet(first.path, row_type=PromptRow)] == [str(p.pk) for p in prompts]


def test_demonstrations_are_counted_as_they_are_written(project: Project, contractor: User) -> None:
    guideline = factories.make_guideline(project)
    for number, category in enumerate(("open_qa", "brainstorming", "open_qa")):
        prompt = factories.make_prompt(project, f"Fixed question {number}?", category=category)
        messages = [*prompt.messages, {"role": "assistant", "content": "Yes."}]
        prompt.demonstrations.create(
            project=project,
            author=contractor,
            guideline=guideline if number else None,
            messages=messages,
            content_hash=prompt.content_hash,
        )
    snapshot = snapshots.freeze_demonstrations(project=project, include_simulated=False, heldout_percent=0)
    rows = read_parquet(snapshot.path, row_type=DemonstrationRow)
    assert snapshot.manifest["label_ids"] == [int(row.id[1:]) for row in rows] and snapshot.rows == len(rows) == 3
    assert snapshot.manifest["splits"] == {"train": 3}
    assert snapshot.manifest["categories"] == {"open_qa": 2, "brainstorming": 1}
    assert snapshot.manifest["guideline_versions"] == [1]


def test_a_prompt_keeps_its_split_in_every_round(
    project: Project, contractor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fixed texts: the split is a function of them, and of nothing that other tests did before.
    texts = [f"What is {number} times 3?" for number in range(18)]
    waiting = iter(texts)
    make = factories.make_prompt
    monkeypatch.setattr(factories, "make_prompt", lambda project: make(project, next(waiting)))
    for _ in range(12):
        factories.make_ranking(contractor, project, [[0], [1]])
    options = {"project": project, "include_simulated": False, "heldout_percent": 40}
    first = {r.id: r.split for r in read_parquet(snapshots.freeze_rankings(**options).path, row_type=RankingRow)}
    assert len(first) == 12
    for _ in range(6):
        factories.make_ranking(contractor, project, [[0], [1]])
    second = {r.id: r.split for r in read_parquet(snapshots.freeze_rankings(**options).path, row_type=RankingRow)}
    assert set(first.values()) == {"train", "heldout"}
    assert all(second[name] == split for name, split in first.items())


def test_no_prompt_is_a_sentence(project: Project) -> None:
    with pytest.raises(snapshots.NothingToFreeze, match="import prompts first"):
        snapshots.freeze_prompts(project=project, prompts=project.prompts.all())


@pytest.mark.parametrize("broken", ["a row", "the disk", "the row of the snapshot"])
def test_nothing_half_written_stays_behind(
    project: Project, contractor: User, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    factories.make_ranking(contractor, project, [[0], [1]])
    options = {"project": project, "include_simulated": False, "heldout_percent": 0}
    whole = Path(snapshots.freeze_rankings(**options).path)

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("No space left on device")

    factories.make_ranking(contractor, project, [[0], [1]])
    if broken == "a row":
        calls = iter(range(9))
        monkeypatch.setattr(snapshots, "split_of", lambda *words: fail() if next(calls) == 1 else split_of(*words))
    elif broken == "the disk":
        monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", fail)
    else:
        monkeypatch.setattr(Snapshot.objects, "create", fail)
    with pytest.raises(OSError, match="No space left"):
        snapshots.freeze_rankings(**options)
    assert list(whole.parent.iterdir()) == [whole]

"""The rows that cross from the platform into the trainers and back.

Plain dataclasses with Parquet and JSONL readers and writers. No Django and no torch: the web process, the snapshot
writer and every trainer share this one file. Files appear by temp file and rename, so a reader never meets half of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypedDict, TypeVar, get_type_hints

ROLES = ("system", "user", "assistant")
SPLITS = ("train", "heldout")
FINISH_REASONS = ("stop", "length")

Split = Literal["train", "heldout"]


class RecordError(ValueError):
    """A row or a file of rows that cannot be used; its text is one sentence that names the row or the file."""


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


class Row(Protocol):
    """Anything below: a dataclass whose fields are its columns."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


R = TypeVar("R", bound=Row)


def check_messages(messages: Sequence[Message], *, last: str) -> None:
    """Refuse a conversation that is empty, has an unknown role, an inner system turn, or ends with another role.

    Raises RecordError.
    """
    if not messages:
        raise RecordError("the conversation has no messages")
    for position, message in enumerate(messages):
        if message["role"] not in ROLES:
            raise RecordError(f"message {position} has the unknown role {message['role']!r}")
        if message["role"] == "system" and position > 0:
            raise RecordError(f"message {position} is a system message, which may only come first")
    if messages[-1]["role"] != last:
        raise RecordError(f"the conversation must end with a message of the {last}")


def _check_common(*, split: str, weight: float) -> None:
    if split not in SPLITS:
        raise RecordError(f"split must be 'train' or 'heldout', not {split!r}")
    if not weight >= 0 or weight == float("inf"):
        raise RecordError(f"weight must be a finite number of at least 0, not {weight!r}")


@dataclass(frozen=True, kw_only=True)
class DemonstrationRow:
    """A conversation written by a person; every assistant turn is to be learnt. `weight` multiplies its loss."""

    id: str
    messages: list[Message]
    category: str = ""
    language: str = ""
    split: Split = "train"
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_messages(self.messages, last="assistant")
        _check_common(split=self.split, weight=self.weight)


@dataclass(frozen=True, kw_only=True)
class RankingRow:
    """One annotator's order of the K completions of one prompt.

    `ranks[k]` is the tier of `completions[k]`: 0 is best, equal numbers are a tie. `unacceptable[k]` marks a
    completion that should not be said at all, wherever it ranks. `ended[k]` says whether completion k came to its
    own end; it is false where the sampler's limit cut it off, and true for all where it is not given (files before
    schema version 2 lack it). `posteriors` has a number for each of `comparisons(ranks)`, in their order: how probable
    it is, by all people's labels, that the better ranked one is better; empty where that was not computed (files
    before schema version 3 lack it).
    """

    id: str
    prompt_id: str
    prompt: list[Message]
    completions: list[str]
    ranks: list[int]
    unacceptable: list[bool]
    annotator: str = ""
    category: str = ""
    language: str = ""
    split: Split = "train"
    weight: float = 1.0
    ended: list[bool] = dataclasses.field(default_factory=list)
    posteriors: list[float] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        check_messages(self.prompt, last="user")
        _check_common(split=self.split, weight=self.weight)
        count = len(self.completions)
        if not self.ended:
            object.__setattr__(self, "ended", [True] * count)
        if count < 2:
            raise RecordError("a ranking needs at least 2 completions")
        if len(self.ranks) != count or len(self.unacceptable) != count:
            raise RecordError(
                f"a ranking of {count} completions needs {count} ranks and {count} unacceptable marks, "
                f"not {len(self.ranks)} and {len(self.unacceptable)}"
            )
        if len(self.ended) != count:
            raise RecordError(f"a ranking of {count} completions needs {count} marks of their ends")
        if min(self.ranks) < 0:
            raise RecordError("ranks must be at least 0")
        if self.posteriors and len(self.posteriors) != len(comparisons(self.ranks)):
            raise RecordError("a ranking needs a posterior for each of its comparisons, or none")
        if not all(0 <= value <= 1 for value in self.posteriors):
            raise RecordError("posteriors must be between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class UnpairedRow:
    """One completion of a prompt, judged by itself: to be said (`desirable`) or not."""

    id: str
    prompt: list[Message]
    completion: str
    desirable: bool
    category: str = ""
    language: str = ""
    split: Split = "train"
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_messages(self.prompt, last="user")
        _check_common(split=self.split, weight=self.weight)


@dataclass(frozen=True, kw_only=True)
class PromptRow:
    """A conversation that ends with a user's turn and waits for completions."""

    id: str
    prompt: list[Message]
    category: str = ""
    language: str = ""

    def __post_init__(self) -> None:
        check_messages(self.prompt, last="user")


@dataclass(frozen=True, kw_only=True)
class CompletionRow:
    """Completion number `index` (from 0) that a model gave to a prompt; `token_count` includes the stop token.

    `checkpoint` is the model that drew it and `parameters` say how (engine, max_new_tokens, temperature, top_p, and
    what else was set). `token_ids` are the ids as they were drawn, the stop token last; empty where an endpoint gave
    text alone. Files of before have none of the three.
    """

    prompt_id: str
    index: int
    text: str
    finish_reason: Literal["stop", "length"]
    token_count: int
    seed: int
    checkpoint: str = ""
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    token_ids: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.finish_reason not in FINISH_REASONS:
            raise RecordError(f"finish_reason must be 'stop' or 'length', not {self.finish_reason!r}")


def comparisons(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """Every (i, j) where completion i is ranked above completion j; ties give none. Ordered by i, then j."""
    return [(i, j) for i, a in enumerate(ranks) for j, b in enumerate(ranks) if a < b]


def split_of(content_hash: str, heldout_percent: int) -> Split:
    """The split of a prompt, by its hash alone: the same in every round, whatever else is in the data.

    A larger percentage only ever moves prompts from train to held-out.
    """
    return "heldout" if int(content_hash[:16], 16) % 100 < heldout_percent else "train"


def sha256_file(path: str | Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is flushed to disk and takes the place of `path`."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes private files; the file that stays gets the usual mode.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _arrow_schema(row_type: type[Any]) -> Any:
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    kinds |= {
        list[str]: pa.list_(pa.string()),
        list[int]: pa.list_(pa.int64()),
        list[bool]: pa.list_(pa.bool_()),
        list[float]: pa.list_(pa.float64()),
        list[Message]: pa.list_(message),
    }
    hints = get_type_hints(row_type)
    return pa.schema([(f.name, kinds.get(hints[f.name], pa.string())) for f in dataclasses.fields(row_type)])


def write_parquet(path: str | Path, rows: Iterable[R], *, row_type: type[R], rows_per_group: int = 2000) -> int:
    """Write rows to a Parquet file (by temp file and rename) and give their number; one group is held at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _arrow_schema(row_type)
    count = 0
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        group: list[dict[str, Any]] = []
        for row in rows:
            group.append(vars(row))
            count += 1
            if len(group) == rows_per_group:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                group = []
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    return count


def iter_parquet(path: str | Path, *, row_type: type[R], batch_rows: int = 1000) -> Iterator[R]:
    """The rows of a Parquet file, one after another, in the file's order.

    Raises RecordError where the file is missing, is no whole Parquet file, lacks a column, or holds a bad row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise RecordError(f"The data file {path} does not exist.")
    required = {
        f.name
        for f in dataclasses.fields(row_type)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    names = [f.name for f in dataclasses.fields(row_type)]
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            held = set(file.schema_arrow.names)
            if missing := sorted(required - held):
                raise RecordError(f"The data file {path} lacks the column(s) {', '.join(missing)}.")
            for batch in file.iter_batches(batch_rows, columns=[name for name in names if name in held]):
                for values in batch.to_pylist():
                    yield _row(row_type, values, where=f"row {number} of {path}")
                    number += 1
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"The data file {path} is not a whole Parquet file: {error}.") from error


def read_parquet(path: str | Path, *, row_type: type[R]) -> list[R]:
    """All rows of a Parquet file; errors as `iter_parquet`."""
    return list(iter_parquet(path, row_type=row_type))


def write_jsonl(path: str | Path, rows: Iterable[R]) -> int:
    """Write rows as JSON lines (by temp file and rename) and give their number."""
    count = 0
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(to_json(row) + "\n")
            count += 1
    return count


def to_json(row: Row) -> str:
    """One row as one line of JSON, without the line's end."""
    return json.dumps(vars(row), ensure_ascii=False)


def iter_jsonl(path: str | Path, *, row_type: type[R], torn_end: bool = False) -> Iterator[R]:
    """The rows of a JSONL file; blank lines are skipped.

    With `torn_end` a last line without a line's end, left by a writer that was killed, is ignored.
    Raises RecordError naming the line.
    """
    try:
        file = open(path, encoding="utf-8")  # noqa: SIM115 - closed by the with below
    except OSError as error:
        raise RecordError(f"The file {path} cannot be read: {error.strerror}.") from error
    with file:
        for number, line in enumerate(file, start=1):
            if torn_end and not line.endswith("\n"):
                return
            if not line.strip():
                continue
            where = f"line {number} of {path}"
            try:
                values = json.loads(line)
            except ValueError as error:
                raise RecordError(f"In {where}: not valid JSON ({error}).") from error
            if not isinstance(values, dict):
                raise RecordError(f"In {where}: not a JSON object.")
            yield _row(row_type, values, where=where)


def read_jsonl(path: str | Path, *, row_type: type[R], torn_end: bool = False) -> list[R]:
    """All rows of a JSONL file; as `iter_jsonl`."""
    return list(iter_jsonl(path, row_type=row_type, torn_end=torn_end))


def _row(row_type: type[R], values: dict[str, Any], *, where: str) -> R:
    try:
        return row_type(**values)
    except RecordError as error:
        raise RecordError(f"In {where}: {error}.") from error
    except (TypeError, KeyError, ValueError) as error:
        raise RecordError(f"In {where}: the row does not fit {row_type.__name__} ({error}).") from error

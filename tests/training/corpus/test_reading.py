"""Sources of every kind and codec give the same documents, and bad ones a sentence."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.records import RecordError
from training.trainers.corpus.manifest import Source
from training.trainers.corpus.reading import check_readable, documents_of

LINES = ["First one, é.", "子曰：学而时习之。", "Third\u2028with a strange end"]
JSONL = "".join(json.dumps({"text": line, "id": n}) + "\n" for n, line in enumerate(LINES)).encode()


def zstd(data: bytes) -> bytes:
    """Two frames, as parallel compressors write."""
    return b"".join(pa.compress(part, codec="zstd", asbytes=True) for part in (data[:50], data[50:]))


CODECS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}


def texts(path: Path, **more: object) -> list[str]:
    return [document.text for document in documents_of(Source(name="s", path=path, **more))]  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_is_told_by_its_bytes_whatever_the_name_says(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(CODECS[codec](JSONL))
    assert texts(path) == LINES
    path.write_bytes(CODECS[codec](b"one\r\n\r\n\r\ntwo\r\nlines\r\n"))
    plain = path.rename(tmp_path / "data.txt")
    assert texts(plain, documents="paragraphs") == ["one\r\n", "two\r\nlines\r\n"]
    assert texts(plain, documents="lines") == ["one\r\n", "two\r\n", "lines\r\n"]
    assert texts(plain) == ["one\r\n\r\n\r\ntwo\r\nlines\r\n"]


def test_json_lines_lists_and_parquet_hold_text_lists_and_messages(tmp_path: Path) -> None:
    records = [{"text": "a"}, {"text": ["b", "c"]}, {"text": [{"role": "user", "content": "d"}]}, "e"]
    (tmp_path / "list.json").write_text("\ufeff " + json.dumps(records, indent=1))
    assert texts(tmp_path / "list.json") == ["a", "b\nc", "d", "e"]
    (tmp_path / "lines.txt").write_text("\n\n" + "".join(json.dumps(record) + "\n" for record in records[:3]))
    assert texts(tmp_path / "lines.txt") == ["a", "b\nc", "d"]
    table = pa.table({"body": ["f", None, "g"], "n": [1, 2, 3]})
    pq.write_table(table, tmp_path / "t.parquet")
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.write(tmp_path / "t.parquet", "inside/t.parquet")
    for name in ("t.parquet", "t.zip"):
        found = list(documents_of(Source(name="s", path=tmp_path / name, text_field="body")))
        assert [(each.text, each.fault) for each in found if not each.fault] == [("f", ""), ("g", "")]
        assert [each.fault for each in found] == ["", "no_text", ""]
    assert found[2].where.endswith("t.zip:inside/t.parquet:3")


def test_a_folder_is_read_in_the_order_of_names_and_tells_what_it_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "z.jsonl.gz").write_bytes(gzip.compress(b'{"text": "first"}\n'))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    (tmp_path / ".hidden.txt").write_text("tool's own")
    assert texts(tmp_path) == ["first", "second"]
    assert check_readable(Source(name="s", path=tmp_path)) == [str(tmp_path / "picture.png")]


def test_text_of_another_encoding_is_read_or_dropped_never_mangled(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Café\n中文\n".encode("gb18030"))
    (tmp_path / "b.txt").write_bytes("\ufeffCafé\n".encode())
    assert texts(tmp_path / "a.txt", encoding="gb18030", documents="lines") == ["Café\n", "中文\n"]
    assert texts(tmp_path / "b.txt") == ["Café\n"]
    found = list(documents_of(Source(name="s", path=tmp_path / "a.txt")))
    assert [document.fault for document in found] == ["encoding"]


def tar(data: bytes, path: Path) -> bytes:
    path.with_suffix(".member").write_bytes(data)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(path.with_suffix(".member"), "member.txt")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("missing.txt", None, "does not exist"),
        ("empty.txt", b"", "is empty"),
        ("binary.txt", b"MZ\x90\0\x03", "is binary"),
        ("page.warc.gz", gzip.compress(b"WARC/1.0\r\n", mtime=0), "is a WARC archive"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c\0\x04", "is a 7z archive; gzip, bzip2, xz, Zstandard and ZIP are read"),
        ("x.jsonl.lz4", b"\x04\x22\x4d\x18rest", "compressed with LZ4"),
        ("x.tar.gz", "tar", "is a tar archive; unpack it into a folder first"),
        ("cut.jsonl.gz", gzip.compress(JSONL * 99, mtime=0)[:-20], "is damaged or cut short"),
        ("cut.jsonl.xz", lzma.compress(JSONL * 99)[:-20], "is damaged or cut short"),
        ("cut.jsonl.zst", pa.compress(JSONL * 99, codec="zstd", asbytes=True)[:-20], "is damaged or cut short"),
        ("cut.parquet", b"PAR1 and no more", "is damaged or cut short"),
        ("torn.jsonl", JSONL[:-8], ":3: not valid JSON"),
        ("object.json", b'{\n"text": ["a"]\n}', "is one JSON value, not a list"),
        ("words.json", b"Not JSON at all", "not valid JSON"),
        ("field.jsonl", b'{"body": "x", "id": 1}\n', "no text in the field text_field = 'text'; it has body, id"),
        ("number.jsonl", b'{"text": 7}\n', "no text in the field text_field = 'text'; it has text"),
        ("none.zip", "zip", "the archive .* holds no file named"),
    ],
)
def test_a_bad_source_gives_one_sentence_that_names_it(tmp_path: Path, name: str, data: object, words: str) -> None:
    path = tmp_path / name
    if data == "tar":
        data = tar(b"text", path)
    if data == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.exe", b"MZ")
    elif data is not None:
        path.write_bytes(data)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match=words) as error:
        list(documents_of(Source(name="s", path=path)))
    assert name in str(error.value) and "\n" not in str(error.value)

"""Pretraining's report: what became of each source's documents (trainers.corpus), and what the model learnt of it."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from training.models import Run
from training.reports import plots
from training.reports.files import Unreadable, json_of
from training.reports.shapes import count, flat, metrics_of, number, part, rows, text

SAMPLES = True
_EXAMPLES = 5  # trainers keep 3 of each reason
_SOURCES = 200


def raw(run: Run) -> dict[str, Any] | None:
    """`report` as the trainer wrote it; None without one."""
    found = json_of(run, "corpus/report.json")
    return None if found is None else {"report": found}


def body(run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """Sums over the sources, and each source: what stayed, what went and why, perplexity before and after."""
    report, metrics = found["report"], metrics_of(run.result)
    sources = [_source(row, metrics) for row in rows(report, "sources")[:_SOURCES]]
    whole = {
        name: sum(source[name] for source in sources) for name in ("documents", "kept", "characters", "kept_characters")
    }
    taken = {
        reason: sum(row["documents"] for source in sources for row in source["dropped"] if row["reason"] == reason)
        for reason in ("exact_duplicate", "near_duplicate", "contaminated")
    }
    measured = [source for source in sources if source["perplexity"] and source["perplexity_before"]]
    return {
        **whole,
        "sources": sources,
        "exact": taken["exact_duplicate"],
        "near": taken["near_duplicate"],
        "across": sum(source["across"] for source in sources),
        "contaminated": taken["contaminated"],
        "evaluation_prompts": count(report, "evaluation_prompts"),
        "too_short": count(report, "evaluation_prompts_too_short"),
        "perplexity": flat(metrics, "heldout_perplexity"),
        "perplexity_before": flat(metrics, "heldout_perplexity_before"),
        "measured": measured,
        "plot": plots.before_and_after(
            [
                {"name": one["name"], "before": one["perplexity_before"].value, "after": one["perplexity"].value}
                for one in measured
            ]
        ),
        "settings": _settings(part(report, "settings")),
        "seconds": number(report, "seconds"),
    }


def _source(row: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    name = text(row, "name")
    documents = count(row, "documents")
    dropped = part(row, "dropped")
    return {
        "name": name,
        "documents": documents,
        "kept": count(row, "kept_documents"),
        "characters": count(row, "characters"),
        "kept_characters": count(row, "kept_characters"),
        "lines_cut": count(row, "lines_cut"),
        "heldout_percent": number(row, "heldout_percent"),
        "languages": _languages(part(row, "languages")),
        "files": count(row, "file_count"),
        "across": sum(_across(part(dropped, reason), name) for reason in dropped),
        "dropped": [_dropped(reason, part(dropped, reason), documents) for reason in dropped],
        "perplexity": flat(metrics, f"heldout_perplexity_{name}"),
        "perplexity_before": flat(metrics, f"heldout_perplexity_{name}_before"),
        "bits": flat(metrics, f"heldout_bits_per_byte_{name}"),
        "bits_before": flat(metrics, f"heldout_bits_per_byte_{name}_before"),
    }


def _dropped(reason: str, row: dict[str, Any], documents: int) -> dict[str, Any]:
    return {
        "reason": reason,
        "why": reasons().get(reason) or text(row, "why") or reason,
        "documents": count(row, "documents"),
        "characters": count(row, "characters"),
        "share": count(row, "documents") / documents if documents else None,
        "examples": [
            {"where": text(one, "where"), "text": text(one, "text"), "detail": text(one, "detail")}
            for one in rows(row, "examples")[:_EXAMPLES]
        ],
    }


def _across(row: dict[str, Any], name: str) -> int:
    """Of the duplicates that one reason took: those whose twin stands in another source."""
    twins = part(row, "twins") if "twins" in row else {}
    return sum(count(twins, source) for source in twins if source != name)


def _languages(found: dict[str, Any]) -> list[tuple[str, int]]:
    return [(name or "?", count(found, name)) for name in found][:12]


def _settings(found: dict[str, Any]) -> list[tuple[str, Any]]:
    """What the corpus was made by, in words."""
    words: dict[str, str] = {
        "True": _("on"),
        "False": _("off"),
        "none": _("kept"),
        "exact": _("the same words go"),
        "near": _("the same words and near ones go"),
    }
    names = {
        "languages": _("Languages"),
        "language_share": _("Language share"),
        "quality_filter": _("Quality filter"),
        "deduplicate": _("Duplicates"),
        "near_similarity": _("Alike from"),
        "contamination_words": _("Words in common with a prompt"),
        "heldout_percent": _("Held out, percent"),
    }
    shown = []
    for key, name in names.items():
        value = found.get(key)
        if isinstance(value, dict | list):
            raise Unreadable(_("its field %(field)s is not a text.") % {"field": key})
        if value is not None and value != "":
            shown.append((name, words.get(str(value), value)))
    return shown


def reasons() -> dict[str, str]:
    """Why documents go, in the reader's language: trainers.corpus.report.REASONS."""
    return {
        "encoding": _("bytes that are no text in the source's encoding"),
        "no_text": _("a record without a text in the text field"),
        "empty": _("nothing left after normalising"),
        "language": _("not surely in one of the languages asked for"),
        "too_short": _("fewer than 50 words (Gopher); two characters of a script without spaces count as a word"),
        "too_long": _("more than 100,000 words (Gopher)"),
        "word_length": _("a mean word length outside 3 to 10 characters (Gopher)"),
        "symbols": _("more than one # or ellipsis to ten words (Gopher)"),
        "few_letters": _("under 80 % of words have a letter (Gopher)"),
        "no_stop_words": _("English or Chinese without two of its commonest words (Gopher)"),
        "placeholder": _("lorem ipsum (C4)"),
        "code_brackets": _("curly brackets, as code has (C4)"),
        "few_sentences": _("fewer than 3 sentences (C4)"),
        "bullets": _("over 90 % of lines begin with a bullet (Gopher)"),
        "ellipsis_lines": _("over 30 % of lines end with an ellipsis (Gopher)"),
        "no_sentence_ends": _("under 12 % of lines end with punctuation (FineWeb)"),
        "short_lines": _("over 67 % of lines have 30 characters or fewer (FineWeb)"),
        "repeated_lines": _("over 30 % of lines, or 10 % of characters in lines, repeat (Gopher, FineWeb)"),
        "repeated_paragraphs": _("over 30 % of paragraphs, or 20 % of characters in them, repeat (Gopher)"),
        "top_run": _("one run of 2 to 4 words makes up over 20 to 16 % of the text (Gopher)"),
        "repeated_runs": _("repeated runs of 5 to 10 words make up over 15 to 10 % of the text (Gopher)"),
        "contaminated": _("a run of words of an evaluation prompt"),
        "exact_duplicate": _("the same words as an earlier document"),
        "near_duplicate": _("nearly the same runs of five words as an earlier document"),
    }

"""What a project's rules say about a demonstration, live while it is written and again when it is submitted."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from hone.accounts.models import Project
from labeling.checks import duplicates, language, length, personal, words
from labeling.checks.finding import Finding
from labeling.messages import Messages
from labeling.models import Prompt, WritingRules
from labeling.models.writing_rules import Action

__all__ = ["Finding", "run", "shown"]


def run(
    *,
    project: Project,
    messages: Messages,
    given: int = 0,
    rules: WritingRules | None = None,
    own: Collection[int] = (),
) -> list[Finding]:
    """Findings in a conversation, in its order. The first `given` messages, which others wrote, are not judged, and
    the prompts `own` are not looked at as earlier ones: the conversation is a correction of theirs.

    The conversation may be unfinished: an empty turn has no finding. Texts longer than the project's limit, which are
    refused anyway, are read as far as the limit.
    """
    rules = rules or WritingRules.objects.for_project(project)
    if not rules.are_set:
        return []
    texts: Messages = [{"role": turn["role"], "content": turn["content"][: project.max_chars]} for turn in messages]
    found: list[Finding] = []
    for index, turn in enumerate(texts):
        if index >= given and turn["content"].strip():
            found += [_at(finding, index) for finding in _of_turn(rules, texts, index)]
    prompt = _until_answer(texts)
    if rules.duplicates != Action.OFF and not given and prompt:
        alike = duplicates.find(
            prompt, project_id=project.pk, similarity=rules.similarity, action=rules.duplicates, own=own
        )
        found += [_at(finding, len(prompt) - 1) for finding in alike]
    return sorted(found, key=lambda finding: finding.message)


def shown(findings: list[Finding]) -> list[dict[str, Any]]:
    """Findings as the page needs them: with the text of the prompt that is alike."""
    texts = {row.pk: duplicates.said(row.messages) for row in Prompt.objects.filter(pk__in=_prompts(findings))}
    return [
        {
            **finding.as_json(),
            "prompt": {"id": finding.prompt, "text": texts[finding.prompt]} if finding.prompt in texts else None,
        }
        for finding in findings
    ]


def _prompts(findings: list[Finding]) -> set[int]:
    return {finding.prompt for finding in findings if finding.prompt}


def _of_turn(rules: WritingRules, texts: Messages, index: int) -> list[Finding]:
    text = texts[index]["content"]
    found: list[Finding] = []
    if texts[index]["role"] == "assistant":
        found += length.find(text, minimum=rules.min_chars, maximum=rules.max_chars)
        asked = texts[index - 1]["content"] if index else ""
        if rules.language != Action.OFF:
            found += language.find(text, prompt=asked, action=rules.language)
    if rules.words_action != Action.OFF:
        found += words.find(text, phrases=rules.phrases, action=rules.words_action)
    if rules.personal != Action.OFF:
        found += personal.find(text, regions=rules.regions, action=rules.personal)
    return found


def _until_answer(messages: Messages) -> Messages:
    """The writer's own prompt: what stands before the first answer."""
    roles = [turn["role"] for turn in messages]
    return messages[: roles.index("assistant")] if "assistant" in roles else messages


def _at(finding: Finding, index: int) -> Finding:
    return replace(finding, message=index)

"""Every page of the site with something on it, for tests that look at all of them.

The addresses come from the URL configuration, so a new page is looked at without being named here.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from hone.accounts import invitations
from hone.accounts.models import ApiToken, Project, User
from labeling import booking, guidelines, pay, qualifying
from labeling.batches import NewItem, open_batch
from labeling.models import Item, QualityReport, ReviewRules
from labeling.quality import measuring
from tests import factories, report_files
from training import rounds
from training.models import Checkpoint, Metric, Run

# Answer a POST or hand out a file; the schema and its page are the API's.
NOT_PAGES = {
    "health",
    "logout",
    "members_csv",
    "ledger_csv",
    "pay_withdraw",
    "write_ahead",
    "rank_ahead",
    "api",
    "admin",
}


def filled(project: Project, contractor: User, reviewer: User, lead: User, *, words: str = "题") -> dict[str, Any]:
    """Rows for every page; `words` begins every text that a person or model would have written."""
    draft = guidelines.save_draft(project=project, title=words, body=f"# {words}\n\n## {words}\n\n{words}")
    guidelines.publish(guideline=draft, actor=lead)
    base = factories.make_checkpoint(name="m-0")
    for number in range(3):
        prompt = factories.make_prompt(project, f"{words} {number}", source=words)
        new = NewItem(prompt=prompt, answers=[f"{words} {at}" for at in range(4)])
        for kind, item in (("rank", new), ("write", NewItem(prompt=prompt))):
            open_batch(project=project, kind=kind, name=words, items=[item], slots_per_item=2)
    for user in (contractor, reviewer):
        factories.submit_next(project, user)
    report, _ = QualityReport.objects.get_or_create(project=project, include_simulated=False)
    measuring.measure(report.pk)
    ApiToken.objects.create(user=contractor, name=words)
    recipe = rounds.Recipe(
        name=f"{words} 1", start=base, stages={"sample": {"prompts": 2, "k": 4}, "rank": {}}, include_simulated=True
    )
    made = rounds.start(project=project, recipe=recipe, actor=lead)
    rounds.advance(made.pk)
    made.refresh_from_db()
    run = Run.objects.filter(stage__round=made).first() or factories.make_run(project, kind="sample")
    failed = factories.make_run(project, kind="sft", state="failed", error=f"{words}", step=3, total_steps=9)
    for name in ("loss", "rewards/accuracies", "heldout_rewards/accuracies", "tokens_per_s"):
        Metric.objects.create(run=failed, step=1, name=name, value=0.5, at=failed.created_at)
    model = factories.make_checkpoint(name="m-1", kind="sft", project=project, run=failed, parent=base)
    ReviewRules.objects.create(project=project, demonstrations_percent=100)
    reviewed = factories.make_review(contractor, project, reviewer, words)
    factories.give_verdict(reviewed, reviewer, "return", remark=words)
    pay.set_rate(
        project=project, actor=lead, basis="piece", currency="EUR", per_demonstration=Decimal(1), per_ranking=Decimal(2)
    )
    booking.book_all()
    expires = timezone.now() + timedelta(days=7)
    invitations.invite(project=project, role="contractor", note=words, max_uses=2, expires_at=expires, actor=lead)
    factories.make_qualification(project, actor=lead, words=words)
    qualifying.qualify(member=project.memberships.get(user=contractor), actor=lead)
    measured = _measured(project, contractor, words)
    return {
        "slug": project.slug,
        "number": 1,
        "round": made.pk,
        "run": run.pk,
        "run_failed": failed.pk,
        "run_samples": measured["evaluate"],
        "measured": measured,
        "checkpoint": model.pk,
        "person": contractor.pk,
        "pay": contractor.pk,
        "gold": Item.objects.filter(kind="rank").first().pk,  # type: ignore[union-attr]
        "verdict": reviewed.pk,
    }


def _measured(project: Project, contractor: User, words: str) -> dict[str, int]:
    """A run with a report for each kind that makes one; kind -> its key."""
    policy = factories.make_checkpoint(name="m-2", kind="policy", project=project)
    runs = {
        kind: factories.make_run(project, kind=kind, state="succeeded", model=policy)
        for kind in ("reward", "evaluate", "pretrain", "best_of_n", "ppo")
    }
    judged = report_files.rankings(prompts=20, annotators=[f"a{contractor.pk}", "a0", "a9999"], right=0.6)
    metrics = {"reward": report_files.reward(runs["reward"], judged)}
    texts = [words, f"{words}\n\n" * 20, ""]
    paths = {"reference": "/m/0", "reward_model": "/m/1"}
    metrics["evaluate"] = report_files.evaluate(runs["evaluate"], texts=texts, question=words, **paths)
    metrics["pretrain"] = report_files.corpus(runs["pretrain"], words=words)
    report_files.best_of_n(runs["best_of_n"], left_out=1)
    report_files.ppo(runs["ppo"], words=words)
    for kind, found in metrics.items():
        Run.objects.filter(pk=runs[kind].pk).update(result={"metrics": found})
    factories.make_checkpoint(
        name="m-3",
        kind="reward",
        run=runs["reward"],
        metrics={"heldout_accuracy": metrics["reward"]["heldout_accuracy"]},
    )
    return {kind: run.pk for kind, run in runs.items()}


def addresses(rows: dict[str, Any]) -> dict[str, str]:
    """Route name -> address, of everything that may answer a GET with a page; runs with each kind of report."""
    measured = rows.get("measured", {})
    found = dict(_addresses(get_resolver(), "", rows))
    found |= {f"training:run {kind}": reverse("training:run", args=[pk]) for kind, pk in measured.items()}
    if measured:
        for kind in ("pretrain", "ppo"):
            found[f"training:run_samples {kind}"] = reverse("training:run_samples", args=[measured[kind]])
        for name in ("m-2", "m-3"):
            pk = Checkpoint.objects.get(name=name).pk
            found[f"training:checkpoint {name}"] = reverse("training:checkpoint", args=[pk])
    return found


def _addresses(resolver: Any, namespace: str, rows: dict[str, Any]) -> Any:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            inner = ":".join(part for part in (namespace, pattern.namespace) if part)
            if not NOT_PAGES & set(inner.split(":")):
                yield from _addresses(pattern, inner, rows)
        elif isinstance(pattern, URLPattern) and pattern.name and pattern.name not in NOT_PAGES:
            names = pattern.pattern.converters
            values = {name: rows[name] if name in rows else _key(pattern.name, name, rows) for name in names}
            label = f"{namespace}:{pattern.name}" + ("".join(f" {name}" for name in names if name == "number"))
            if None not in values.values():
                yield label, reverse(f"{namespace}:{pattern.name}", kwargs=values)


def _key(route: str, name: str, rows: dict[str, Any]) -> Any:
    """`pk` of round_stages is a round's: the route or its first word says of what. None where there is no such row."""
    return rows.get(name) if name != "pk" else rows.get(route, rows.get(route.partition("_")[0]))

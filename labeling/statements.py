"""The statements of handing out and taking back work, written by hand: see docs/decisions/0014-hot-path.md.

Every annotator waits for these. Django would need ten times as long to compile them as PostgreSQL to run them.
"""

from hone import prepared
from hone.accounts import access
from hone.audit import models as audit
from labeling.models.work import Kind

RANKING_FORM = """SELECT json_build_object('scales', form.scales, 'flags', form.flags, 'strength', form.strength,
                          'ties', form.ties, 'reason', form.reason) AS form
  FROM labeling_rankingform AS form WHERE form.project_id = %(project)s"""

_WORK = """
SELECT chosen.*, item.batch_id, item.prompt_id,
       prompt.messages, prompt.category, prompt.language, prompt.content_hash,
       guideline.id AS guideline_id, guideline.number,
       (SELECT json_agg({answer} ORDER BY answer.index)
          FROM labeling_completion AS answer WHERE answer.item_id = chosen.item_id) AS answers,
       EXISTS (SELECT FROM labeling_demonstration AS own
                WHERE own.prompt_id = item.prompt_id AND own.author_id = %(user)s) AS wrote_for{{more}}
  FROM chosen
  JOIN labeling_item AS item ON item.id = chosen.item_id
  LEFT JOIN labeling_prompt AS prompt ON prompt.id = item.prompt_id
"""
_ON_PAGE = """, guideline.title, guideline.body,
       (SELECT json_build_object('where', asked."where", 'names', asked.names) FROM labeling_modelnames AS asked
         WHERE asked.project_id = chosen.project_id AND asked.handling = 'mask') AS hidden_names,
       (SELECT json_build_object('content', draft.content, 'saved_at', draft.saved_at) FROM labeling_draft AS draft
         WHERE draft.item_id = chosen.item_id AND draft.author_id = %(user)s) AS draft,
       ({form}) AS form_now{more}
""".replace("{form}", RANKING_FORM.replace("%(project)s", "chosen.project_id"))

# The slot with all that its page needs, in one look because each would cost a way to the database; and with what its
# submit needs. `chosen` is a row of labeling_slot, locked by the caller's CTE, and `chosen.alive` says whether its
# lease runs on.
WORK = _WORK.format(answer="json_build_array(answer.id, answer.index, answer.text)").format(more=_ON_PAGE)
_WORK_DONE = _WORK.format(answer="json_build_array(answer.id, answer.index)").format(more="")
_SHOWN = "LEFT JOIN labeling_guideline AS guideline ON guideline.id = chosen.guideline_shown"
_NEWEST_ID = """(SELECT id FROM labeling_guideline
       WHERE project_id = %(project)s AND published_at IS NOT NULL ORDER BY number DESC LIMIT 1)"""
NEWEST = f"LEFT JOIN labeling_guideline AS guideline ON guideline.id = {_NEWEST_ID}"
_SHOWN_OR_NEWEST = f"""LEFT JOIN labeling_guideline AS guideline
    ON guideline.id = CASE WHEN chosen.was_held THEN chosen.guideline_shown ELSE {_NEWEST_ID} END"""
COLUMNS = """slot.id, slot.item_id, slot.project_id, slot.kind, slot.priority, slot.draw, slot.index, slot.holder_id,
       slot.lease_token, slot.leased_at, slot.lease_expires_at, slot.order_shown, slot.ranking_form,
       slot.is_ahead, slot.hidden, slot.review_id, slot.guideline_id AS guideline_shown"""

# Whether the newest version asks for a reading that the person has not confirmed: a minor change asks for none, and
# any version since the last that was not minor will do.
_UNREAD = """, %(confirm)s::boolean AND guideline.id IS NOT NULL AND NOT EXISTS (
         SELECT FROM labeling_guideline AS version
           JOIN labeling_guidelinereading AS reading
             ON reading.guideline_id = version.id AND reading.user_id = %(user)s AND reading.confirmed_at IS NOT NULL
          WHERE version.project_id = %(project)s AND version.published_at IS NOT NULL
            AND version.number >= (SELECT number FROM labeling_guideline
                                    WHERE project_id = %(project)s AND published_at IS NOT NULL AND NOT is_minor
                                    ORDER BY number DESC LIMIT 1)
       ) AS guideline_unread"""

LOCK_PERSON = "SELECT id FROM accounts_user WHERE id = %(user)s FOR NO KEY UPDATE"

# With it the project's rates of hidden checks (null where it has none), and whether it has lanes.
_RATES = """checks.gold_percent, checks.repeat_percent, checks.repeat_distance,
       EXISTS (SELECT FROM labeling_lane AS lane WHERE lane.project_id = {project}) AS has_lanes"""
LOCK_TO_HAND_OUT = f"""
SELECT person.id, {_RATES.format(project="%(project)s")}
  FROM accounts_user AS person
  LEFT JOIN labeling_hiddenchecks AS checks ON checks.project_id = %(project)s
 WHERE person.id = %(user)s FOR NO KEY UPDATE OF person
"""

# The same with the project itself, by its address, for access.admit.
ENTER = f"""
SELECT {access.ADMITTED}, {_RATES.format(project="project.id")}
  FROM accounts_user AS person
  JOIN accounts_project AS project ON project.slug = %(slug)s
  {access.MEMBER}
  LEFT JOIN labeling_hiddenchecks AS checks ON checks.project_id = project.id
 WHERE person.id = %(user)s FOR NO KEY UPDATE OF person
"""

# The project of a slot for access.admit, without and with the person's lock.
PROJECT_OF_SLOT = f"""
SELECT {access.ADMITTED}
  FROM labeling_slot AS slot JOIN accounts_project AS project ON project.id = slot.project_id {access.MEMBER}
 WHERE slot.id = %(slot)s
"""
ENTER_BY_SLOT = f"""
SELECT {access.ADMITTED}
  FROM accounts_user AS person
  JOIN labeling_slot AS slot ON slot.id = %(slot)s
  JOIN accounts_project AS project ON project.id = slot.project_id {access.MEMBER}
 WHERE person.id = %(user)s FOR NO KEY UPDATE OF person
"""

# The slot that the person has in hand: a live lease, then one that has run out and that nobody took meanwhile, then
# work that a reviewer returned; the one that waits behind it only where there is no other.
_HELD = """
  SELECT {columns}, slot.state = 'leased' AND slot.lease_expires_at > statement_timestamp() AS alive
    FROM labeling_slot AS slot
   WHERE slot.holder_id = %(user)s AND slot.project_id = %(project)s AND slot.kind = '{kind}'
     AND slot.state IN ('leased', 'returned')
   ORDER BY slot.is_ahead, alive DESC, slot.state, slot.leased_at, slot.review_id LIMIT 1 FOR UPDATE"""

AHEAD = f"""
WITH chosen AS MATERIALIZED (
  SELECT {COLUMNS}, slot.lease_expires_at > statement_timestamp() AS alive
    FROM labeling_slot AS slot
   WHERE slot.holder_id = %(user)s AND slot.project_id = %(project)s AND slot.kind = %(kind)s AND slot.is_ahead
     FOR UPDATE
)
{WORK.format(more="")} {_SHOWN}
"""

# `can_have_passed`: seconds since the person was first handed the item, as far as a draft remembers earlier leases.
_LOCK_HELD = f"""
WITH chosen AS MATERIALIZED (
  SELECT {COLUMNS}, true AS alive, ceil(extract(epoch FROM statement_timestamp() - least(slot.leased_at,
           (SELECT begun_at FROM labeling_draft WHERE item_id = slot.item_id AND author_id = slot.holder_id)
         )))::int AS can_have_passed,
         (SELECT row_to_json(rules) FROM labeling_reviewrules AS rules
           WHERE rules.project_id = slot.project_id) AS review_rules
    FROM labeling_slot AS slot
   WHERE slot.id = %(slot)s AND slot.holder_id = %(user)s AND slot.lease_token = %(token)s AND slot.state = 'leased'
     AND slot.lease_expires_at > statement_timestamp()
     FOR UPDATE
)
{{work}} {_SHOWN}
"""
LOCK_HELD = _LOCK_HELD.format(work=_WORK_DONE)
LOCK_HELD_FOR_PAGE = _LOCK_HELD.format(work=WORK.format(more=""))


def _lanes(project: str = "%(project)s") -> str:
    """The lanes that the person may take: the one without a requirement, and those of the project whose language is
    one of theirs (who names none reads all) and whose skills they have. Who is no member (staff) has no skills.

    Each look at the membership runs once, and none where the project has no lanes.
    """

    def own(column: str) -> str:
        member = f"member.project_id = {project} AND member.user_id = %(user)s"
        return f"coalesce((SELECT member.{column} FROM accounts_membership AS member WHERE {member}), '{{}}')"

    return f"""
  SELECT ''::varchar AS lane
  UNION ALL
  SELECT lane.name FROM labeling_lane AS lane
   WHERE lane.project_id = {project}
     AND (lane.language = '' OR {own("languages")} = '{{}}' OR lane.language = ANY ({own("languages")}))
     AND lane.skills <@ {own("skills")}"""


# What the person may take: an item that they neither had nor skipped, and no answers to a prompt that they answered.
_FREE = """slot.project_id = {project} AND slot.kind = '{kind}' AND {state}
     AND NOT EXISTS (SELECT FROM labeling_slot AS own WHERE own.item_id = slot.item_id AND own.holder_id = %(user)s)
     AND NOT EXISTS (SELECT FROM labeling_skip AS own WHERE own.item_id = slot.item_id AND own.author_id = %(user)s)"""
_NOT_WRITTEN = """
     AND NOT EXISTS (SELECT FROM labeling_demonstration AS own JOIN labeling_item AS of_item USING (prompt_id)
                      WHERE of_item.id = slot.item_id AND own.author_id = %(user)s)"""


def _free(kind: str, project: str = "%(project)s", state: str = "slot.state = 'open'") -> str:
    return _FREE.format(kind=kind, project=project, state=state) + (_NOT_WRITTEN if kind == "rank" else "")


def _first(free: str, where: str = "") -> str:
    """The first free slot over the person's lanes in the order of hand-out, locked.

    Each lane's head is looked at without a lock; then the lane with the best head is walked for a slot that nobody
    has locked, and the next lane only where it has none. One lane alone needs no look.
    """
    order = "ORDER BY slot.priority DESC, slot.draw, slot.index LIMIT 1"
    walk = f"WHERE {free} AND slot.lane = lanes.lane {where}"
    look = f"SELECT slot.priority, slot.draw FROM labeling_slot AS slot {walk} {order}"
    return f"""
  SELECT found.* FROM (
    SELECT lanes.lane
      FROM lanes LEFT JOIN LATERAL (SELECT * FROM ({look}) AS one WHERE (SELECT n FROM many) > 1) AS head ON true
     WHERE (SELECT n FROM many) = 1 OR head.draw IS NOT NULL
     ORDER BY head.priority DESC, head.draw
  ) AS lanes CROSS JOIN LATERAL (
    SELECT {COLUMNS}, false AS alive FROM labeling_slot AS slot {walk} {order} FOR UPDATE OF slot SKIP LOCKED
  ) AS found LIMIT 1"""


def _first_without_lanes(free: str, where: str = "") -> str:
    """The first free slot of a project that has no lanes, in the order of hand-out, locked."""
    return f"""
  SELECT {COLUMNS}, false AS alive FROM labeling_slot AS slot WHERE {free} AND slot.lane = '' {where}
   ORDER BY slot.priority DESC, slot.draw, slot.index LIMIT 1 FOR UPDATE OF slot SKIP LOCKED"""


def _take(kind: str, *, lanes: bool, held: bool) -> str:
    """The best open slot, locked; with `held` what the person holds before it, and nothing from the front. See TAKE."""
    free = _free(kind)
    if lanes:
        first, in_lane = _first, "slot.lane IN (SELECT lane FROM lanes)"
        of_person = f"lanes AS MATERIALIZED ({_lanes()}), many AS MATERIALIZED (SELECT count(*) AS n FROM lanes), "
    else:
        first, in_lane, of_person = _first_without_lanes, "slot.lane = ''", ""
    in_hand = f"held AS MATERIALIZED ({_HELD.format(columns=COLUMNS, kind=kind)}\n), " if held else ""
    onward = "AND slot.priority = (SELECT priority FROM place) AND slot.draw >= (SELECT draw FROM place)"
    # Each part is walked only where those before it found nothing.
    parts = {
        "begun": f"""
  SELECT {COLUMNS}, false AS alive FROM labeling_slot AS slot
    JOIN labeling_draft AS draft ON draft.item_id = slot.item_id AND draft.author_id = %(user)s
   WHERE {free} AND {in_lane}
   ORDER BY draft.saved_at DESC, slot.index LIMIT 1 FOR UPDATE OF slot SKIP LOCKED""",
        "urgent": first(free, "AND slot.priority > (SELECT priority FROM place)"),
        "onward": first(free, onward),
    }
    if not held:
        parts["front"] = first(free)
    before, walks = ["held"] if held else [], ""
    for name, walk in parts.items():
        empty = " AND ".join(f"NOT EXISTS (SELECT FROM {earlier})" for earlier in before) or "true"
        walks += f", {name} AS MATERIALIZED (SELECT * FROM ({walk}) AS one WHERE {empty})"
        before.append(name)
    found = " UNION ALL ".join(f"SELECT *, {name == 'held'} AS was_held FROM {name}" for name in before)
    return f"""
WITH {in_hand}{of_person}place AS MATERIALIZED (
  SELECT priority, draw FROM labeling_slot
   WHERE holder_id = %(user)s AND project_id = %(project)s AND kind = '{kind}' AND state = 'submitted'
   ORDER BY submitted_at DESC LIMIT 1
){walks}, chosen AS ({found})
{WORK.format(more=_UNREAD)} {_SHOWN_OR_NEWEST}
"""


# In this order: work that the person began, more urgent items than their last one, what follows their last one in the
# hand-out order, and then everything from the front. What follows comes before the front because a person who works
# through a project has done the items of the front, and stepping over thousands of them takes time.
# By kind, and whether the project has lanes: without them the plan is half as large, and so is what it costs.
TAKE = {(kind, lanes): _take(kind, lanes=lanes, held=False) for kind in Kind.values for lanes in (False, True)}

# Before all what the person has in hand (`was_held`), in one look with what is open, since most have nothing in hand.
# It leaves out the front, which most have behind them: who finds nothing asks TAKE.
NEXT = {(kind, lanes): _take(kind, lanes=lanes, held=True) for kind in Kind.values for lanes in (False, True)}

# For each of these projects how many items the person could take, counted no further than `most` slots a lane.
WAITING = {
    kind: f"""
SELECT project.id, (
  SELECT count(DISTINCT open.item_id) FROM ({_lanes("project.id")}) AS lanes
    CROSS JOIN LATERAL (
      SELECT slot.item_id FROM labeling_slot AS slot
       WHERE {_free(kind, "project.id")} AND slot.lane = lanes.lane LIMIT %(most)s
    ) AS open
  ) AS items
  FROM unnest(%(projects)s::bigint[]) AS project (id)
"""
    for kind in Kind.values
}

# One row where an item is open in a lane that is not the person's.
ELSEWHERE = {
    kind: f"""
SELECT 1 FROM labeling_lane AS other CROSS JOIN LATERAL (
  SELECT FROM labeling_slot AS slot WHERE {_free(kind)} AND slot.lane = other.name LIMIT 1
) AS open
 WHERE other.project_id = %(project)s AND other.name NOT IN ({_lanes()}) LIMIT 1
"""
    for kind in Kind.values
}

# Moves what nobody holds, without waiting for rows that somebody locks at this moment; `left` says how many those are.
# Held slots stay: who holds one row of a person waits for no other without that person's lock, and this has none.
MOVE_TO_LANES = """
WITH stale AS MATERIALIZED (
  SELECT slot.id, wanted.lane
    FROM labeling_slot AS slot
    JOIN labeling_item AS item ON item.id = slot.item_id
    JOIN labeling_prompt AS prompt ON prompt.id = item.prompt_id
    JOIN unnest(%(languages)s::text[], %(skills)s::text[], %(lanes)s::text[]) AS wanted (language, skills, lane)
      ON wanted.language = prompt.language AND wanted.skills = array_to_string(prompt.skills, ',')
   WHERE slot.project_id = %(project)s AND slot.state IN ('open', 'withdrawn') AND slot.lane <> wanted.lane
), free AS MATERIALIZED (
  SELECT slot.id FROM labeling_slot AS slot
   WHERE slot.id IN (SELECT id FROM stale) AND slot.state IN ('open', 'withdrawn')
     FOR UPDATE SKIP LOCKED
), moved AS (
  UPDATE labeling_slot AS slot SET lane = stale.lane
    FROM stale JOIN free USING (id) WHERE slot.id = stale.id RETURNING slot.id
)
SELECT (SELECT count(*) FROM stale) - (SELECT count(*) FROM moved) AS left
"""


def _take_ahead(kind: str) -> str:
    """A slot that waits behind somebody else's and in which they entered nothing: see labeling.ahead.

    Not work that was returned to them, nor an item that was withdrawn meanwhile: those are nobody else's.
    """
    waits = "slot.is_ahead AND slot.hidden = '' AND slot.review_id IS NULL"
    return f"""
WITH lanes AS MATERIALIZED ({_lanes()}
), chosen AS MATERIALIZED (
  SELECT {COLUMNS}, false AS alive FROM labeling_slot AS slot
   WHERE {_free(kind, state=waits)} AND slot.lane IN (SELECT lane FROM lanes)
     AND EXISTS (SELECT FROM labeling_item AS item WHERE item.id = slot.item_id AND item.withdrawn = '')
     AND NOT EXISTS (SELECT FROM labeling_draft AS draft
                      WHERE draft.item_id = slot.item_id AND draft.author_id = slot.holder_id)
   ORDER BY slot.priority DESC, slot.draw, slot.index LIMIT 1 FOR UPDATE OF slot SKIP LOCKED
)
{WORK.format(more=_UNREAD)} {NEWEST}
"""


TAKE_AHEAD = {kind: _take_ahead(kind) for kind in Kind.values}

# The lease's times are the database's own: web servers' clocks need not agree.
LEASE = """
UPDATE labeling_slot
   SET state = 'leased', holder_id = %(user)s, lease_token = %(token)s, leased_at = statement_timestamp(),
       lease_expires_at = statement_timestamp() + %(seconds)s * interval '1 second',
       order_shown = %(order)s::jsonb, guideline_id = %(guideline)s, ranking_form = %(form)s::jsonb,
       is_ahead = %(ahead)s
 WHERE id = %(slot)s
RETURNING leased_at, lease_expires_at
"""

# What waits behind the slot is renewed with it, for the shorter time that such a lease has.
RENEW = """
WITH behind AS (
  UPDATE labeling_slot SET lease_expires_at = statement_timestamp() + %(ahead_seconds)s * interval '1 second'
   WHERE holder_id = %(user)s AND project_id = %(project)s AND kind = %(kind)s AND is_ahead AND id <> %(slot)s
)
UPDATE labeling_slot SET lease_expires_at = statement_timestamp() + %(seconds)s * interval '1 second'
 WHERE id = %(slot)s
RETURNING lease_expires_at
"""

# What waited behind a slot that is done or skipped is the one in hand now. `leased_at` stays: it may have been worked
# on before it was laid aside, and the page shows what was fetched before the submit is answered.
MOVE_UP = """
UPDATE labeling_slot
   SET is_ahead = false, lease_expires_at = statement_timestamp() + %(seconds)s * interval '1 second'
 WHERE holder_id = %(user)s AND project_id = %(project)s AND kind = %(kind)s AND is_ahead AND id <> %(slot)s
RETURNING id
"""


def _closing(target: str) -> dict[str, str]:
    """What ends a submit: closes the slot, drops the draft of its item, moves up what waits behind it, keeps the event.

    The caller holds the person's lock, so no draft comes after it.
    """
    return {
        "dropped": "DELETE FROM labeling_draft WHERE item_id = %(item)s AND author_id = %(user)s",
        "audited": audit.RECORD.replace("%(target)s", target),
        "next": MOVE_UP,
        "closed": """
UPDATE labeling_slot
   SET state = 'submitted', submitted_at = statement_timestamp(), is_ahead = false, review_id = NULL,
       final_at = statement_timestamp() + %(open_for)s::float * interval '1 second'
 WHERE id = %(slot)s""",
    }


NEXT_IN_HAND = "(SELECT id FROM next) AS next"
CLOSE = f"WITH {prepared.parts(_closing('%(target)s'))} SELECT {NEXT_IN_HAND}"

# With the ranking that prepared.insert makes: its comparisons, from arrays of one length with an entry a comparison,
# and the end of the submit.
WITH_RANKING = {
    "compared": """
INSERT INTO labeling_comparison (ranking_id, project_id, prompt_id, simulated, chosen_id, rejected_id, margin,
                                 chosen_acceptable, rejected_acceptable)
SELECT made.id, %(project_id)s, %(prompt_id)s, %(simulated)s, pair.*
  FROM made, unnest(%(chosen)s::bigint[], %(rejected)s::bigint[], %(margin)s::smallint[],
              %(chosen_acceptable)s::boolean[], %(rejected_acceptable)s::boolean[]) AS pair
""",
    **_closing("'ranking:' || (SELECT id FROM made)"),
}

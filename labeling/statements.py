"""The statements of handing out and taking back work, written by hand: see docs/decisions/0014-hot-path.md.

Every annotator waits for these. Django would need ten times as long to compile them as PostgreSQL to run them.
"""

# The slot with all that its page or its submit needs. `chosen` is a row of labeling_slot, locked by the caller's CTE,
# and `chosen.alive` says whether its lease runs on.
_WORK = """
SELECT chosen.*, item.batch_id, item.prompt_id,
       prompt.messages, prompt.category, prompt.language, prompt.content_hash,
       guideline.id AS guideline_id, guideline.number, guideline.title, guideline.body,
       (SELECT json_agg(json_build_array(answer.id, answer.index, answer.text) ORDER BY answer.index)
          FROM labeling_completion AS answer WHERE answer.item_id = chosen.item_id) AS answers
  FROM chosen
  JOIN labeling_item AS item ON item.id = chosen.item_id
  LEFT JOIN labeling_prompt AS prompt ON prompt.id = item.prompt_id
"""
_SHOWN = "LEFT JOIN labeling_guideline AS guideline ON guideline.id = chosen.guideline_shown"
_NEWEST = """LEFT JOIN LATERAL (
    SELECT id, number, title, body FROM labeling_guideline
     WHERE project_id = %(project)s AND published_at IS NOT NULL ORDER BY number DESC LIMIT 1
  ) AS guideline ON true"""
_COLUMNS = """slot.id, slot.item_id, slot.project_id, slot.kind, slot.priority, slot.draw, slot.index, slot.lease_token,
       slot.leased_at, slot.lease_expires_at, slot.order_shown, slot.ranking_form, slot.review_id,
       slot.guideline_id AS guideline_shown"""

LOCK_PERSON = "SELECT id FROM accounts_user WHERE id = %(user)s FOR NO KEY UPDATE"

# The slot that the person has in hand: a live lease, then one that has run out and that nobody took meanwhile, then
# work that a reviewer returned.
HELD = f"""
WITH chosen AS MATERIALIZED (
  SELECT {_COLUMNS}, slot.state = 'leased' AND slot.lease_expires_at > statement_timestamp() AS alive
    FROM labeling_slot AS slot
   WHERE slot.holder_id = %(user)s AND slot.project_id = %(project)s AND slot.kind = %(kind)s
     AND slot.state IN ('leased', 'returned')
   ORDER BY alive DESC, slot.state, slot.leased_at, slot.review_id LIMIT 1 FOR UPDATE
)
{_WORK} {_SHOWN}
"""

LOCK_HELD = f"""
WITH chosen AS MATERIALIZED (
  SELECT {_COLUMNS}, true AS alive,
         (SELECT row_to_json(rules) FROM labeling_reviewrules AS rules
           WHERE rules.project_id = slot.project_id) AS review_rules
    FROM labeling_slot AS slot
   WHERE slot.id = %(slot)s AND slot.holder_id = %(user)s AND slot.lease_token = %(token)s AND slot.state = 'leased'
     AND slot.lease_expires_at > statement_timestamp()
     FOR UPDATE
)
{_WORK} {_SHOWN}
"""

# What the person may take: an item that they neither had nor skipped, and no answers to a prompt that they answered.
_FREE = """slot.project_id = %(project)s AND slot.kind = '{kind}' AND slot.state = 'open'
     AND NOT EXISTS (SELECT FROM labeling_slot AS own WHERE own.item_id = slot.item_id AND own.holder_id = %(user)s)
     AND NOT EXISTS (SELECT FROM labeling_skip AS own WHERE own.item_id = slot.item_id AND own.author_id = %(user)s)"""
_NOT_WRITTEN = """
     AND NOT EXISTS (SELECT FROM labeling_demonstration AS own JOIN labeling_item AS of_item USING (prompt_id)
                      WHERE of_item.id = slot.item_id AND own.author_id = %(user)s)"""


def _take(kind: str) -> str:
    """The best open slot, locked: see TAKE."""
    free = _FREE.format(kind=kind) + (_NOT_WRITTEN if kind == "rank" else "")
    begin = f"SELECT {_COLUMNS}, false AS alive FROM labeling_slot AS slot"
    end = "ORDER BY slot.priority DESC, slot.draw, slot.index LIMIT 1 FOR UPDATE OF slot SKIP LOCKED"
    return f"""
WITH place AS MATERIALIZED (
  SELECT priority, draw FROM labeling_slot
   WHERE holder_id = %(user)s AND project_id = %(project)s AND kind = '{kind}' AND state = 'submitted'
   ORDER BY submitted_at DESC LIMIT 1
), begun AS MATERIALIZED (
  {begin} JOIN labeling_draft AS draft ON draft.item_id = slot.item_id AND draft.author_id = %(user)s
   WHERE {free}
   ORDER BY draft.saved_at DESC, slot.index LIMIT 1 FOR UPDATE OF slot SKIP LOCKED
), urgent AS MATERIALIZED (
  {begin} WHERE {free} AND slot.priority > (SELECT priority FROM place) AND NOT EXISTS (SELECT FROM begun)
  {end}
), onward AS MATERIALIZED (
  {begin} WHERE {free} AND slot.priority = (SELECT priority FROM place) AND slot.draw >= (SELECT draw FROM place)
     AND NOT EXISTS (SELECT FROM begun) AND NOT EXISTS (SELECT FROM urgent)
  {end}
), front AS MATERIALIZED (
  {begin} WHERE {free}
     AND NOT EXISTS (SELECT FROM begun) AND NOT EXISTS (SELECT FROM urgent) AND NOT EXISTS (SELECT FROM onward)
  {end}
), chosen AS (
  SELECT * FROM begun UNION ALL SELECT * FROM urgent UNION ALL SELECT * FROM onward UNION ALL SELECT * FROM front
)
{_WORK} {_NEWEST}
"""


# In this order: work that the person began, more urgent items than their last one, what follows their last one in the
# hand-out order, and then everything from the front. What follows comes before the front because a person who works
# through a project has done the items of the front, and stepping over thousands of them takes time.
TAKE = {kind: _take(kind) for kind in ("write", "rank")}

# The lease's times are the database's own: web servers' clocks need not agree.
LEASE = """
UPDATE labeling_slot
   SET state = 'leased', holder_id = %(user)s, lease_token = %(token)s, leased_at = statement_timestamp(),
       lease_expires_at = statement_timestamp() + %(seconds)s * interval '1 second',
       order_shown = %(order)s::jsonb, guideline_id = %(guideline)s, ranking_form = %(form)s::jsonb
 WHERE id = %(slot)s
RETURNING leased_at, lease_expires_at
"""

RENEW = """
UPDATE labeling_slot SET lease_expires_at = statement_timestamp() + %(seconds)s * interval '1 second'
 WHERE id = %(slot)s
RETURNING lease_expires_at
"""

# Closes the slot and drops the draft of its item; the caller holds the person's lock, so no draft comes after it.
CLOSE = """
WITH dropped AS (DELETE FROM labeling_draft WHERE item_id = %(item)s AND author_id = %(user)s)
UPDATE labeling_slot SET state = 'submitted', submitted_at = statement_timestamp(), review_id = NULL
 WHERE id = %(slot)s
"""

WROTE_FOR = "SELECT id FROM labeling_demonstration WHERE prompt_id = %(prompt)s AND author_id = %(user)s LIMIT 1"

DRAFT = "SELECT content, saved_at FROM labeling_draft WHERE item_id = %(item)s AND author_id = %(user)s"

# The project of a slot and the person's role in it, for access.admit.
PROJECT_OF_SLOT = """
SELECT project.*, member.role AS role_of_member
  FROM labeling_slot AS slot
  JOIN accounts_project AS project ON project.id = slot.project_id
  LEFT JOIN accounts_membership AS member
    ON member.project_id = project.id AND member.user_id = %(user)s AND member.is_active
 WHERE slot.id = %(slot)s
"""

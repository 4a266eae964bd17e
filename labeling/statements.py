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
_COLUMNS = """slot.id, slot.item_id, slot.project_id, slot.kind, slot.priority, slot.draw, slot.index, slot.holder_id,
       slot.lease_token, slot.leased_at, slot.lease_expires_at, slot.order_shown, slot.ranking_form, slot.is_ahead,
       slot.guideline_id AS guideline_shown"""

LOCK_PERSON = "SELECT id FROM accounts_user WHERE id = %(user)s FOR NO KEY UPDATE"

# The slot that the person has in hand, a live lease before one that has run out and that nobody took meanwhile; the
# one that waits behind it only where there is no other.
HELD = f"""
WITH chosen AS MATERIALIZED (
  SELECT {_COLUMNS}, slot.lease_expires_at > statement_timestamp() AS alive
    FROM labeling_slot AS slot
   WHERE slot.holder_id = %(user)s AND slot.project_id = %(project)s AND slot.kind = %(kind)s AND slot.state = 'leased'
   ORDER BY slot.is_ahead, alive DESC, slot.leased_at LIMIT 1 FOR UPDATE
)
{_WORK} {_SHOWN}
"""

AHEAD = f"""
WITH chosen AS MATERIALIZED (
  SELECT {_COLUMNS}, slot.lease_expires_at > statement_timestamp() AS alive
    FROM labeling_slot AS slot
   WHERE slot.holder_id = %(user)s AND slot.project_id = %(project)s AND slot.kind = %(kind)s AND slot.is_ahead
     FOR UPDATE
)
{_WORK} {_SHOWN}
"""

LOCK_HELD = f"""
WITH chosen AS MATERIALIZED (
  SELECT {_COLUMNS}, true AS alive
    FROM labeling_slot AS slot
   WHERE slot.id = %(slot)s AND slot.holder_id = %(user)s AND slot.lease_token = %(token)s AND slot.state = 'leased'
     AND slot.lease_expires_at > statement_timestamp()
     FOR UPDATE
)
{_WORK} {_SHOWN}
"""

# What the person may take: an item that they neither had nor skipped, and no answers to a prompt that they answered.
_FREE = """slot.project_id = %(project)s AND slot.kind = '{kind}' AND slot.{state}
     AND NOT EXISTS (SELECT FROM labeling_slot AS own WHERE own.item_id = slot.item_id AND own.holder_id = %(user)s)
     AND NOT EXISTS (SELECT FROM labeling_skip AS own WHERE own.item_id = slot.item_id AND own.author_id = %(user)s)"""
_NOT_WRITTEN = """
     AND NOT EXISTS (SELECT FROM labeling_demonstration AS own JOIN labeling_item AS of_item USING (prompt_id)
                      WHERE of_item.id = slot.item_id AND own.author_id = %(user)s)"""


def _free(kind: str, state: str) -> str:
    return _FREE.format(kind=kind, state=state) + (_NOT_WRITTEN if kind == "rank" else "")


def _take(kind: str) -> str:
    """The best open slot, locked: see TAKE."""
    free = _free(kind, "state = 'open'")
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


def _take_ahead(kind: str) -> str:
    """A slot that waits behind somebody else's and in which they entered nothing: see labeling.ahead."""
    return f"""
WITH chosen AS MATERIALIZED (
  SELECT {_COLUMNS}, false AS alive FROM labeling_slot AS slot
   WHERE {_free(kind, "is_ahead")}
     AND NOT EXISTS (SELECT FROM labeling_draft AS draft
                      WHERE draft.item_id = slot.item_id AND draft.author_id = slot.holder_id)
   ORDER BY slot.priority DESC, slot.draw, slot.index LIMIT 1 FOR UPDATE OF slot SKIP LOCKED
)
{_WORK} {_NEWEST}
"""


TAKE_AHEAD = {kind: _take_ahead(kind) for kind in ("write", "rank")}

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

# What waited behind a slot that is done or skipped is the one in hand now.
MOVE_UP = """
UPDATE labeling_slot
   SET is_ahead = false, leased_at = statement_timestamp(),
       lease_expires_at = statement_timestamp() + %(seconds)s * interval '1 second'
 WHERE holder_id = %(user)s AND project_id = %(project)s AND kind = %(kind)s AND is_ahead AND id <> %(slot)s
RETURNING id
"""

# Closes the slot, drops the draft of its item and moves up what waits behind it; the caller holds the person's lock, so
# no draft comes after it.
CLOSE = f"""
WITH dropped AS (DELETE FROM labeling_draft WHERE item_id = %(item)s AND author_id = %(user)s),
next AS ({MOVE_UP})
UPDATE labeling_slot
   SET state = 'submitted', submitted_at = statement_timestamp(), is_ahead = false,
       final_at = statement_timestamp() + %(open_for)s::float * interval '1 second'
 WHERE id = %(slot)s
RETURNING (SELECT id FROM next) AS next
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

"""The statements of hidden checks, beside labeling.statements. None but the first runs where a project has no rates."""

from labeling import statements

# Their newest label stands for the number of their labels: it changes with each, and is one step into an index.
NEWEST_OF_PERSON = """
SELECT (SELECT id FROM labeling_slot WHERE holder_id = %(user)s AND project_id = %(project)s AND kind = 'rank'
           AND state = 'submitted' ORDER BY submitted_at DESC LIMIT 1) AS label,
       (SELECT max(id) FROM labeling_skip WHERE author_id = %(user)s) AS skip
"""

# What may be handed to a person: no item that was withdrawn or that they skipped, no answers to a prompt whose
# demonstration is theirs, and none that asks for skills they lack. The languages are held against by labeling.hidden.
_ALLOWED = """
  JOIN labeling_item AS item ON item.id = {item} AND item.withdrawn = ''
  JOIN labeling_prompt AS prompt ON prompt.id = item.prompt_id
  LEFT JOIN accounts_membership AS member ON member.project_id = %(project)s AND member.user_id = %(user)s
 WHERE prompt.skills <@ coalesce(member.skills, '{{}}')
   AND NOT EXISTS (SELECT FROM labeling_skip AS own WHERE own.item_id = item.id AND own.author_id = %(user)s)
   AND NOT EXISTS (SELECT FROM labeling_demonstration AS own
                    WHERE own.prompt_id = item.prompt_id AND own.author_id = %(user)s)"""
_LANGUAGES = "prompt.language, member.languages"

# Gold items of which the person has no slot, whether in hand or filled.
GOLD_FOR_PERSON = f"""
SELECT gold.item_id, {_LANGUAGES} FROM labeling_golditem AS gold {_ALLOWED.format(item="gold.item_id")}
   AND gold.project_id = %(project)s AND gold.is_active
   AND NOT EXISTS (SELECT FROM labeling_slot AS own WHERE own.item_id = gold.item_id AND own.holder_id = %(user)s)
 ORDER BY gold.item_id
"""

# Their own ordinary rankings with `distance` labels or more since, not repeated yet; the newest `most` of them.
REPEATS_FOR_PERSON = f"""
SELECT done.item_id, done.order_shown, {_LANGUAGES} FROM labeling_slot AS done {_ALLOWED.format(item="done.item_id")}
   AND done.holder_id = %(user)s AND done.project_id = %(project)s AND done.kind = 'rank' AND done.state = 'submitted'
   AND done.hidden = '' AND json_array_length(done.order_shown::json) > 1
   AND done.submitted_at < (
     SELECT submitted_at FROM labeling_slot
      WHERE holder_id = %(user)s AND project_id = %(project)s AND kind = 'rank' AND state = 'submitted'
      ORDER BY submitted_at DESC OFFSET %(distance)s - 1 LIMIT 1)
   AND NOT EXISTS (SELECT FROM labeling_slot AS own
                    WHERE own.item_id = done.item_id AND own.holder_id = %(user)s AND own.hidden = 'repeat')
 ORDER BY done.submitted_at DESC LIMIT %(most)s
"""

# The check as a leased row, as TAKE gives one that is open; the caller leases it in the same transaction.
MAKE = f"""
WITH chosen AS MATERIALIZED (
  INSERT INTO labeling_slot AS slot
    (item_id, project_id, kind, priority, lane, index, draw, state, hidden, holder_id, lease_token, leased_at,
     lease_expires_at, order_shown)
  VALUES (%(item)s, %(project)s, 'rank', %(priority)s, '', 0, %(draw)s, 'leased', %(hidden)s, %(user)s, %(token)s,
          statement_timestamp(), statement_timestamp(), %(order)s::jsonb)
  RETURNING {statements.COLUMNS}, false AS alive
)
{statements.WORK.format(more="")} {statements.NEWEST}
"""

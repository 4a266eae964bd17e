"""The statements of handing out reviews, like those of labeling.statements: one walk into a partial index."""

# A label that a lead took back meanwhile waits until it is put back. As a look at one label: PostgreSQL would read all
# retracted ones for an EXISTS.
_GONE = """coalesce(
       (SELECT label.retraction_id FROM labeling_demonstration AS label WHERE label.id = review.demonstration_id),
       (SELECT label.retraction_id FROM labeling_ranking AS label WHERE label.id = review.ranking_id)) IS NOT NULL"""

HELD = f"""
SELECT review.id, review.lease_expires_at > statement_timestamp() AS alive, ({_GONE}) AS gone
  FROM labeling_review AS review
 WHERE review.project_id = %(project)s AND review.reviewer_id = %(user)s AND review.state = 'leased'
   FOR UPDATE
"""

# Nobody reviews their own work, nor what its author may still take back.
_FREE = f"""review.project_id = %(project)s AND review.state = 'waiting' AND review.author_id <> %(user)s
     AND NOT ({_GONE})
     AND NOT EXISTS (SELECT FROM labeling_slot AS slot
                      WHERE slot.id = review.slot_id AND slot.final_at > statement_timestamp())"""
# No index but the queue's own has this order, so no plan walks over what is decided.
_FIRST = "ORDER BY review.created_at, review.id LIMIT 1 FOR UPDATE OF review SKIP LOCKED"

# In this order: corrections of what this reviewer returned; the oldest others, where a correction is kept for its own
# reviewer for a day; and then those as well, for the reviewer may be away.
TAKE = f"""
WITH again AS MATERIALIZED (
  SELECT review.id FROM labeling_review AS review
   WHERE {_FREE} AND review.preferred_id = %(user)s {_FIRST}
), front AS MATERIALIZED (
  SELECT review.id FROM labeling_review AS review
   WHERE {_FREE} AND NOT EXISTS (SELECT FROM again)
     AND (review.preferred_id IS NULL OR review.created_at < statement_timestamp() - interval '1 day') {_FIRST}
), rest AS MATERIALIZED (
  SELECT review.id FROM labeling_review AS review
   WHERE {_FREE} AND NOT EXISTS (SELECT FROM again) AND NOT EXISTS (SELECT FROM front) {_FIRST}
)
SELECT id FROM again UNION ALL SELECT id FROM front UNION ALL SELECT id FROM rest
"""

LEASE = """
UPDATE labeling_review
   SET state = 'leased', reviewer_id = %(user)s, lease_token = %(token)s, leased_at = statement_timestamp(),
       lease_expires_at = statement_timestamp() + %(seconds)s * interval '1 second'
 WHERE id = %(review)s
"""

RENEW = """
UPDATE labeling_review SET lease_expires_at = statement_timestamp() + %(seconds)s * interval '1 second'
 WHERE id = %(review)s
"""

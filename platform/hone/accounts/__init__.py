"""Who people are and what they may do: users, projects, memberships, API tokens."""

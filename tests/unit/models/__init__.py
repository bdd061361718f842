"""Tables, statuses and transitions without a database."""

"""The walls between tenants, in the stack's Postgres."""

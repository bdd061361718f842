"""Tests on the real stack: real Postgres, Redis, broker, web process and worker."""

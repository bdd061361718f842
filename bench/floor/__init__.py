"""The bare floor: the least that could be called the same service, written as well as we can.

A Flask app and one Celery worker answer messages with three rows and a streamed model call. Left out on purpose: users,
tokens, tenants, validation, rate limits, an outbox, queues an agent, limits, order within a session, history, retries,
recovery, logs and metrics. Whatever Codelab Core costs above this is the price of having those.

Choices that make the floor lower: raw psycopg2 on a small pool instead of an ORM, the message's text travels in the
Celery message, only the first piece of text and the end are published, plain Redis `PUBLISH` without a buffer.
"""

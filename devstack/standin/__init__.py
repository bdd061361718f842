"""A model server that speaks the OpenAI protocol and does what it is told.

It stands in for a language model in development, tests and benchmarks: over real HTTP, through the real SDK, with
scripted answers, delays, tool calls and failures. It never pretends to be a real model. `README.md` beside this file
lists what it understands.
"""

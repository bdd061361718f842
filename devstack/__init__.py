"""The development stack: everything Codelab Core needs, started by one command and without Docker.

Postgres and Redis come from Python wheels, the model is a stand-in that speaks the OpenAI protocol, and each of the
three can be replaced by a URL in the environment. `python -m devstack --help` lists the commands.
"""

"""The app factory: gunicorn's entry, `api.app:create_app()`."""

from flask import Flask
from flask_cors import CORS

from api.admin import admin_workspaces
from api.agents import agents
from api.approvals import approvals
from api.chat import chat
from api.context import EXPORTS, context
from api.docs import docs
from api.errors import init_errors
from api.event_hub import EventHub
from api.events import events, init_events
from api.http import mount, openapi
from api.isolation import init_isolation
from api.limits import init_limits
from api.observing import init_observing
from api.operations import operations
from api.orchestrator import orchestrator
from api.parts import Web
from api.projects import projects
from api.strict_json import StrictJSONProvider, StrictRequest
from api.tokens import TokenVerifier
from api.tool_calls import tool_calls
from api.turns import Turns, init_turns
from api.workspaces import workspaces
from bootstrap import build_web


def create_app(web: Web | None = None) -> Flask:
    """Build the app.

    Args:
        web: the parts; by default those of the environment's settings.
    """
    web = web or build_web()
    settings = web.settings
    app = Flask("codelab", static_folder=None)
    app.url_map.merge_slashes = False  # `//` is a path of nobody, not a redirect
    app.request_class = StrictRequest
    app.json = StrictJSONProvider(app)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.extensions["codelab"] = web
    init_observing(app)
    init_isolation(app, TokenVerifier(settings))
    init_turns(app, Turns(settings.user_requests_at_once))
    app.extensions[EXPORTS] = Turns(settings.user_requests_at_once)
    init_limits(app, settings)
    init_errors(app)
    init_events(
        app,
        EventHub(
            web.subscriber,
            web.redis,
            queue_size=settings.stream_queue_size,
            streams_per_user=settings.max_streams_per_user,
        ),
    )
    mount(
        app, projects, workspaces, agents, context, chat, events, approvals, tool_calls, orchestrator, admin_workspaces
    )
    app.register_blueprint(operations)
    app.register_blueprint(docs)
    openapi.app = app
    if settings.cors_origins:
        CORS(app, origins=list(settings.cors_origins), allow_headers=["Authorization", "Content-Type", "Last-Event-ID"])
    return app

"""The edge of HTTP that every view shares: documented routes, checked input, the caller and its workspace."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast
from uuid import UUID

from flask import Blueprint, Flask, Response, current_app, g
from pydantic import BaseModel, ValidationError
from spectree import Response as DocumentedResponse
from spectree import SecurityScheme, SpecTree
from spectree.models import SecureType, SecuritySchemeData
from spectree.plugins.base import Context
from spectree.plugins.flask_plugin import FlaskPlugin

from api.parts import Web
from api.schemas.common import ErrorResponse
from api.strict_json import StrictRequest
from workspace.account_store import Account
from workspace.names import WorkspaceKey
from workspace.space import UserWorkerSpace
from workspace.strict_json import InvalidJson

View = TypeVar("View", bound=Callable[..., Any])


class InputRefused(Exception):
    """A body or a query did not fit its schema."""

    def __init__(self, error: ValidationError) -> None:
        self.error = error
        super().__init__(str(error))


class _Plugin(FlaskPlugin):
    """Spectree's Flask plugin, for views that return the model of their answer or a finished response.

    The stock one reads a response's whole body, which for an event stream never ends, builds each answer twice, and
    lets a form or a body that is no object pass as an empty one.
    """

    def request_validation(
        self, request: StrictRequest, query: Any, json: Any, form: Any, headers: Any, cookies: Any
    ) -> None:
        """Check query and body.

        Raises:
            InputRefused: one does not fit its schema.
            InvalidJson, UnsupportedContentType: the body is no JSON object; no body at all counts as an empty one.
        """
        assert form is headers is cookies is None  # no view of ours has them
        try:
            request.context = Context(  # type: ignore[attr-defined]  # spectree looks for it there
                query.model_validate(_fields(request)) if query else None,
                json.model_validate_json(_object(request), strict=True) if json else None,
                None,
                None,
                None,
            )
        except ValidationError as error:
            raise InputRefused(error) from error

    def validate_response(
        self,
        resp: Any,
        resp_model: Any,  # noqa: ARG002  # the signature is spectree's
        skip_validation: bool,  # noqa: ARG002
        force_resp_serialize: bool,  # noqa: ARG002
    ) -> tuple[Response, None]:
        """Return the answer: views are type-checked, so it is not validated again."""
        payload, status = resp if isinstance(resp, tuple) else (resp, 200)
        if isinstance(payload, BaseModel):
            return Response(payload.model_dump_json(), status, mimetype="application/json"), None
        return payload, None


def _fields(request: StrictRequest) -> dict[str, Any]:
    """Return the query; a field that is given twice is a list, which no field of ours takes."""
    return {name: values if len(values) > 1 else values[0] for name, values in request.args.lists()}


def _object(request: StrictRequest) -> bytes:
    """Return the body after the strict loader saw it: what it lets through, pydantic reads without lenience."""
    body = request.get_json(silent=True)
    if body is None and not request.get_data():
        return b"{}"
    if not isinstance(body, dict):
        raise InvalidJson("The body must be a JSON object.")
    return request.get_data()


openapi = SpecTree(
    "flask",
    backend=_Plugin,
    title="Codelab Core",
    version="0.1.0",
    description="Backend of a personal multi-agent AI platform.",
    mode="strict",
    annotations=True,
    validation_error_status=422,
    validation_error_model=ErrorResponse,
    security_schemes=[SecurityScheme(name="bearer", data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer"))],
    security={"bearer": []},
)


_ERRORS_OF_ALL = ("HTTP_401", "HTTP_404", "HTTP_429", "HTTP_503")
_ERRORS_OF_ADMIN = (*_ERRORS_OF_ALL, "HTTP_403")
_ERRORS_OF_BODIES = ("HTTP_400", "HTTP_409", "HTTP_413", "HTTP_415")


class _Routes(Blueprint):
    """Routes that are documented by what they are made of.

    Args:
        name: the blueprint's.
        tag: what they stand under in the documentation.
        errors: what each of them may be refused with, whatever it does.
    """

    def __init__(self, name: str, *, tag: str, errors: tuple[str, ...]) -> None:
        super().__init__(name, __name__)
        self._tag = tag
        self._errors = errors

    def on(
        self,
        method: str,
        rule: str,
        *,
        answers: type[BaseModel] | None,
        status: int = 200,
        or_answers: Mapping[int, type[BaseModel]] = MappingProxyType({}),
    ) -> Callable[[View], View]:
        """Register a view with its documentation; its `json` and `query` annotations are its schemas.

        Args:
            answers: the model of its success, `None` for 204.
            status: the code of its success.
            or_answers: the models of other successes by their codes.
        """

        def register(view: View) -> View:
            documented: dict[str, type[BaseModel] | None] = {f"HTTP_{status}": answers}
            documented |= {f"HTTP_{code}": model for code, model in or_answers.items()}
            documented |= dict.fromkeys(self._errors, ErrorResponse)
            if method in {"POST", "PUT"}:
                documented |= dict.fromkeys(_ERRORS_OF_BODIES, ErrorResponse)
            checked = openapi.validate(resp=DocumentedResponse(**documented), tags=[self._tag])(view)
            self.add_url_rule(rule, endpoint=view.__name__, view_func=checked, methods=[method], strict_slashes=False)
            return view

        return register


class Resource(_Routes):
    """A resource's routes. It is mounted at `/my/projects/<project_id>` and, for the default project, at `/my`."""

    def __init__(self, name: str, *, in_project: bool = True) -> None:
        super().__init__(name, tag=name, errors=_ERRORS_OF_ALL)
        self.in_project = in_project
        self.url_value_preprocessor(_take_project)


class AdminResource(_Routes):
    """A resource of the whole deployment, mounted at `/admin`, where the wall lets admins through and nobody else.

    Its views speak of many users: whom they mean comes with their address, never from the caller.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"admin_{name}", tag="admin", errors=_ERRORS_OF_ADMIN)


def _take_project(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Keep the project of the path for `workspace()`: views are the same with and without it."""
    g.project_id = values.pop("project_id", None) if values else None


def mount(app: Flask, *resources: Resource | AdminResource) -> None:
    """Mount resources: those of a project at both of its addresses, admins' below `/admin`, others below `/my`."""
    for resource in resources:
        if isinstance(resource, AdminResource):
            app.register_blueprint(resource, url_prefix="/admin")
        elif resource.in_project:
            app.register_blueprint(resource, url_prefix="/my", name=f"default_{resource.name}")
            app.register_blueprint(resource, url_prefix="/my/projects/<uuid:project_id>")
        else:
            app.register_blueprint(resource, url_prefix="/my")


def web() -> Web:
    """Return the parts that `bootstrap` put together."""
    return cast(Web, current_app.extensions["codelab"])


def account() -> Account:
    """Return whose request this is."""
    return cast(Account, g.account)


def key() -> WorkspaceKey:
    """Return the workspace that the path names; nobody has checked that it is there."""
    project_id: UUID | None = g.project_id
    return WorkspaceKey(account().user_id, project_id or account().default_project_id)


def workspace() -> UserWorkerSpace:
    """Return the caller's workspace.

    Raises:
        NotFound: the path names a project that is not the caller's.
    """
    if g.project_id is not None:
        web().projects.get(key())
    return web().manager.get_or_create(key())


def project_url() -> str:
    """Return the address under which the caller came to this project: `/my` or `/my/projects/{id}`."""
    return "/my" if g.project_id is None else f"/my/projects/{g.project_id}"


def no_content() -> Response:
    """Return an empty 204."""
    return Response(status=204)

"""What a tool answers when it cannot do what it was asked for: the model reads it and can act on it."""

from enum import StrEnum


class ToolErrorCode(StrEnum):
    """Names that the model, and the owner's client, are told."""

    UNKNOWN_TOOL = "unknown_tool"
    INVALID_ARGUMENTS = "invalid_arguments"
    INVALID_PATH = "invalid_path"  # it breaks a rule of form, such as `..`
    NOT_FOUND = "not_found"
    NOT_A_FILE = "not_a_file"  # a directory, a link, a pipe, a device, or a file with a second name
    NOT_A_DIRECTORY = "not_a_directory"
    ALREADY_EXISTS = "already_exists"
    PERMISSION_DENIED = "permission_denied"  # a command took away the permissions of the file or of its directory
    FORBIDDEN_FILE_TYPE = "forbidden_file_type"
    TOO_LARGE = "too_large"
    QUOTA_EXCEEDED = "quota_exceeded"
    COMMAND_NOT_ALLOWED = "command_not_allowed"
    SANDBOX_UNAVAILABLE = "sandbox_unavailable"
    MEMORY_UNAVAILABLE = "memory_unavailable"
    TIMEOUT = "timeout"
    REJECTED = "rejected"  # the owner said no
    APPROVAL_EXPIRED = "approval_expired"  # the owner did not answer in time
    ASKED_TOO_OFTEN = "asked_too_often"
    ARGUMENTS_CHANGED = "arguments_changed"  # they are not those that were approved
    CLIENT_TIMEOUT = "client_timeout"  # the owner's client did not answer in time
    CLIENT_ERROR = "client_error"  # the owner's client could not do it
    CANCELLED = "cancelled"
    OUTCOME_UNKNOWN = "outcome_unknown"  # the node was lost in the middle of it
    INTERNAL_ERROR = "internal_error"


class ToolError(Exception):
    """A tool could not do what it was asked for. Its text carries no path of the host and nothing of other tenants."""

    def __init__(self, code: ToolErrorCode, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(detail)

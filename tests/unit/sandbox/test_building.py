"""From settings to a sandbox."""

from pydantic import SecretStr

from settings import Settings
from workspace.sandbox import Identity, Limits, build_sandbox

IDENTITY = Identity(70, 71, is_worker=False)


def settings(**changes: object) -> Settings:
    required = {"database_url": "postgresql://x/y", "redis_url": "redis://x", "jwt_secret": SecretStr("x" * 32)}
    return Settings(**{**required, **changes})


def test_the_limits_of_the_settings_count() -> None:
    made = build_sandbox(
        settings(
            command_timeout_limit=1,
            command_output_limit=2,
            command_memory_limit=67_108_864,
            command_cpu_limit=4,
            command_processes=5,
            workspace_quota_bytes=6,
            workspace_quota_entries=7,
            commands_allowed=("ls",),
        ),
        IDENTITY,
    )

    assert made._limits == Limits(
        timeout=1,
        output=2,
        memory=67_108_864,
        cpu_seconds=4,
        processes=5,
        workspace_bytes=6,
        workspace_entries=7,
    )
    assert made._identity == IDENTITY
    assert made.policy._allowed == {"ls"}


def test_the_defaults_of_the_settings_are_those_of_the_limits() -> None:
    assert build_sandbox(settings(), IDENTITY)._limits == Limits()

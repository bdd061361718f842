"""The only reader of the environment: every option of the system, typed, with its default and reason.

Required values without a default (`DATABASE_URL`, `REDIS_URL`, a verification key) fail at start, never at the
first request. `tests/unit/test_settings.py` holds `.env.example` and `docs/configuration.md` to this list.
"""

from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIN_SECRET_BYTES = 32
"""RFC 7518, 3.2: a key for HS256 must have at least the 256 bits of the hash."""

DEVELOPMENT_SECRET = "development-only-secret-never-use-elsewhere"  # noqa: S105  # refused elsewhere


_ALLOWED_COMMANDS = (  # noqa: SIM905  # words, to be read as words
    # looking
    "ls | cat | head | tail | wc | grep | egrep | fgrep | rg | find | tree | file | stat | du | diff | cmp | sort | "
    "uniq | cut | tr | comm | join | paste | column | nl | od | xxd | strings | md5sum | sha1sum | sha256sum | "
    "basename | dirname | realpath | readlink | pwd | date | echo | printf | which | id | uname | nproc | true | "
    "false | test | sleep | seq | jq | "
    # changing
    "mkdir | rmdir | touch | cp | mv | rm | ln | chmod | tee | truncate | sed | awk | patch | tar | gzip | gunzip | "
    "zip | unzip | xz | split | "
    # developing
    "git | make | cmake | ninja | gcc | g++ | cc | c++ | clang | ld | ar | python | pip | pytest | mypy | ruff | "
    "black | tox | uv | poetry | node | npm | npx | pnpm | yarn | tsc | deno | bun | go | gofmt | cargo | rustc | "
    "rustfmt | java | javac | mvn | gradle | ruby | bundle | rake | perl | php | composer | dotnet | lua | "
    "sqlite3 | "
    # running others
    "sh | bash | env | xargs | timeout | time"
).split(" | ")

_DENIED_COMMANDS = (  # noqa: SIM905
    # everything at once
    "rm -r / | rm -r ~ | rm -r $HOME | rm -r /workspace | dd | shred | mkfs | fdisk | parted | wipefs | "
    # another account, the machine
    "sudo | su | doas | pkexec | runuser | passwd | useradd | usermod | chroot | nsenter | unshare | mount | "
    "umount | swapon | swapoff | shutdown | reboot | halt | poweroff | init | systemctl | service | insmod | "
    "modprobe | rmmod | sysctl | iptables | nft | crontab | at | "
    # packages of the system
    "pacman | apt | apt-get | aptitude | dpkg | yum | dnf | rpm | zypper | apk | snap | brew | "
    # containers and the network
    "docker | podman | kubectl | bwrap | ssh | scp | sftp | telnet | nc | ncat | socat"
).split(" | ")


class Environment(StrEnum):
    """Where the process runs. Anything but `development` refuses default and short secrets."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class JwtAlgorithm(StrEnum):
    """The one algorithm family a deployment accepts; a token with any other `alg` is refused."""

    HS256 = "HS256"
    RS256 = "RS256"
    ES256 = "ES256"


class ModelPrice(BaseModel):
    """US dollars for one million tokens of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)


def _psycopg2_driver(url: str) -> str:
    """Give a plain `postgres://` URL the driver that this project installs."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+psycopg2"}:
        raise ValueError("must be a postgresql:// URL")
    return f"postgresql+psycopg2://{rest}"


DatabaseUrl = Annotated[str, AfterValidator(_psycopg2_driver)]


class Settings(BaseSettings):
    """All options; the name in the environment is the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_file=None,
        env_ignore_empty=True,  # `NAME=` in an env file means that it is not set
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # an error at start is logged, secrets are not
    )

    environment: Environment = Environment.PRODUCTION
    log_level: str = "INFO"

    # Stores -------------------------------------------------------------------------------------------------
    database_url: DatabaseUrl
    database_pool_size: int = Field(30, ge=1, description="connections kept; opened when they are first needed")
    database_pool_overflow: int = Field(0, ge=0, description="more that are closed after use, which costs time")
    database_pool_timeout: float = Field(5.0, gt=0, description="seconds until 503 `overloaded`")
    database_statement_timeout: float = Field(30.0, gt=0, description="seconds")
    redis_url: str = Field(description="event buffers and pub/sub; a `noeviction` instance")
    broker_url: str = Field("", description="Celery broker; empty: database 1 of REDIS_URL; amqp:// works as well")
    result_backend_url: str = Field("", description="chord counters; empty: database 2 of REDIS_URL")
    cache_url: str = Field(
        "",
        description="rate limits, agents' configs, embeddings, plans; may evict keys; empty: database 3 of REDIS_URL",
    )
    redis_timeout: float = Field(0.4, gt=0, description="seconds a web request waits for Redis, connecting included")

    # Tokens -------------------------------------------------------------------------------------------------
    jwt_algorithm: JwtAlgorithm = JwtAlgorithm.HS256
    jwt_secret: SecretStr = SecretStr("")
    jwt_public_key_file: Path | None = None
    jwt_jwks_file: Path | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    jwt_max_lifetime: int = Field(86_400, gt=0, description="seconds between iat and exp at most")
    jwt_leeway: int = Field(10, ge=0, le=60, description="seconds of clock difference with the token's issuer")

    # HTTP ---------------------------------------------------------------------------------------------------
    max_body_bytes: int = Field(1_048_576, gt=0)
    max_import_bytes: int = Field(1_073_741_824, gt=0, description="body of an import of memories; read as a stream")
    rate_limit: str = Field("100/minute", description="requests a user; event streams have limits of their own")
    rate_limit_message_cost: int = Field(2, ge=1, description="requests that a message counts as")
    rate_limit_streams: str = Field("3000/minute", description="event streams a user opens")
    wait_limit: int = Field(60, ge=1, le=600, description="seconds that `Prefer: wait` may hold a request")
    user_requests_at_once: int = Field(8, ge=1, description="requests of one user that a web process works on at once")
    cors_origins: tuple[str, ...] = ()
    forwarded_allow_ips: str = Field("127.0.0.1", description="proxies whose X-Forwarded-* headers count")

    # Model --------------------------------------------------------------------------------------------------
    openai_api_key: SecretStr = SecretStr("")
    openai_base_url: str = "https://api.openai.com/v1"
    default_model: str = Field("gpt-4.1-mini", description="for agents whose config names none")
    model_prices: dict[str, ModelPrice] = Field(default_factory=dict, description="JSON; unknown models cost null")
    model_connect_timeout: float = Field(5.0, gt=0)
    model_idle_timeout: float = Field(60.0, gt=0, description="seconds without one byte from the model")
    model_max_attempts: int = Field(5, ge=1, le=20)
    model_backoff_max: float = Field(20.0, gt=0, description="seconds; a longer Retry-After ends the retries")

    # Runs ---------------------------------------------------------------------------------------------------
    task_deadline: float = Field(600.0, gt=0, description="seconds of a task's own running time")
    history_messages: int = Field(10, ge=0)
    history_tokens: int = Field(4_000, ge=0)
    plan_context_tokens: int = Field(6_000, ge=500, description="of request and results that a task of a plan is given")
    run_max_age: float = Field(86_400.0, gt=0, description="seconds from a message to the end of its run")
    stuck_after: float = Field(600.0, gt=0, description="seconds after which a task that does not end is an alert")
    agent_queue_limit: int = Field(100, ge=1, description="queued tasks an agent; the next message gets 429")

    # Planning -----------------------------------------------------------------------------------------------
    planning_timeout: float = Field(5.0, gt=0, description="seconds until a message gets a simple plan instead")
    plan_cache_ttl: int = Field(86_400, ge=1, description="seconds that a model's plan is kept in Redis")

    # Tools and approvals ------------------------------------------------------------------------------------
    approval_timeout_medium: int = Field(300, ge=1, description="seconds to answer; LOW is never asked for")
    approval_timeout_high: int = Field(600, ge=1, description="seconds to answer")
    approval_timeout_plan: int = Field(300, ge=1, description="seconds to answer whether a plan may run")
    approval_warning: int = Field(60, ge=0, description="seconds before the end at which it is announced")
    approval_asks: int = Field(3, ge=1, description="times that one call is asked for at most")
    client_tool_timeout: float = Field(300.0, gt=0, description="seconds that a client has for a tool's result")
    run_token_budget: int = Field(1_000_000, ge=1, description="tokens of a run, read and written, all tasks together")
    run_cost_budget: Decimal | None = Field(None, gt=0, description="US dollars a run; empty: no limit")
    max_turns: int = Field(20, ge=1, description="turns of the model in a task")

    # Memory -------------------------------------------------------------------------------------------------
    qdrant_url: str = Field("", description="a Qdrant server; empty: the engine embedded in each node, in DATA_DIR")
    qdrant_api_key: SecretStr = SecretStr("")
    embedding_model: str = "text-embedding-3-small"
    embedding_dimensions: int = Field(1_536, ge=1, le=4_096)
    embedding_send_dimensions: bool = Field(True, description="ask the model's server for EMBEDDING_DIMENSIONS")
    embedding_batch: int = Field(32, ge=1, le=2_048, description="texts of one request; OpenAI takes 300,000 tokens")
    embedding_cache_ttl: int = Field(604_800, ge=1, description="seconds that a text's vector is kept in Redis")
    memory_top_k: int = Field(5, ge=1, le=100, description="memories that a search finds at most")
    # With text-embedding-3-small what belongs together scores 0.3 to 0.6, and anything at all up to 0.2.
    memory_min_score: float = Field(0.3, ge=-1, le=1, description="what is less alike than that is not found")
    memory_token_budget: int = Field(1_000, ge=1, description="tokens that found memories take together at most")
    memory_max_vectors: int = Field(100_000, ge=100, description="memories of an agent; beyond, the oldest go")
    memory_search_timeout: float = Field(2.0, gt=0, description="seconds of a search, its embedding included")

    # Node ---------------------------------------------------------------------------------------------------
    node_slots: int = Field(128, ge=1, description="agent tasks a node runs at once; give its worker 32 threads more")
    user_task_cap: int = Field(30, ge=1, description="agent tasks of one user that run at once, on all nodes")
    node_metrics_port: int = Field(0, ge=0, le=65_535, description="where a node serves its metrics; 0: nowhere")
    node_metrics_address: str = Field("127.0.0.1", description="the interface of NODE_METRICS_PORT")
    node_lease_ttl: float = Field(10.0, gt=0, description="seconds until a silent node loses its workspaces")
    node_lease_renewal: float = Field(3.0, gt=0)
    node_lease_fence: float = Field(8.0, gt=0, description="seconds after which a node that renews nothing stops work")
    workspace_idle_timeout: float = Field(1_800.0, gt=0, description="seconds until an idle workspace is closed")
    user_attached_agents: int = Field(
        200, ge=1, description="agents of one user attached to a node, idle ones included"
    )
    agent_idle_timeout: float = Field(600.0, gt=0, description="seconds until an idle agent's queue is let go")
    node_shutdown_grace: float = Field(30.0, ge=0, description="seconds running tasks get at SIGTERM")
    agent_cache_ttl: float = Field(300.0, gt=0)
    agent_cache_size: int = Field(10_000, ge=1)
    agent_check_interval: float = Field(60.0, gt=0, description="seconds between two look-ups for an agent in error")
    sweep_interval: float = Field(5.0, gt=0)

    # Files --------------------------------------------------------------------------------------------------
    data_dir: Path = Field(Path("data"), description="workspaces' files, memories; one directory all nodes see")
    workspace_quota_bytes: int = Field(1_073_741_824, ge=1, description="what a workspace may take on the disk")
    workspace_quota_entries: int = Field(100_000, ge=1, description="files and directories of a workspace")
    file_size_limit: int = Field(104_857_600, ge=1, description="bytes of a file that tools read or write")
    tool_output_limit: int = Field(1_048_576, ge=16_384, description="bytes that a tool answers at most, as JSON")

    # Commands -----------------------------------------------------------------------------------------------
    commands_allowed: tuple[str, ...] = Field(tuple(_ALLOWED_COMMANDS), description='names of programs; ["*"] is any')
    commands_denied: tuple[str, ...] = Field(tuple(_DENIED_COMMANDS), description="refused even where they are allowed")
    command_timeout_limit: int = Field(300, ge=1, le=300, description="seconds, whatever a call asks for")
    command_output_limit: int = Field(1_048_576, ge=1, description="bytes until a command is ended")
    command_memory_limit: int = Field(2_147_483_648, ge=67_108_864, description="bytes of all its processes together")
    command_cpu_limit: int = Field(300, ge=1, description="seconds of CPU time of one process")
    command_processes: int = Field(128, ge=4, description="processes and threads of a command")
    sandbox_uid: int = Field(65_532, ge=1, description="whom commands run as to the host, where the worker is root")
    sandbox_gid: int = Field(65_532, ge=1)

    # Events -------------------------------------------------------------------------------------------------
    event_buffer_size: int = Field(1_000, ge=1, description="events kept a session")
    event_buffer_ttl: int = Field(300, ge=1, description="seconds after the session's last event")
    progress_interval: float = Field(0.04, ge=0, description="seconds between two text deltas of a task")
    heartbeat_interval: float = Field(30.0, gt=0)
    stream_queue_size: int = Field(1_000, ge=1, description="events a slow reader may lag behind")
    max_streams_per_user: int = Field(2_000, ge=1_000, description="open streams of one user in one web process")

    @model_validator(mode="after")
    def _refuse_weak_keys(self) -> Self:
        if self.jwt_algorithm is JwtAlgorithm.HS256:
            secret = self.jwt_secret.get_secret_value()
            if len(secret.encode()) < MIN_SECRET_BYTES:
                raise ValueError(f"JWT_SECRET needs at least {MIN_SECRET_BYTES} bytes")
            if secret == DEVELOPMENT_SECRET and self.environment is not Environment.DEVELOPMENT:
                raise ValueError("JWT_SECRET is the development secret; set one of your own")
        elif (self.jwt_public_key_file is None) == (self.jwt_jwks_file is None):
            raise ValueError(f"{self.jwt_algorithm} needs one of JWT_PUBLIC_KEY_FILE and JWT_JWKS_FILE")
        if self.node_lease_renewal * 2 >= self.node_lease_ttl:
            raise ValueError("NODE_LEASE_RENEWAL must be less than half of NODE_LEASE_TTL")
        if not self.node_lease_renewal * 2 < self.node_lease_fence < self.node_lease_ttl:
            raise ValueError("NODE_LEASE_FENCE must lie between two NODE_LEASE_RENEWALs and NODE_LEASE_TTL")
        return self

    @cached_property
    def broker(self) -> str:
        """The Celery broker's URL."""
        return self.broker_url or _redis_database(self.redis_url, 1)

    @cached_property
    def result_backend(self) -> str:
        """The URL of the store that counts the parts of a chord."""
        return self.result_backend_url or _redis_database(self.redis_url, 2)

    @cached_property
    def cache(self) -> str:
        """The URL of the store whose keys may be evicted at any time."""
        return self.cache_url or _redis_database(self.redis_url, 3)


def _redis_database(url: str, number: int) -> str:
    """Return `url` with its database replaced by `number`."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))


def load_settings() -> Settings:
    """Read the environment once.

    Raises:
        pydantic.ValidationError: a required value is missing or one is out of its range.
    """
    return Settings()


class _DatabaseOnly(BaseSettings):
    database_url: DatabaseUrl


def database_url_from_environment() -> str:
    """Return `DATABASE_URL` alone: a migration needs no other setting.

    Raises:
        pydantic.ValidationError: it is missing or no PostgreSQL URL.
    """
    return _DatabaseOnly().database_url


class _Bind(BaseSettings):
    bind: str = "127.0.0.1:8000"


def bind_address() -> str:
    """Return `BIND`: the host and port that the web process listens on."""
    return _Bind().bind

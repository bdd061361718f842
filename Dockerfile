# One image for every process of the system; docker-compose.yml gives each its command.

FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /build
COPY setup.cfg requirements.lock ./
COPY deploy/runtime_requirements.py deploy/
# requirements.lock pins everything, tests included. As a constraint it chooses versions only; what is installed is
# install_requires of setup.cfg and what that needs in turn.
RUN python deploy/runtime_requirements.py > runtime.txt \
    && /opt/venv/bin/pip install --constraint requirements.lock --requirement runtime.txt \
    && /opt/venv/bin/pip check

FROM python:3.11-slim
LABEL org.opencontainers.image.title="Codelab Core"
# What commands of agents are held by, and what they find besides Python and what every Debian has. They see /usr only.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap git make patch \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 codelab && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp codelab
# A volume that is mounted here belongs to the same account.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY settings.py bootstrap.py celeryconfig.py ./
COPY wiring wiring
COPY models models
COPY workspace workspace
COPY orchestrator orchestrator
COPY tasks tasks
COPY api api
# The root is read-only at run time, so the bytecode is made now.
RUN /opt/venv/bin/python -m compileall -q .
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 BIND=0.0.0.0:8000
USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "-c", "api/gunicorn_conf.py", "api.app:create_app()"]

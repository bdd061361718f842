#!/bin/sh
# Prints fresh secrets for docker-compose.yml, each of 32 random bytes: `sh deploy/secrets.sh > .env`.
set -eu

secret() {
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

cat <<EOF
JWT_SECRET=$(secret)
POSTGRES_PASSWORD=$(secret)
REDIS_PASSWORD=$(secret)
QDRANT_API_KEY=$(secret)
FLOWER_BASIC_AUTH=admin:$(secret)
EOF

# The action's image. BASE may be any Debian with Python 3.11; the release pins it, and this image, by digest.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY requirements.action.lock pyproject.toml README.md LICENSE /src/
COPY cvl_ci /src/cvl_ci
RUN python3 -m venv /opt/cvl-ci \
 && /opt/cvl-ci/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /src/requirements.action.lock \
 && /opt/cvl-ci/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation /src \
 && find /opt/cvl-ci -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} + \
 && /opt/cvl-ci/bin/python3 -I -c 'import cvl_ci.action, cvl_ci.commands.run, cvl_ci.github.discussion, github, sky'

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends git openssh-client rsync tini \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/cvl-ci /opt/cvl-ci
COPY entrypoint /entrypoint
RUN ln -s /entrypoint /post-entrypoint
# The workspace belongs to the runner's user and we are root: git has to be told that this is meant.
ENV GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=/github/workspace
ENTRYPOINT ["/entrypoint"]

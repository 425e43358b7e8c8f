# The action's image, what changes seldom first: Debian's packages, the locked dependencies, then cvl-ci alone.
# BASE may be any Debian 13 with its Python 3.13; the release pins it, and this image, by digest.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS dependencies
COPY requirements.build.lock /src/
RUN python3 -m venv /build \
 && /build/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /src/requirements.build.lock
COPY requirements.action.lock /src/
# cvl-ci itself goes into a folder of its own that a .pth puts on the path: an edit of it leaves this layer as it is.
# The `aws` command brings the models of 400 services as plain JSON, and reads them as well packed: 100 MB less.
# Of moto, only CloudFormation loads cfn-lint and SymPy, and the sandbox has no CloudFormation: 60 MB less.
RUN /build/bin/uv venv --quiet --python python3 /opt/cvl-ci \
 && /build/bin/uv pip install --quiet --no-cache --python /opt/cvl-ci/bin/python3 --require-hashes -r /src/requirements.action.lock \
 && find /opt/cvl-ci -type d \( -name tests -o -name __pycache__ -o -path '*/awscli/examples' \) -prune -exec rm -rf {} + \
 && rm -r /opt/cvl-ci/lib/python3.*/site-packages/cfnlint /opt/cvl-ci/lib/python3.*/site-packages/sympy \
 && find /opt/cvl-ci/lib/python3.*/site-packages/awscli/botocore/data -name '*.json' -size +8k -exec gzip -9n {} + \
 && echo /opt/cvl-ci/own > "$(echo /opt/cvl-ci/lib/python3.*/site-packages)/cvl_ci.pth"

FROM dependencies AS own
COPY pyproject.toml README.md LICENSE /src/
COPY cvl_ci /src/cvl_ci
RUN cd /src \
 && /build/bin/hatchling build --target wheel --directory /dist \
 && /build/bin/uv pip install --quiet --no-cache --no-deps --compile-bytecode --python /opt/cvl-ci/bin/python3 --target /opt/cvl-ci/own /dist/*.whl

# SkyPilot's catalogue of the day of the build, where the network allows. Without it the table inside cvl-ci counts.
# CATALOGUE: "none" leaves it out; any other value, such as a day, fetches it once. A mirror: CVL_CI_CATALOGUE_URL.
FROM own AS catalogue
ARG CATALOGUE=fetch
ARG CVL_CI_CATALOGUE_URL=
RUN mkdir -p /opt/cvl-ci/catalogs/v8 \
 && if [ "$CATALOGUE" != none ]; then \
      HOME=/tmp timeout 300 /opt/cvl-ci/own/bin/cvl-ci prices update --into /opt/cvl-ci/catalogs/v8 \
      || echo "No catalogue, or a part of it: quotes warn of the age of their prices."; \
    fi

FROM ${BASE}
# The sandbox's machines are containers beside this one: of Docker, only the command line is needed. Buildx builds what a
# Dockerfile of today asks for, such as `RUN --mount`.
RUN apt-get update \
 && apt-get install -y --no-install-recommends docker-buildx docker-cli git openssh-client rsync tini \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=dependencies /opt/cvl-ci /opt/cvl-ci
# Compiled is what a run loads, the standard library's part included; all of it would be half as much again.
RUN HOME=/tmp/warm /opt/cvl-ci/bin/python3 -I -c \
      'import actions_toolkit.core, boto3, github, grpc._channel, grpc._simple_stubs, sky.core, sky.execution, sky.provision.aws, \
       sky.schemas.generated.autostopv1_pb2_grpc, sky.schemas.generated.jobsv1_pb2_grpc, \
       sky.schemas.generated.managed_jobsv1_pb2_grpc, sky.schemas.generated.servev1_pb2_grpc, \
       moto.moto_server.werkzeug_app, moto.ec2.responses, moto.iam.responses, moto.s3.responses, moto.sts.responses' \
 # SkyPilot's own wheel, built by the locked setuptools (pip reads 0 as "no isolation"): cvl_ci/engine/worker/skypilot_wheel.py.
 && HOME=/tmp/warm PIP_NO_BUILD_ISOLATION=0 /opt/cvl-ci/bin/python3 -I -c \
      'from sky.backends import wheel_utils; wheel_utils.build_sky_wheel()' \
 && mv /tmp/warm/.sky/wheels /opt/cvl-ci/wheels && rm -rf /tmp/warm /tmp/*
COPY entrypoint /entrypoint
# The workspace belongs to the runner's user and we are root: git has to be told that this is meant.
ENV GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=/github/workspace
RUN ln -s /entrypoint /post-entrypoint && ln -s /opt/cvl-ci/own/bin/cvl-ci /usr/local/bin/cvl-ci
ENTRYPOINT ["/entrypoint"]
COPY --from=catalogue /opt/cvl-ci/catalogs /opt/cvl-ci/catalogs
COPY --from=own /opt/cvl-ci/own /opt/cvl-ci/own

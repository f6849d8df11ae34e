# One image for all services; the command chooses one: `docker run IMAGE services.bridge`.
FROM python:3.13-slim AS build

# The virtual environment has no pip, so the final image has none.
RUN python -m venv --without-pip /venv
COPY requirements.lock .
RUN pip --python /venv/bin/python install --no-cache-dir --no-compile --require-hashes -r requirements.lock


FROM python:3.13-slim AS services

# Nothing is installed in this stage.
RUN pip uninstall --yes --quiet pip 2>/dev/null || true

# User 10001 runs the services. User 10002 only writes the secrets, once.
# The groups 20001 to 20003 each give access to one secret; compose.yaml assigns them to services.
RUN groupadd --gid 10001 cctelegram \
 && useradd --uid 10001 --gid 10001 --home-dir /app --no-create-home --shell /usr/sbin/nologin cctelegram \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/cctelegram \
 && install -d -o 10002 -g 10002 -m 0755 /secrets /etc/cctelegram-alertmanager

COPY --from=build /venv /venv
WORKDIR /app
COPY services services
COPY cct .
RUN /venv/bin/python -m compileall -q services \
 && ln -s /app/cct /usr/local/bin/cct

ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/var/lib/cctelegram \
    HOST=0.0.0.0
USER 10001:10001
VOLUME /var/lib/cctelegram

# The health check of each service is in compose.yaml.
ENTRYPOINT ["python", "-m"]
CMD ["services"]


# For backups of PostgreSQL: with its programs, in the version of compose.yaml's server.
FROM services AS backup
USER root
RUN apt-get update \
 && apt-get install --yes --no-install-recommends postgresql-client-17 \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o 10001 -g 10001 -m 0700 /backups
USER 10001:10001


# The default.
FROM services

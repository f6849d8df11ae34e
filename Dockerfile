# One image for every service; the command chooses which: `docker run IMAGE services.bridge`.
FROM python:3.13-slim AS build

# The virtualenv gets no pip of its own, so that none is in the image that runs.
RUN python -m venv --without-pip /venv
COPY requirements.lock .
RUN pip --python /venv/bin/python install --no-cache-dir --no-compile --require-hashes -r requirements.lock


FROM python:3.13-slim

# Nothing is installed here any more.
RUN pip uninstall --yes --quiet pip 2>/dev/null || true

# 10001 runs the services. 10002 writes the secrets once, and nothing else runs as that user.
# The groups 20001-20003 each open one secret (compose.yaml says which service is in which).
RUN groupadd --gid 10001 cctelegram \
 && useradd --uid 10001 --gid 10001 --home-dir /app --no-create-home --shell /usr/sbin/nologin cctelegram \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/cctelegram \
 && install -d -o 10002 -g 10002 -m 0755 /secrets /etc/cctelegram-alertmanager

COPY --from=build /venv /venv
WORKDIR /app
COPY services services
RUN /venv/bin/python -m compileall -q services

ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/var/lib/cctelegram \
    HOST=0.0.0.0
USER 10001:10001
VOLUME /var/lib/cctelegram

# Each service's health check is in compose.yaml, beside its port.
ENTRYPOINT ["python", "-m"]
CMD ["services"]

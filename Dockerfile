# Two stages from one base: what builds stays in the first, the second holds Python, the locked packages and the exporter.

FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY requirements.txt requirements-build.txt ./
RUN python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/venv \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.txt \
 && /opt/build/bin/pip --python /opt/venv/bin/python3 install --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/venv/bin/python3 install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:3.13-slim-bookworm
# --build-arg REVISION=$(git rev-parse HEAD) tells where it was built from.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="genesys-cloud-exporter" \
      org.opencontainers.image.description="Prometheus exporter for Genesys Cloud queues: rates, z-scores and anomaly flags" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-bookworm"
# No installer in what runs; and a folder for the history that the numeric user owns, for platforms that check for root by number.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip \
 && install -d -o 65532 -g 65532 /var/lib/genesys-cloud-exporter
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EXPORTER_HOST=0.0.0.0 \
    XDG_STATE_HOME=/var/lib
USER 65532:65532
WORKDIR /var/lib/genesys-cloud-exporter
VOLUME ["/var/lib/genesys-cloud-exporter"]
EXPOSE 10420
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 \
  CMD ["python3", "-m", "exporter.healthcheck"]
ENTRYPOINT ["genesys-cloud-exporter"]
CMD ["run"]

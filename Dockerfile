# syntax=docker/dockerfile:1
# Build: docker build -t frontiergate .
# Run:   docker run --read-only --tmpfs /tmp -v state:/var/lib/frontiergate -v ./frontiergate.yaml:/etc/frontiergate/frontiergate.yaml:ro frontiergate

FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev
RUN python -m venv /opt/frontiergate
WORKDIR /src
COPY requirements.lock ./
RUN /opt/frontiergate/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# With the per-request path compiled (docs/decisions/0013).
RUN HATCH_BUILD_HOOK_ENABLE_MYPYC=true /opt/frontiergate/bin/pip install --no-deps .

FROM python:3.11-slim
LABEL org.opencontainers.image.title="Frontier Gate" org.opencontainers.image.licenses="Apache-2.0"
# The root is read-only at run time: no bytecode is written, state has a volume, and /tmp (a tmpfs) holds metrics and spooled bodies.
ENV PATH=/opt/frontiergate/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    FRONTIERGATE_CONFIG=/etc/frontiergate/frontiergate.yaml
COPY --from=build /opt/frontiergate /opt/frontiergate
# A numeric user, so that Kubernetes can see that it is not root (runAsNonRoot).
RUN install -d -o 65532 -g 65532 -m 0700 /var/lib/frontiergate
USER 65532:65532
WORKDIR /var/lib/frontiergate
VOLUME /var/lib/frontiergate
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# Alive, not ready: an orchestrator that restarts the gate because its store is away would only lose its streams.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/healthz', timeout=2)"]
ENTRYPOINT ["frontiergate"]
CMD ["serve"]

# flaxner's server for CPUs: docker build -t flaxner . && docker run -p 8000:8000 -v MODEL:/model:ro flaxner
# For NVIDIA GPUs, see docs/serving.md. Versions are those in constraints.txt.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 HF_HUB_OFFLINE=1
ARG EXTRAS=serve
WORKDIR /app
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY flaxner ./flaxner
RUN pip install -c constraints.txt ".[$EXTRAS]" && \
    useradd --create-home --uid 10001 flaxner

USER 10001
EXPOSE 8000
# The server compiles its shapes when it starts; a volume at this path keeps the programs for the next start.
VOLUME /home/flaxner/.cache/flaxner
HEALTHCHECK --start-period=120s --interval=10s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["flaxner", "serve", "--host", "0.0.0.0"]
CMD ["--model", "/model"]

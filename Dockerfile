# vsearch as a server. Build: docker build -t vsearch .
# Run: docker run -p 6333:6333 -v vsearch-data:/data -e VSEARCH_API_KEY=... vsearch

# 1. The wheel is built where the sources are ...
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels .

# 2. ... and installed where they are not.
FROM python:3.12-slim
RUN useradd --system --create-home --uid 10001 vsearch && install -d -o vsearch -g vsearch /data
COPY --from=build /wheels/*.whl /wheels/
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[server]" && rm -r /wheels
USER vsearch
# Kernels are compiled now, for the processor that builds; on another kind they are compiled again at the first start.
RUN vsearch warmup
# A container is reached from outside itself, so there must be a key: without VSEARCH_API_KEY it says so and ends.
ENV VSEARCH_DIR=/data VSEARCH_HOST=0.0.0.0 VSEARCH_PORT=6333
VOLUME /data
EXPOSE 6333
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", \
  "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"VSEARCH_PORT\"]}/healthz', timeout=2)"]
ENTRYPOINT ["vsearch"]
CMD ["serve"]

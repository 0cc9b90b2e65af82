# syntax=docker/dockerfile:1
# keeptune in an image. Never built so far: no Docker was at hand where it was written (docs/install.md).
#
#   docker build -t keeptune .                                                        torch for CPUs
#   docker build -t keeptune:cuda --build-arg TORCH_INDEX=https://pypi.org/simple .   torch with CUDA
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /src
COPY constraints.txt ./
# torch first: the index decides for which devices it was built, the constraints which version it is.
RUN pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install -c constraints.txt ".[hub,harness]" && rm -rf /src

# Runs and caches are written where the host can keep them, as whoever `docker run --user` names.
ENV HOME=/work
WORKDIR /work
ENTRYPOINT ["keeptune"]
CMD ["--help"]

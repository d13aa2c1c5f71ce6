# The images of this project. Each holds one static binary, the certificates that it trusts and the
# licences of what it is made of, and nothing else: no shell, no package manager.
#
#   docker build --target taskqueue-operator --tag REGISTRY/taskqueue-operator:VERSION .
#   docker build --target order-worker --tag REGISTRY/order-worker:VERSION .
#
#   docker build --target kubectl-tqw --output FOLDER .    # the kubectl plugin, as a file
#
# VERSION is the chart's appVersion. The images are for the machine that builds them, amd64 or
# arm64; with `--platform linux/arm64` or `linux/amd64` either compiles for the other. podman and
# buildah take the same arguments; buildah 1.28 (Debian 12) also needs
# `--build-arg TARGETARCH=amd64` or arm64. `--build-arg PROGRAMS=taskqueue-operator,kubectl-tqw`
# compiles these alone.
#
# CONTRIBUTING.md has the commands that run it without a network and without a registry of images.
#
# The stage `build` makes a folder per architecture and program, which is the root of an image.
# `cargo sandbox images` and `cargo sandbox release` make these folders outside and replace the
# stage by them (`--build-context build=FOLDER`), so that stage is not run by the tests. A release
# also labels the images with version, revision and source.
ARG BUILDER=docker.io/library/rust:1.95-slim-bookworm

FROM --platform=${BUILDPLATFORM} ${BUILDER} AS build
ARG TARGETARCH
# What is compiled; a target below that is left out here cannot be built.
ARG PROGRAMS=taskqueue-operator,order-worker,kubectl-tqw
WORKDIR /src
# A C compiler for TARGETARCH, on a machine of the other architecture.
RUN case "$(uname -m) ${TARGETARCH}" in \
      "x86_64 arm64") \
        gcc=aarch64-linux-gnu-gcc; packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;; \
      "aarch64 amd64") \
        gcc=x86_64-linux-gnu-gcc; packages="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;; \
      *) gcc=gcc; packages="gcc libc6-dev" ;; \
    esac; \
    command -v "${gcc}" || { \
      apt-get update && apt-get install --yes --no-install-recommends ${packages}; \
    }
COPY . .
RUN rustup toolchain install --no-self-update
# `sandbox` runs here, so it is built for this machine; the target of .cargo/config.toml is amd64's.
RUN export CARGO_BUILD_TARGET="$(uname -m)-unknown-linux-musl" && \
    rustup target add "${CARGO_BUILD_TARGET}" && \
    cargo sandbox binaries --arch "${TARGETARCH}" --program "${PROGRAMS}" /

FROM scratch AS base
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532

FROM base AS taskqueue-operator
ARG TARGETARCH
LABEL org.opencontainers.image.title="taskqueue-operator" \
      org.opencontainers.image.description="A Kubernetes operator for Temporal worker fleets" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /${TARGETARCH}/taskqueue-operator /
ENTRYPOINT ["/taskqueue-operator"]

# The worker of the quick start, for a release alone, which makes its root outside: the stage
# `build` has no Go. `docker build examples/workers/go` makes an image of the same program.
FROM base AS greeting-worker
ARG TARGETARCH
LABEL org.opencontainers.image.title="greeting-worker" \
      org.opencontainers.image.description="A Temporal worker that greets, for the quick start" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /${TARGETARCH}/greeting-worker /
ENTRYPOINT ["/greeting-worker"]

FROM base AS order-worker
ARG TARGETARCH
LABEL org.opencontainers.image.title="order-worker" \
      org.opencontainers.image.description="A Temporal worker that processes orders, an example" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /${TARGETARCH}/order-worker /
ENTRYPOINT ["/order-worker"]

# No image: a file to copy out of it.
FROM scratch AS kubectl-tqw
ARG TARGETARCH
COPY --from=build /${TARGETARCH}/kubectl-tqw/kubectl-tqw /

# The images of this project. Each holds one static binary, the certificates that it trusts and the
# licences of what it is made of, and nothing else: no shell, no package manager.
#
#   docker build --target taskqueue-operator --tag REGISTRY/taskqueue-operator:VERSION .
#   docker build --target order-worker --tag REGISTRY/order-worker:VERSION .
#
#   docker build --target kubectl-tqw --output FOLDER .    # the kubectl plugin, as a file
#
# VERSION is the chart's appVersion. With `--platform linux/arm64` a machine of amd64 compiles for
# arm64. podman and buildah take the same arguments; buildah 1.28 (Debian 12) also needs
# `--build-arg TARGETARCH=amd64` or arm64.
#
# The stage `build` makes a folder per architecture and program, which is the root of an image.
# `cargo sandbox images` and `cargo sandbox release` make these folders outside and replace the
# stage by them (`--build-context build=FOLDER`), so that stage is not run by the tests. A release
# also labels the images with version, revision and source.
ARG BUILDER=docker.io/library/rust:1.95-slim-bookworm

FROM --platform=${BUILDPLATFORM} ${BUILDER} AS build
ARG TARGETARCH
WORKDIR /src
# The C compiler for arm64, on a machine of another architecture.
RUN if [ "${TARGETARCH}" = arm64 ] && ! command -v aarch64-linux-gnu-gcc; then \
      apt-get update && apt-get install --yes --no-install-recommends \
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross; \
    fi
COPY . .
RUN rustup toolchain install --no-self-update
RUN cargo sandbox binaries --arch "${TARGETARCH}" /

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

# The two images of this project. They hold one static binary and the certificates that it trusts,
# and nothing else: no shell, no package manager. The build context is a folder with the binaries
# and ca-certificates.crt:
#
#   cargo build --release --bin taskqueue-operator --bin order-worker
#   mkdir context
#   cp target/x86_64-unknown-linux-musl/release/{taskqueue-operator,order-worker} context/
#   cp /etc/ssl/certs/ca-certificates.crt context/
#   buildah build --target taskqueue-operator --tag REGISTRY/taskqueue-operator:VERSION \
#     context -f Dockerfile
#   buildah push REGISTRY/taskqueue-operator:VERSION
#
# Needed: Linux on x86_64, rustup, gcc, and buildah or docker (`docker build` and `docker push` take
# the same). VERSION is the chart's appVersion, or what its `image.tag` says. The certificates are
# where Debian has them.
#
# `cargo sandbox images` does the same with the development profile, without a network.

FROM scratch AS base
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532

FROM base AS taskqueue-operator
COPY taskqueue-operator /taskqueue-operator
ENTRYPOINT ["/taskqueue-operator"]

FROM base AS order-worker
COPY order-worker /order-worker
ENTRYPOINT ["/order-worker"]

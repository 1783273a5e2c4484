# syntax=docker/dockerfile:1

# The image of Reservix: one static folder, one binary, no shell.
#
#   docker build -t reservix .
#   docker run -p 8000:8000 -v reservix:/var/lib/reservix reservix     (embedded store)
#
# compose.yaml runs the whole system. `scripts/containers` runs the RUN lines below where there is no
# container engine; so they name files relative to the WORKDIR, and need nothing but the stage's image.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The mounts keep the downloaded and the compiled dependencies between builds, whatever changed: an edit
# rebuilds our own crates only. What is under a mount is no part of a layer, so the binary is copied out.
# Left out: the feature `fill`, a second writer of every table, which only measurements need.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --bin reservix --no-default-features \
    && mkdir -p out/data \
    && cp target/release/reservix out/reservix

# The C library, its certificates and a user; no shell and no package manager. As old as the build stage's
# Debian, or the binary would ask for a newer C library than there is.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/out/reservix /usr/local/bin/reservix
# A new volume takes its owner from this folder.
COPY --from=build --chown=65532:65532 /src/out/data /var/lib/reservix
ENV HOST=0.0.0.0 \
    DATA_DIR=/var/lib/reservix
# By number, so that `runAsNonRoot` can be checked. It is `nonroot` in the base image.
USER 65532:65532
# `.env` is read from here, if there is one.
WORKDIR /var/lib/reservix
VOLUME ["/var/lib/reservix"]
EXPOSE 8000
# Readiness turns first, then what is under way is answered within 10 s.
STOPSIGNAL SIGTERM
# It asks /health/ready on PORT, for 3 s at most, and ends with 0 when the answer is 200.
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/reservix", "health"]
ENTRYPOINT ["/usr/local/bin/reservix"]
CMD ["serve"]

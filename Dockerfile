# syntax=docker/dockerfile:1

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
COPY . .
# Linked to nothing that the final image would have to hold.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --release --locked --package postgres-provisioner-operator --bin postgres-provisioner \
        --target "$(rustc --print host-tuple)" \
    && cp "target/$(rustc --print host-tuple)/release/postgres-provisioner" /postgres-provisioner

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /postgres-provisioner /usr/local/bin/postgres-provisioner
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/postgres-provisioner"]

# `make image` makes the same image without a container daemon (packaging/image).
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Static, so that the image needs no C library: nothing in it but the program can be out of date.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    target="$(rustc --print host-tuple)" && \
    cargo build --release --locked --bin trunkline --target "$target" && \
    cp "target/$target/release/trunkline" /trunkline

# No shell, no package manager; certificates to trust and the user `nonroot`.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /trunkline /usr/local/bin/trunkline
USER 65532:65532
# Clients; metrics and health.
EXPOSE 8080 9090
ENTRYPOINT ["/usr/local/bin/trunkline"]

# The images of app_a, app_b, serving-cert and loadtest. Each contains one static program only. For example:
#
#     docker build --target app_a --tag app-a .
#
# `cargo xtask images` writes the same images without Docker. The build arguments IMAGE_TAG and IMAGE_REVISION become labels of
# the image, and of the metric build_info. They are set in the last stages, so that they do not invalidate the cached programs.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .

# The programs are static, so their images need no C library, and do not contain the path of cargo's folder. With --target, RUSTFLAGS
# do not apply to build scripts.
# The cache mounts keep compiled crates between builds. They are not part of a layer, so this step copies the programs out.
FROM build AS services
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    target="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$CARGO_HOME/registry/src=/cargo/registry/src" \
    cargo build --release --locked --target "$target" --bins --package app_a --package app_b --package serving_cert \
 && install -D --target-directory /programs \
    "target/$target/release/app_a" "target/$target/release/app_b" "target/$target/release/serving-cert" \
 && install --directory --mode 0750 /data

# A separate stage, so that a build of the services does not build the load generator.
FROM build AS load-generator
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    target="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$CARGO_HOME/registry/src=/cargo/registry/src" \
    cargo build --release --locked --target "$target" --bins --package loadtest \
 && install -D --target-directory /programs "target/$target/release/loadtest"

FROM scratch AS loadtest
COPY --from=load-generator /programs/loadtest /loadtest
USER 65532:65532
WORKDIR /
ARG IMAGE_TAG=unknown
ARG IMAGE_REVISION=unknown
LABEL org.opencontainers.image.title=loadtest org.opencontainers.image.version=0.1.0+$IMAGE_TAG \
    org.opencontainers.image.revision=$IMAGE_REVISION
ENTRYPOINT ["/loadtest"]

FROM scratch AS serving-cert
COPY --from=services /programs/serving-cert /serving-cert
USER 65532:65532
WORKDIR /
ARG IMAGE_TAG=unknown
ARG IMAGE_REVISION=unknown
LABEL org.opencontainers.image.title=serving-cert org.opencontainers.image.version=0.1.0+$IMAGE_TAG \
    org.opencontainers.image.revision=$IMAGE_REVISION
ENTRYPOINT ["/serving-cert"]

FROM scratch AS app_b
COPY --from=services /programs/app_b /app_b
# The only writable directory. A new volume gets the owner of this directory.
COPY --from=services --chown=65532:65532 /data /data
USER 65532:65532
WORKDIR /
ENV LISTEN=0.0.0.0:5001 ADMIN_LISTEN=0.0.0.0:9000 DATABASE_URL=sqlite:///data/app_b.db
ARG IMAGE_TAG=unknown
ARG IMAGE_REVISION=unknown
ENV IMAGE_TAG=$IMAGE_TAG IMAGE_REVISION=$IMAGE_REVISION
LABEL org.opencontainers.image.title=app-b org.opencontainers.image.version=0.1.0+$IMAGE_TAG \
    org.opencontainers.image.revision=$IMAGE_REVISION
EXPOSE 5001 9000
HEALTHCHECK --interval=2s --timeout=3s --start-period=30s --retries=3 CMD ["/app_b", "healthcheck"]
ENTRYPOINT ["/app_b"]

FROM scratch AS app_a
COPY --from=services /programs/app_a /app_a
USER 65532:65532
WORKDIR /
ENV LISTEN=0.0.0.0:5000 ADMIN_LISTEN=0.0.0.0:9000
ARG IMAGE_TAG=unknown
ARG IMAGE_REVISION=unknown
ENV IMAGE_TAG=$IMAGE_TAG IMAGE_REVISION=$IMAGE_REVISION
LABEL org.opencontainers.image.title=app-a org.opencontainers.image.version=0.1.0+$IMAGE_TAG \
    org.opencontainers.image.revision=$IMAGE_REVISION
EXPOSE 5000 9000
HEALTHCHECK --interval=2s --timeout=3s --start-period=30s --retries=3 CMD ["/app_a", "healthcheck"]
ENTRYPOINT ["/app_a"]

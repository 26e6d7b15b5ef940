# The image: one static binary, the CA roots and the licences; no shell, no package.
#   docker build --build-arg VERSION=1.2.3 .           builds in a container
#   make image                                         builds with the Go here, and needs no base image
ARG SOURCE=build

FROM --platform=${BUILDPLATFORM:-linux/amd64} docker.io/library/golang:1.26.8-bookworm AS build
ARG VERSION=devel GOFIPS140=off TARGETARCH=amd64
WORKDIR /src
COPY . .
RUN GOARCH=${TARGETARCH} GOFIPS140=${GOFIPS140} VERSION=${VERSION} deploy/image/stage.sh /src/bin/image

FROM scratch AS staged
COPY bin/image /src/bin/image

FROM ${SOURCE} AS source

FROM scratch
ARG VERSION=devel REVISION=unknown GOFIPS140=off
LABEL org.opencontainers.image.title="policysync" \
      org.opencontainers.image.description="Brings every change of a policy from Kafka to the systems that must show it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/hms-sme/policysync" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      policysync.fips140="${GOFIPS140}"
COPY --from=source /src/bin/image /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/policysync"]
CMD ["run", "-c", "/etc/policysync/policysync.yaml"]

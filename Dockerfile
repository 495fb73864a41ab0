# Build and run:
#
# make viewer   # optional: embeds MapLibre, so that the map page needs no CDN
# docker build --build-arg VERSION=1.0.0 --build-arg COMMIT="$(git rev-parse --short HEAD)" -t tilegate .
# docker run -p 8080:8080 --user "$(id -u)" -v "$PWD/tilegate.yaml:/etc/tilegate/tilegate.yaml:ro" -v "$PWD/tilegate.key:/etc/tilegate/tilegate.key:ro" --env-file .env tilegate
#
# --user: the container runs as you, because only you may read the key. .env has the AWS variables that tilegate needs.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath \
    -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" \
    -o /tilegate ./cmd/tilegate

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /tilegate /tilegate
ENV TILEGATE_CONFIG=/etc/tilegate/tilegate.yaml
# A numeric user, so that Kubernetes can verify runAsNonRoot.
USER 65532:65532
EXPOSE 8080
# `tilegate health` reads the server's address from the file that TILEGATE_CONFIG names.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/tilegate", "health"]
ENTRYPOINT ["/tilegate"]
CMD ["serve"]

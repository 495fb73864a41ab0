# make viewer   # the map page then needs no CDN
# docker build --build-arg VERSION=1.0.0 --build-arg COMMIT="$(git rev-parse --short HEAD)" -t tilegate .
# docker run -p 8080:8080 --user "$(id -u)" -v "$PWD/tilegate.yaml:/etc/tilegate/tilegate.yaml:ro" -v "$PWD/tilegate.key:/etc/tilegate/tilegate.key:ro" --env-file .env tilegate
#   As you, since nobody else may read the key; .env has what tilegate needs to know of AWS.
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
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8080
# It asks where TILEGATE_CONFIG says that the server listens.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/tilegate", "health"]
ENTRYPOINT ["/tilegate"]
CMD ["serve"]

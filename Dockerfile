# syntax=docker/dockerfile:1

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
# The commit goes into the binary where git can name it.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" \
    -buildvcs=$(git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false) \
    -o /riverbeat ./cmd/riverbeat

# Certificates, time zone data and a user, but no shell.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /riverbeat /riverbeat
EXPOSE 8080
ENTRYPOINT ["/riverbeat"]
CMD ["serve"]

# Every command that the README, CI and a developer use. `make` alone lists them.

BIN := $(CURDIR)/.cache/bin

# Pinned, built from source into $(BIN), in no go.mod: the linter, and the S3 services that the tests run against.
LINTER := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
MINIO := github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
VERSITYGW := github.com/versity/versitygw/cmd/versitygw@v1.8.0
DOCKERFILE_LINTER := dockerfile-utils@0.16.3

.PHONY: help demo test bench bench-once lint lint-deploy tools ci

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## a private S3, a token issuer, tilegate and a map page, in one process
	go run ./cmd/tilegate demo

test: ## all tests, with the race detector
	go test -race ./...

bench-once: ## each benchmark once: that it runs, not how fast
	go test -run '^$$' -bench . -benchtime 1x ./...

lint: ## golangci-lint, go vet, tidy modules
	GOBIN=$(BIN) go install $(LINTER)
	$(BIN)/golangci-lint run
	go vet ./...
	go mod tidy -diff

tools: ## MinIO and versitygw for the tests; some ten minutes the first time
	GOBIN=$(BIN) go install $(MINIO)
	GOBIN=$(BIN) go install $(VERSITYGW)

ci: ## what CI runs: installs Debian packages, lints, tests
	bash .ci/run

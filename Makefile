# The commands that the README, CI and developers use. `make` without a target lists them.

SHELL := bash -euo pipefail
BIN := $(CURDIR)/.cache/bin

# The linter, the S3 services, the proxy, the tile server and the identity provider that the tests run against, and Helm. They are
# pinned here and not in go.mod, and are built from source into $(BIN).
LINTER := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
MINIO := github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
VERSITYGW := github.com/versity/versitygw/cmd/versitygw@v1.8.0
CADDY := github.com/caddyserver/caddy/v2/cmd/caddy@v2.11.4
PMTILES := github.com/protomaps/go-pmtiles@v1.31.2
OIDC_PROVIDER := github.com/zitadel/oidc/v3/example/server@v3.52.0
HELM := helm.sh/helm/v3/cmd/helm@v3.22.0
DOCKERFILE_LINTER := dockerfile-utils@0.16.3

.PHONY: help demo build viewer test test-norace test-short browser picture bench bench-attack bench-once hitratio lint lint-deploy tools ci

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## a private S3, a token issuer, tilegate and a map page, in one process; LISTEN=127.0.0.1:8081 CORS=https://app.example.com
	@command -v npm >/dev/null && $(MAKE) -s viewer || echo 'Without npm the map page loads MapLibre from a CDN; with npm, make viewer makes it self-contained.'
	go run ./cmd/tilegate demo $(if $(LISTEN),--listen $(LISTEN)) $(foreach origin,$(CORS),--cors $(origin))

build: ## the program, as ./tilegate
	go build -o tilegate ./cmd/tilegate

viewer: proxy/viewer/maplibre/LICENSE.txt ## MapLibre GL JS from npm, for the map page to embed

proxy/viewer/maplibre/LICENSE.txt: proxy/viewer/package-lock.json proxy/viewer/maplibre.build.mjs proxy/viewer/maplibre.mjs
	cd proxy/viewer && npm ci --no-audit --no-fund

test: ## all tests, with the race detector
	go run ./internal/testreport -race -timeout 25m ./...

test-norace: ## all tests without the race detector, which changes what is allocated
	go run ./internal/testreport -timeout 15m ./...

test-short: ## the tests that need nothing but Go: no race detector, no external servers, no browser
	go run ./internal/testreport -short -timeout 10m ./...

browser: viewer ## the demo's page in headless Chromium; leaves .cache/demo.png
	cd .ci/browser && npm ci --no-audit --no-fund
	go build -o .cache/tilegate ./cmd/tilegate
	exec 3< <(exec .cache/tilegate demo --listen 127.0.0.1:0 2>.cache/demo.log); demo=$$!; trap "kill $$demo" EXIT; \
		page=$$(sed -n '/The map/{s/.* //p;q}' <&3); node .ci/browser/demo.js "$$page" .cache/demo.png

picture: viewer ## a new docs/map-page.jpg, the README's picture of the map page
	cd .ci/browser && npm ci --no-audit --no-fund
	PICTURE=$(CURDIR)/docs/map-page.jpg go test -count 1 -run TestPictureOfTheMapPage ./cmd/tilegate

bench: ## tilegate compared with net/http, the SDK, nginx and go-pmtiles, as ratios within one run; needs wrk
	go run ./internal/bench
	$(MAKE) --no-print-directory hitratio

hitratio: ## the cache's hit ratio compared with plain LRU and with otter, a Go cache with W-TinyLFU
	cd internal/bench/hitratio && go run .

bench-attack: ## good clients beside attacks on tilegate and on net/http; some half an hour
	go run ./internal/bench -rounds 3 attack

bench-once: ## each benchmark once, to check that it runs
	go test -run '^$$' -bench . -benchtime 1x ./...

lint: ## golangci-lint, go vet, and whether go.mod is tidy
	GOBIN=$(BIN) go install $(LINTER)
	$(BIN)/golangci-lint run
	go vet ./...
	go mod tidy -diff
	go mod verify
	cd internal/bench/hitratio && $(BIN)/golangci-lint run && go vet . && go mod tidy -diff

lint-deploy: ## scripts, Dockerfile, Helm chart, alert rules and dashboard; needs make tools, shellcheck, npm, promtool and jq
	shellcheck .ci/run deploy/compose/bucket.sh
	$(BIN)/helm lint --strict deploy/helm/tilegate
	promtool check config --syntax-only deploy/compose/prometheus.yml
	@echo $(DOCKERFILE_LINTER) Dockerfile
	@said=$$(npm exec --yes -- $(DOCKERFILE_LINTER) lint Dockerfile) && [ -z "$$said" ] || { echo "$$said"; exit 1; }
	node --input-type=module --check <deploy/cloudflare.js
	promtool check rules deploy/alerts.yml
	promtool test rules deploy/alerts_test.yml
	jq '{groups: [{name: "panels", rules: [.panels[].targets[]?.expr | gsub("[$$]__rate_interval"; "5m") | {record: "x", expr: .}]}]}' \
		deploy/dashboard.json | promtool check rules --lint=none /dev/stdin

tools: ## MinIO, versitygw, Caddy, go-pmtiles, an identity provider and Helm for the tests; about twenty minutes the first time
	GOBIN=$(BIN) go install $(MINIO)
	GOBIN=$(BIN) go install $(VERSITYGW)
	GOBIN=$(BIN) go install $(CADDY)
	GOBIN=$(BIN) go install $(PMTILES)
	GOBIN=$(BIN)/oidc go install $(OIDC_PROVIDER) && mv $(BIN)/oidc/server $(BIN)/oidc-provider
	GOBIN=$(BIN) go install $(HELM)

ci: ## what CI runs: installs Debian packages, lints, tests
	bash .ci/run

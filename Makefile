# Wardline. `make` lists the targets; `make test` is what continuous integration runs.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

GO ?= go
# Statement coverage, in percent, that core/ and edge/ must each keep together.
COVERAGE_MIN ?= 75
CHAOS ?= 5m

# Development tools are pinned in test/tools and built once per version, outside the tree.
TOOLS_SUM   := $(shell cat test/tools/go.mod test/tools/go.sum | sha256sum | cut -c1-16)
TOOLS_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/wardline/tools
TOOLS       := $(TOOLS_CACHE)/$(TOOLS_SUM)

# A newer node than Debian's, where test/setup.sh had to fetch one.
export PATH := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/wardline/node/node_modules/.bin:$(PATH)

.PHONY: help
help: ## Show this list
	@echo "Usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: dev
dev: ## Run everything in one process and print links to a visit (flags: make dev ARGS="--help")
	$(GO) run ./cmd/wardline dev $(ARGS)

.PHONY: test
test: setup check web race e2e worlds ## Everything continuous integration checks: setup, check, web, race, e2e, worlds

.PHONY: setup
setup: ## Install what the tests need and this machine lacks (Debian; no-op when complete)
	@test/setup.sh

.PHONY: check
check: setup $(TOOLS)/golangci-lint $(TOOLS)/govulncheck ## Formatting, lint, vet, types, modules, known vulnerabilities
	$(TOOLS)/golangci-lint fmt --diff
	$(GO) build ./...
	$(TOOLS)/golangci-lint run
	$(GO) mod tidy -diff
	cd test/tools && $(GO) mod tidy -diff
	cd test/e2e && npm run --silent typecheck
	@test/vulncheck.sh $(TOOLS)/govulncheck

.PHONY: fmt
fmt: $(TOOLS)/golangci-lint ## Format all Go code
	$(TOOLS)/golangci-lint fmt

.PHONY: unit
unit: ## Go tests, quickly: no race detector, results cached
	$(GO) test ./...

.PHONY: servers
servers: ## Build the real servers that tests run, once (minutes); those on PATH are used if recent enough
	$(GO) run ./test/stack/servers/cmd consul nomad vault

.PHONY: stack
stack: ## Start regions of real Consul, Nomad and Vault servers with Wardline in them, and print links to a visit (ARGS="--regions east")
	$(GO) run ./test/stack/cmd/world up --jobs $(ARGS)

.PHONY: stack-down
stack-down: ## End what make stack started and remove everything of it, also after a crash
	$(GO) run ./test/stack/cmd/world down

# The longest first, and small worlds before the last large one: drills measure times, and two processors carry no more.
.PHONY: worlds
worlds: servers setup ## Tests of those regions and of the jobs in them, drills and docs/operations.md (minutes; root)
	WARDLINE_STACK=1 $(GO) test -count=1 -p 3 -timeout 30m \
		./test/drills ./test/stack/operations ./test/stack ./test/stack/deploy ./test/stack/...

.PHONY: drills
drills: servers setup ## The failover drills alone (minutes; root)
	WARDLINE_STACK=1 $(GO) test -count=1 -timeout 30m ./test/drills

# The longest begin first. Linking without debugging information is a quarter quicker, and make check has vetted already.
.PHONY: race
race: servers ## Go tests with the race detector in random order, then a soak and some chaos without it; coverage printed and gated
	@mkdir -p coverage
	$(GO) test -race -p 2 -shuffle=on -vet=off -ldflags=-w -coverprofile=coverage/go.out ./cmd/wardline ./edge/sfu ./...
	WARDLINE_SOAK=1 $(GO) test -count=1 ./test/soak
	WARDLINE_CHAOS=1m WARDLINE_CHAOS_SEED=41 $(GO) test -count=1 ./test/chaos
	@test/coverage.sh coverage/go.out $(COVERAGE_MIN)

.PHONY: chaos
chaos: servers ## Servers broken at random under visits, for CHAOS=5m; WARDLINE_CHAOS_SEED repeats a run, WARDLINE_CHAOS_LOGS=FOLDER keeps logs
	WARDLINE_CHAOS=$(CHAOS) $(GO) test -count=1 -v -timeout 24h ./test/chaos

.PHONY: cover
cover: race ## The race run, then its coverage as a page
	$(GO) tool cover -html=coverage/go.out -o coverage/go.html
	@echo "coverage/go.html"

.PHONY: web
web: setup ## Unit tests of the browser client, without a browser
	node --test edge/web/test/*.test.mjs

.PHONY: e2e
e2e: export WARDLINE_BIN := $(CURDIR)/bin/e2e/wardline
e2e: setup ## Browser tests in Chromium: two at a time, then those that measure times alone (*.timed.mjs)
	$(GO) build -o $(WARDLINE_BIN) ./cmd/wardline
	cd test/e2e && npm test --silent
	cd test/e2e && npm run --silent timed

.PHONY: impair
impair: setup ## The whole table of bad networks of docs/benchmarks.md, in Chromium (minutes)
	cd test/e2e && WARDLINE_IMPAIR=all node --test --test-reporter=spec impair.timed.mjs

.PHONY: bench
bench: microbench ## What forwarding costs: Go benchmarks, then the table of docs/benchmarks.md (ARGS="--help"; Linux, two processors)
	$(GO) run ./test/bench $(ARGS)

.PHONY: microbench
microbench: ## Go benchmarks of core/ and edge/
	@packages=$$({ grep -rl --include='*_test.go' '^func Benchmark' core edge || true; } | xargs -r dirname | sort -u | sed 's|^|./|'); \
	if [[ -z $$packages ]]; then echo "bench: core/ and edge/ have no benchmarks"; exit; fi; \
	$(GO) test -run '^$$' -bench . -benchmem $$packages

.PHONY: clean
clean: ## Remove build output, coverage and node_modules (data/ and the tool cache stay)
	rm -rf bin coverage test/e2e/node_modules build

$(TOOLS)/%:
	@echo "building $* at the version of test/tools/go.mod (once, a few minutes)"
	@mkdir -p $(TOOLS)
	cd test/tools && $(GO) build -o $@.new "$$($(GO) list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' tool | grep '/$*$$')"
	mv $@.new $@

# Tools are Go programs, installed into bin/ at the versions that tools.env pins.
include tools.env

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := $(CURDIR)/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 20s

GOLANGCI_LINT := $(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOVULNCHECK := $(BIN)/govulncheck-$(GOVULNCHECK_VERSION)
HELM := $(BIN)/helm-$(HELM_VERSION)
HELM3 := $(BIN)/helm-$(HELM3_VERSION)
HELM_UNITTEST := $(BIN)/helm-unittest-$(HELM_UNITTEST_VERSION)
KUBECONFORM := $(BIN)/kubeconform-$(KUBECONFORM_VERSION)
PROMTOOL := $(BIN)/promtool-$(PROMTOOL_VERSION)
CYCLONEDX := $(BIN)/cyclonedx-gomod-$(CYCLONEDX_VERSION)
SCHEMAS := $(BIN)/k8s-schemas-$(K8S_SCHEMAS_VERSION)-$(KEDA_VERSION)-$(PROMETHEUS_OPERATOR_VERSION)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' Makefile | sort

.PHONY: build
build: ## Build bin/policysync
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o $(BIN)/policysync ./cmd/policysync

# image hands on IMAGE, ARCH and GOFIPS140; ARCHIVE is a file to write it to.
.PHONY: image
image: $(CYCLONEDX) ## Build the container image by buildah or docker: docs/air-gapped.md
	VERSION=$(VERSION) CYCLONEDX=$(CYCLONEDX) deploy/image/build.sh $(ARCHIVE)

.PHONY: demo
demo: ## Show all of it in one process, with nothing but Go
	@go run ./cmd/policysync demo

.PHONY: test
test: ## Run the tests that need no server
	go test ./...
	go test -tags synctests -run Service ./pkg/simulation
	cd $(EXAMPLE) && go test -mod=mod ./...

.PHONY: test-duckdb
test-duckdb: ## Run the tests of the warehouse connector with DuckDB, which wants a C++ compiler
	CGO_ENABLED=1 go test -tags duckdb ./connectors/warehouse -rapid.checks=30

# The example of a connector is a module of its own: its go.mod follows the one here.
EXAMPLE := examples/connector

.PHONY: test-race
test-race: ## Run them under the race detector
	go test -race -timeout 40m ./...

# simulate hands on SEED, SEEDS and FROM.
.PHONY: simulate
simulate: ## Run SEEDS random schedules of failures, or the one of SEED
	SEEDS=$${SEEDS:-5000} go test -count 1 -timeout 0 ./pkg/simulation

.PHONY: simulate-group
simulate-group: ## The same for whole members with brokers in memory
	SEEDS=$${SEEDS:-500} go test -tags synctests -run Service -count 1 -timeout 0 ./pkg/simulation

# What is measured comes by itself, and briefly unless bench-sql asks: it would take the cores from tests that wait. -short
# is not for the others, whose drawn cases it would make fewer.
THROUGHPUT := ^TestE2EThroughput$$
RIVALS := ./connectors/sql ./connectors/warehouse

.PHONY: e2e
e2e: ## Run the end-to-end tests on real servers, which stay up (see e2e-stop)
	@servers="$$(e2e/servers/all.sh start)"; eval "$$servers"; \
	go test -tags e2e -count 1 -timeout 40m -skip '$(THROUGHPUT)' ./e2e ./connectors/... && \
	go test -tags e2e -count 1 -short -run '$(THROUGHPUT)' $(RIVALS) && \
	$(CHAOS) -timeout 10m

# The members' logs are kept below bin/_artifacts.
CHAOS := mkdir -p $(BIN) && go test -tags e2e -count 1 -artifacts -outputdir $(BIN) ./e2e/chaos

.PHONY: chaos
chaos: ## Break what can break for DURATION (10m), as SEED draws it (0: a new one); with FOR the seeds after it too
	@servers="$$(e2e/servers/all.sh start)"; eval "$$servers"; \
	$(CHAOS) -timeout 0 -v -run TestChaos -seed $(or $(SEED),0) -duration $(or $(DURATION),10m) -for $(or $(FOR),0)

.PHONY: chaos-planted
chaos-planted: ## Prove that what breaks a promise is found: plant bugs and let chaos loose on them
	@servers="$$(e2e/servers/all.sh start)"; eval "$$servers"; \
	$(CHAOS) -timeout 30m -v -run TestPlanted -planted

.PHONY: e2e-stop
e2e-stop: ## Stop the servers of the end-to-end tests
	e2e/servers/all.sh stop

.PHONY: bench
bench: ## Run the benchmarks
	go test -run '^$$' -bench . -benchmem ./...

# The next five hand on SIZE, which makes them larger or smaller; all but bench-crash write to bench/results. They have a
# Kafka of their own, without the thousands of topics that tests leave: with those it stands still for a second at times.
BENCH = export POLICYSYNC_E2E_SET=bench POLICYSYNC_E2E_KAFKA_PORT=19392 POLICYSYNC_E2E_KAFKA_LARGE=1; e2e/servers/kafka.sh reset; \
	trap 'e2e/servers/kafka.sh stop' EXIT; servers="$$(e2e/servers/kafka.sh start && POLICYSYNC_E2E_SET= e2e/servers/registry.sh start)" && eval "$$servers" && \
	go build -o $(BIN)/bench ./bench && $(BIN)/bench -policysync $(BIN)/policysync -size $(or $(SIZE),1)

.PHONY: bench-peers
bench-peers: build $(BIN)/parallelconsumer ## Measure beside a bare client and what one would use instead, on a real Kafka
	cd bench/peers/benthos && CGO_ENABLED=0 go build -o $(BIN)/benthos .
	@$(BENCH) -suite peers -benthos $(BIN)/benthos -parallel-consumer $(BIN)/parallelconsumer

# Without Java and Maven the peer is left out, and the benchmark says so.
$(BIN)/parallelconsumer: bench/peers/parallelconsumer/pom.xml bench/peers/parallelconsumer/src/main/java/Peer.java
	if command -v java >/dev/null && command -v mvn >/dev/null; then mvn -B -q -f bench/peers/parallelconsumer package dependency:copy-dependencies \
	  -DincludeScope=runtime -DoutputDirectory=$@; fi

.PHONY: bench-isolation
bench-isolation: build ## Measure targets beside one that is down: throughput, latency, memory, catch-up
	@$(BENCH) -suite isolation
	@$(BENCH) -suite outage
	@$(BENCH) -suite backfill

.PHONY: bench-replay
bench-replay: build ## Measure targets beside one that is replayed, with and without a throttle
	@$(BENCH) -suite replay

.PHONY: bench-crash
bench-crash: build ## Measure what a kill -9 at full speed repeats, and how long commits take
	@$(BENCH) -suite crash

.PHONY: bench-growth
bench-growth: build ## Measure as partitions, targets, keys and members grow
	@$(BENCH) -suite growth

.PHONY: bench-sql
bench-sql: ## Measure writes to PostgreSQL, MariaDB, SQLite and ClickHouse beside bare clients
	@servers="$$(e2e/servers/all.sh start)"; eval "$$servers"; \
	go test -tags e2e -count 1 -v -run '$(THROUGHPUT)' $(RIVALS)

.PHONY: fuzz
fuzz: ## Fuzz each fuzz test for FUZZTIME
	@grep -rn --include='*_test.go' -oE '^func Fuzz[A-Za-z0-9_]+' . | while IFS=: read -r file _ func; do \
		echo "== $${func#func } in $$(dirname "$$file")"; \
		go test "$$(dirname "$$file")" -run '^$$' -fuzz "^$${func#func }$$" -fuzztime $(FUZZTIME); \
	done

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the Go code
	$(GOLANGCI_LINT) fmt

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Check format, style and the direction of imports
	$(GOLANGCI_LINT) config verify
	$(GOLANGCI_LINT) run
	cd $(EXAMPLE) && $(GOLANGCI_LINT) run

.PHONY: generate
generate: ## Write the generated pages of docs anew
	go test ./pkg/telemetry -run '^TestMetricsDocument$$' -update
	go test ./connectors -run '^(TestOptionsDocument|TestConfigSchema)$$' -update
	go test ./deploy/helm -run '^TestValuesReference$$' -update
	go test ./deploy -run '^TestNotice$$' -update
	cd $(EXAMPLE) && go mod tidy

.PHONY: helm-lint
helm-lint: $(HELM) $(HELM3) $(KUBECONFORM) $(SCHEMAS) $(PROMTOOL) ## Render the chart for each values file and check what comes out
	@for helm in $(HELM) $(HELM3); do echo "with $$($$helm version --short)"; \
	HELM=$$helm KUBECONFORM=$(KUBECONFORM) SCHEMAS=$(SCHEMAS) PROMTOOL=$(PROMTOOL) deploy/helm/lint.sh $(K8S_SCHEMAS_VERSION) $(LINTFLAGS) || exit 1; done

.PHONY: helm-test
helm-test: $(HELM_UNITTEST) ## Run the chart's unit tests
	$(HELM_UNITTEST) --strict deploy/helm/policysync

.PHONY: helm-live-api
helm-live-api: ## Prove the chart on a real API server, if there is a testbed for one
	deploy/helm/live.sh api

.PHONY: helm-live
helm-live: $(CYCLONEDX) ## Prove the chart on a real kubelet with a real Kafka, under load, if there is a testbed
	CYCLONEDX=$(CYCLONEDX) deploy/helm/live.sh node

.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## Look for known vulnerabilities in what is called
	$(GOVULNCHECK) ./...

.PHONY: ci
ci: ## Run all that a change must pass, end-to-end tests included
	.ci/run

.PHONY: clean
clean: ## Remove what was built and installed here
	rm -rf $(BIN)

# install gives the tool a name with its version, so that a new pin means a new file.
define install
GOBIN=$@.new CGO_ENABLED=0 go install -trimpath $(1)
mv $@.new/* $@
rmdir $@.new
endef

$(GOLANGCI_LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION))
$(GOVULNCHECK):
	$(call install,golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION))
$(HELM):
	$(call install,helm.sh/helm/v4/cmd/helm@$(HELM_VERSION))
$(HELM3):
	$(call install,helm.sh/helm/v3/cmd/helm@$(HELM3_VERSION))
$(HELM_UNITTEST):
	deploy/helm/unittest.sh $@ $(HELM_UNITTEST_VERSION)
$(KUBECONFORM):
	$(call install,github.com/yannh/kubeconform/cmd/kubeconform@$(KUBECONFORM_VERSION))
$(PROMTOOL):
	$(call install,github.com/prometheus/prometheus/cmd/promtool@$(PROMTOOL_VERSION))
$(CYCLONEDX):
	$(call install,github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION))
$(SCHEMAS):
	deploy/helm/schemas.sh $@ $(K8S_SCHEMAS_VERSION) $(KEDA_VERSION) $(PROMETHEUS_OPERATOR_VERSION)

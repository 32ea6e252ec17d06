# Everything that people run here. Tools come from scripts/tools.mod, nothing else is
# needed than Go, make, git and gcc (for the race detector).

GO    ?= go
TOOL   = $(GO) tool -modfile=scripts/tools.mod
VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS = -X main.version=$(VERSION)

CONFORMANCE = rpc/openfga/conformance

.PHONY: all help build demo cluster test test-faults test-all conformance conformance-random conformance-js fuzz cover lint fmt generate check-generate bench bench-compare clean

all: build test lint ## build, test and lint

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/remit
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/remit ./cmd/remit

demo: build ## one durable node with the example organisation acme, real decisions, then serve
	bin/remit demo

cluster: build ## three local nodes and a read replica: shows the leader, kills it, shows that all goes on, then serves
	scripts/cluster.sh

# Clusters of processes have targets of their own: beside everything else, with the race
# detector, they would measure the machine. It is left out, too, where there is one goroutine
# and much to compute, ten or twenty times as long with it: in graph/crm all but previews,
# random histories, and large organisations. The tests of cmd/remit start whole servers, which test-faults does with the
# detector for minutes.
COMPUTED = ^Test(Random|StateAgrees|ErasuresAmong|ThePast(OfAnIdle|Goes)|AnOrganisation(IsMade|Answers)|OwnersAreTold|AGroupOfVery|RightsToChange|AReaderThatDoesNot)
test: ## every package, with the race detector where there are goroutines, a seeded share of the random tests; a few clusters
	$(GO) test -race -skip '$(COMPUTED)' $$($(GO) list ./... | grep -v -e '/graph/crm$$' -e '/cmd/remit$$')
	$(GO) test -race ./graph/crm -run 'Preview'
	$(GO) test -run '$(COMPUTED)' ./graph ./fsm ./rpc
	$(GO) test -skip '^TestFleet' ./graph/crm ./cmd/remit
	$(GO) test -count=1 ./cluster -run '^TestSchedulesOfFaults' -schedules 300
	$(GO) test -count=1 ./rpc -run '^TestSchedulesOf' -schedules 60
	$(GO) test -count=1 ./cmd/remit -run '^TestFleet(Outlives|Hands|Restarts|Reads)'

FOR ?= 2m
test-faults: ## clusters of processes: under faults and a checked load for a time FOR (default 2m), and all else
	REMIT_TEST_FLEET=$(FOR) $(GO) test -race -count=1 -timeout 60m -v ./cmd/remit -run '^TestFleetUnderFaults'
	$(GO) test -count=1 -timeout 30m ./cmd/remit -run '^TestFleet' -skip '^TestFleet(UnderFaults|Outlives|Hands|Restarts|Reads)'

test-all: ## the same with all of the random, crash and process tests; takes long
	REMIT_TEST_ALL=1 $(GO) test -count=1 -p 1 -timeout 90m -v ./... 2>&1 | scripts/summary.sh test-all.log

conformance: build ## OpenFGA's own suites, its HTTP answers, its Go SDK and exported organisations, against bin/remit
	cd $(CONFORMANCE)/suites && $(GO) test -count=1
	cd $(CONFORMANCE) && $(GO) test -count=1
	cd $(CONFORMANCE)/organisations && $(GO) test -count=1 -timeout 60m

QUESTIONS ?= 50000
conformance-random: build ## QUESTIONS (default 50000) random ones, put to bin/remit and to OpenFGA; SEED=n repeats
	cd $(CONFORMANCE) && CONFORMANCE_QUESTIONS=$(QUESTIONS) $(if $(SEED),CONFORMANCE_SEED=$(SEED)) \
		$(GO) test -count=1 -timeout 90m -run Random -v

conformance-js: build ## OpenFGA's JavaScript SDK against bin/remit; needs Node and npm
	scripts/conformance-js.sh

FUZZTIME ?= 30s
fuzz: ## each fuzz target for FUZZTIME (default 30s)
	scripts/fuzz.sh $(FUZZTIME)

cover: ## coverage.out and the share per function
	$(GO) test -coverprofile=coverage.out -coverpkg=./cluster/...,./cmd/...,./fsm/...,./graph/...,./rpc ./...
	$(GO) tool cover -func=coverage.out | tail -n 1

lint: ## golangci-lint, with the rules of .golangci.yml
	$(TOOL) golangci-lint run ./...
	cd $(CONFORMANCE) && $(GO) tool -modfile=$(CURDIR)/scripts/tools.mod golangci-lint run -c $(CURDIR)/.golangci.yml ./...

fmt: ## gofumpt and import order
	$(TOOL) golangci-lint fmt ./...

generate: ## rpc/gen from rpc/proto
	scripts/generate.sh

check-generate: ## fail if rpc/gen is out of date
	scripts/generate.sh --check

BENCH ?= .
COUNT ?= 1
bench: ## Go benchmarks; BENCH=regexp COUNT=n
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./...

bench-compare: ## benchmarks of REF (default: the last commit) against the working tree
	scripts/bench-compare.sh $(or $(REF),HEAD) '$(BENCH)'

clean: ## what builds and demos leave behind
	rm -rf bin coverage.out test-all.log data/demo data/cluster

.DEFAULT_GOAL := help
.PHONY: help run build generate test bench bench-peers soak nightly lint vuln fuzz clean deps deps-run go

GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.9.0
BENCHSTAT     := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
GOVULNDB      ?= https://vuln.go.dev
FUZZTIME      ?= 10s
SOAKTIME      ?= 10m
FAULTTIME     ?= 60s
BENCH         ?= .
ROWS          ?= .
ITERATIONS    ?= 5
# Once is the short form: to see that all of it works, not what it measures.
BENCHTIME     ?= $(if $(filter 1,$(ITERATIONS)),1x,100ms)
BENCHCOUNT    ?= $(if $(filter 1,$(ITERATIONS)),1,6)
# Only all of it is for the README.
BENCHOUT      ?= $(if $(filter 1,$(ITERATIONS))$(filter-out .,$(ROWS)),-out bin,-out cmd/bench -readme README.md)

# The commit goes into the binary where git can name it. Where it can't (no git,
# no commit yet, another user's checkout in a container) the build must not fail.
BUILDVCS := $(shell git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: deps-run build ## Start everything here: PostgreSQL, API, scheduler, worker and UI; Ctrl-C stops it
	@exec bin/riverbeat dev

build: go ## Build bin/riverbeat
	go build -trimpath -buildvcs=$(BUILDVCS) -o bin/riverbeat ./cmd/riverbeat

generate: go ## Write anew what is generated from the API's routes: its document and the Go client
	go generate ./app/api

# With CI set, a test that lacks its server fails instead of being skipped. Each
# benchmark runs once, so that none rots.
test: deps ## Run every test with the race detector, against real servers
	CI=1 go test -race -timeout 9m ./...
	$(MAKE) bench ITERATIONS=1 >/dev/null

bench: deps ## Measure, beside its peers and the raw limits, in one run (ITERATIONS=5 ROWS=due BENCH=Next BENCHTIME=100ms BENCHCOUNT=6)
	@mkdir -p bin
	CI=1 go test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) -count $(BENCHCOUNT) -timeout 60m ./... >bin/bench.txt || { cat bin/bench.txt >&2; exit 1; }
	@go run $(BENCHSTAT) -col /by bin/bench.txt
	@go run ./cmd/bench -iterations $(ITERATIONS) -rows '$(ROWS)' $(BENCHOUT)

bench-peers: ## Say what to type for `make bench` to measure Celery Beat and pg_cron too
	@echo "apt-get install -y --no-install-recommends python3-celery python3-django-celery-beat python3-psycopg2 python3-redis postgresql-15-cron"

soak: deps ## Run 2,000 schedules a second for SOAKTIME=10m over schedulers that are killed, and each fault for FAULTTIME=60s
	CI=1 go test ./cmd/riverbeat -run 'Soak' -v -timeout 24h -args -soak $(SOAKTIME)
	CI=1 go test ./cmd/riverbeat -run 'Faults|HeldForLong' -v -timeout 60m -args -faults $(FAULTTIME)

nightly: deps ## What takes too long for every day: 2,000,000 random schedules and 20,000 histories, another seed each time, ten minutes for each fuzz target
	CI=1 go test -race -timeout 60m ./app/schedule -run 'Simulated' -v -args -triples 2000000 -seed "$$(date +%s)"
	CI=1 go test -race -timeout 60m ./app/scheduler -run 'History' -v -args -histories 20000 -histories-seed "$$(date +%s)"
	$(MAKE) fuzz FUZZTIME=10m

lint: go ## Check style, imports, and that go.mod is tidy and what was downloaded is unchanged
	go vet ./...
	go run $(GOLANGCI_LINT) run ./...
	go mod tidy -diff
	go mod verify

vuln: go ## Look for known vulnerabilities in what is called (GOVULNDB=https://vuln.go.dev, or a mirror)
	@sh -c "$$vuln"

fuzz: go ## Run each fuzz target for a moment (FUZZTIME=10s)
	@set -e; grep -rn --include='*_test.go' '^func Fuzz' . | \
	sed -E 's|^(.*)/[^/]*_test.go:[0-9]+:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | \
	while read -r dir name; do \
		echo "go test -run '^$$' -fuzz '^$$name\$$' -fuzztime $(FUZZTIME) $$dir"; \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null; \
	done

clean: ## Remove what was built
	rm -rf bin

deps: go ## Bring what the tests need: PostgreSQL, redis-server, PgBouncer, Chromium, libfaketime, Node.js, a C compiler
	@sh -c "$$bring" bring postgres redis pgbouncer chromium faketime node compiler

deps-run: go ## Bring what `make run` needs: PostgreSQL
	@sh -c "$$bring" bring postgres

go:
	@command -v go >/dev/null 2>&1 || { echo "go is missing: install Go 1.26 or newer from https://go.dev/dl/ and put it in PATH" >&2; exit 1; }

# bring NAME… does nothing for what is there. What is missing it installs as root on
# Debian and Ubuntu; elsewhere it says what to type. It makes no database cluster,
# leaves no service running, and puts back what it changed for that.
define bring
set -eu

have() {
	case $$1 in
	postgres) # a server of version 15 or newer, where db/localpg looks for it too
		in_path=$$(command -v postgres || command -v initdb || true)
		[ -z "$$in_path" ] || in_path=$$(dirname "$$(readlink -f "$$in_path")")
		for dir in "$${POSTGRES_BIN:-}" "$$in_path" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* \
			/opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin /home/linuxbrew/.linuxbrew/opt/postgresql*/bin \
			/Applications/Postgres.app/Contents/Versions/*/bin; do
			[ -x "$$dir/postgres" ] && [ -x "$$dir/initdb" ] || continue
			version=$$("$$dir/postgres" --version | sed -E 's/.*\(PostgreSQL\) ([0-9]+).*/\1/')
			[ "$$version" -lt 15 ] || return 0
		done
		return 1 ;;
	redis) command -v redis-server >/dev/null ;;
	pgbouncer) command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] ;;
	chromium)
		for browser in chromium chromium-browser google-chrome google-chrome-stable headless-shell; do
			! command -v $$browser >/dev/null || return 0
		done
		[ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ] ;;
	faketime) [ "$$(uname -s)" != Linux ] || ls /usr/lib*/faketime/libfaketime.so.1 /usr/lib/*/faketime/libfaketime.so.1 2>/dev/null | grep -q . ;;
	node) # of version 18 or newer, and its npm
		command -v npm >/dev/null && [ "$$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge 18 ] ;;
	compiler) # the race detector needs cgo: a compiler and the C library's headers
		echo '#include <stdlib.h>' | $$(go env CC) -E - >/dev/null 2>&1 ;;
	esac
}

missing=
for name in "$$@"; do
	have "$$name" || missing="$$missing $$name"
done
[ -n "$$missing" ] || exit 0

system=$$(uname -s)
[ ! -r /etc/os-release ] || system=$$(. /etc/os-release && echo "$$ID $${ID_LIKE:-}")
packages=
for name in $$missing; do
	case "$$system:$$name" in
	*:postgres)
		case $$system in
		*debian*|*ubuntu*) packages="$$packages postgresql" ;;
		*alpine*|*arch*) packages="$$packages postgresql" ;;
		Darwin) packages="$$packages postgresql@17" ;;
		*) packages="$$packages postgresql-server" ;;
		esac ;;
	*:redis)
		case $$system in
		*debian*|*ubuntu*) packages="$$packages redis-server" ;;
		*) packages="$$packages redis" ;;
		esac ;;
	*:pgbouncer) packages="$$packages pgbouncer" ;;
	ubuntu*:chromium) # its package is a stub for a snap, which containers can't run
		echo "Chromium is missing. Type:" >&2
		echo "  curl -fLO https://dl.google.com/linux/direct/google-chrome-stable_current_amd64.deb && apt-get install -y ./google-chrome-stable_current_amd64.deb" >&2
		exit 1 ;;
	*:faketime) packages="$$packages libfaketime" ;;
	Darwin:node) packages="$$packages node" ;;
	*:node) packages="$$packages nodejs npm" ;;
	*:chromium) packages="$$packages chromium" ;;
	*debian*:compiler|*ubuntu*:compiler) packages="$$packages gcc libc6-dev" ;;
	*alpine*:compiler) packages="$$packages gcc musl-dev" ;;
	*:compiler) packages="$$packages gcc" ;;
	esac
done

sudo=
[ "$$(id -u)" = 0 ] || sudo='sudo '
case $$system in
*debian*|*ubuntu*) command="$${sudo}apt-get update && $${sudo}apt-get install -y --no-install-recommends$$packages" ;;
*fedora*|*rhel*) command="$${sudo}dnf install -y$$packages" ;;
*alpine*) command="$${sudo}apk add$$packages" ;;
*arch*) command="$${sudo}pacman -S --noconfirm$$packages" ;;
Darwin) command="brew install$$packages" ;;
*) command="(your system's way to install)$$packages" ;;
esac
case "$$system:$$(id -u)" in
*debian*:0|*ubuntu*:0) command -v apt-get >/dev/null ;;
*) false ;;
esac || { printf '%s\n' "missing:$$missing. Type:" "  $$command" >&2; exit 1; }

log=$$(mktemp)
policy=/usr/sbin/policy-rc.d
clusters=/etc/postgresql-common/createcluster.conf
made_policy=
put_back() {
	rm -f "$$log"
	[ -z "$$made_policy" ] || rm -f "$$policy"
	[ ! -e "$$clusters.before-riverbeat" ] || mv "$$clusters.before-riverbeat" "$$clusters"
}
trap put_back EXIT
trap 'exit 1' HUP INT TERM
quietly() { "$$@" >"$$log" 2>&1 </dev/null || { tail -n 30 "$$log" >&2; echo "this didn't work: $$*" >&2; exit 1; }; }
apt() { quietly env DEBIAN_FRONTEND=noninteractive apt-get -y "$$@"; }

echo "installing$$packages"
if [ ! -e "$$policy" ]; then # forbids packages to start their services
	made_policy=yes
	printf '#!/bin/sh\nexit 101\n' >"$$policy"
	chmod 755 "$$policy"
fi
apt update
case $$packages in
*postgresql*) # the common package first: it decides whether the server's makes a cluster
	apt install --no-install-recommends postgresql-common
	[ -e "$$clusters.before-riverbeat" ] || cp -p "$$clusters" "$$clusters.before-riverbeat"
	echo 'create_main_cluster = false' >>"$$clusters" ;;
esac
apt install --no-install-recommends $$packages
for name in $$missing; do
	have "$$name" || { echo "$$name is still missing or too old after: apt-get install$$packages" >&2; exit 1; }
done
endef
export bring

# Where the database can't be reached, it is made of the module that holds the same
# reports. Where that can't be had either, nothing is looked for, which is said and no
# failure: a build must not depend on somebody else's server being up. Nor does it on
# which Go the machine has.
define vuln
set -eu
mkdir -p bin
# With the Go that go.mod names, where it can be had.
! GOTOOLCHAIN=auto go version >/dev/null 2>&1 || export GOTOOLCHAIN=auto
GOBIN="$$PWD/bin" go install $(GOVULNCHECK)
said=$$(mktemp)
trap 'rm -f "$$said"' EXIT
look() {
	code=0
	bin/govulncheck -db "$$1" ./... >"$$said" 2>&1 || code=$$?
}
look "$(GOVULNDB)"
if [ $$code = 1 ] && grep -Eqi 'dial tcp|no such host|timeout|unexpected status|HTTP GET|connection re' "$$said"; then
	echo "$(GOVULNDB) can't be reached: looking in golang.org/x/vulndb, of which it is made"
	reports=$$(go mod download -json golang.org/x/vulndb@latest 2>/dev/null | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') || true
	rm -rf bin/vulndb
	if [ -z "$$reports" ] || ! go run golang.org/x/vulndb/cmd/indexdb@"$${reports##*@}" -vulns "$$reports/data/osv" -out "$$PWD/bin/vulndb"; then
		echo "NOT LOOKED FOR: known vulnerabilities. Neither $(GOVULNDB) nor golang.org/x/vulndb can be reached; GOVULNDB may name a mirror." >&2
		exit 0
	fi
	echo "reports up to $${reports##*-v0.0.0-}" | sed -E 's/.*v0\.0\.0-([0-9]{4})([0-9]{2})([0-9]{2}).*/reports up to \1-\2-\3/'
	look "file://$$PWD/bin/vulndb"
fi
cat "$$said"
# What the toolchain's own packages have is mended by another Go, not by a change here.
if [ $$code = 3 ] && ! sed -n '/=== Symbol Results/,$$p' "$$said" | grep -q '^  Module: '; then
	echo "KNOWN VULNERABILITIES in this $$(go env GOVERSION), as above; none in what go.mod names. Install a newer Go." >&2
	exit 0
fi
exit $$code
endef
export vuln

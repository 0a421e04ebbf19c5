# tvpassd. `make demo` shows it at work, `make test` proves it.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

# A build names itself after the commit, and takes the commit's date as the moment before which a clock is unset:
# the same commit is the same binary wherever it is built.
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.0.0-unknown)
COMMIT     ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
BUILD_DATE ?= $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null)

# HTTP/1.1 keep-alive is all that a call every few hours needs: without HTTP/2 the binary is half a megabyte smaller.
# User and network look-ups in Go: the binary is static.
TAGS    := nethttpomithttp2,osusergo,netgo
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.buildDate=$(BUILD_DATE)
# The functions of these packages are called, not copied into their callers as the compiler likes it: the ARM binary is
# 280 kB smaller. Nothing that a token passes on its way to a player is among them. A resumed handshake, of ten million
# instructions, gets 0.5 % dearer, and a start 2 %. (All of crypto would be a handshake twice as dear, strings a token by 6 %.)
COLD := crypto/internal/fips140/ecdsa crypto/tls crypto/x509 fmt log/slog math/big net/netip os reflect \
	github.com/pelletier/go-toml/v2/unstable \
	$(addprefix github.com/tvpassd/tvpassd/,daemon/config daemon/dcr daemon/doctor daemon/hardware daemon/service device cmd/tvpassd)
GOBUILD := CGO_ENABLED=0 go build -trimpath -tags $(TAGS) $(COLD:%=-gcflags=%=-l) -ldflags '$(LDFLAGS)'
ARCHES  := armv5 armv6 armv7 arm64 amd64 mipsle riscv64

.PHONY: help build cross test check demo report bench fuzz simulate mutate powercut package reproducible e2e e2e-arm fleet clean

help: ## what can be made
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

build: ## the device binary and the simulator, for this machine
	$(GOBUILD) -o bin/tvpassd ./cmd/tvpassd
	CGO_ENABLED=0 go build -trimpath -o bin/passsim ./cmd/passsim

cross: $(ARCHES:%=dist/tvpassd-linux-%) ## the device binary for every target

.PHONY: $(ARCHES:%=dist/tvpassd-linux-%)
$(filter dist/tvpassd-linux-armv%,$(ARCHES:%=dist/tvpassd-linux-%)): dist/tvpassd-linux-armv%:
	GOOS=linux GOARCH=arm GOARM=$* $(GOBUILD) -o $@ ./cmd/tvpassd
dist/tvpassd-linux-mipsle:
	GOOS=linux GOARCH=mipsle GOMIPS=softfloat $(GOBUILD) -o $@ ./cmd/tvpassd
dist/tvpassd-linux-arm64 dist/tvpassd-linux-amd64 dist/tvpassd-linux-riscv64: dist/tvpassd-linux-%:
	GOOS=linux GOARCH=$* $(GOBUILD) -o $@ ./cmd/tvpassd

test: ## every test, with the race detector
	@scripts/setup test
	go test -race -parallel 8 -tags $(TAGS) ./...

check: ## gofmt, vet, staticcheck, known vulnerabilities, the list of modules in the binary
	scripts/check

demo: ## a player gets a token, in a temporary directory and without root
	@scripts/setup demo
	$(MAKE) --no-print-directory build
	scripts/demo

report: ## size, memory, latency and flash wear, each beside its budget
	@scripts/setup report
	$(MAKE) --no-print-directory build cross
	scripts/report/run

bench: ## the token path, the probe, a storage update
	go test -run '^$$' -bench . -benchmem -tags $(TAGS) ./...

FUZZTIME ?= 20s
fuzz: ## every fuzz target for FUZZTIME
	scripts/fuzz $(FUZZTIME)

DEVICES ?= 1000000
fleet: ## DEVICES devices through five incidents; draws docs/fleet-*.png
	scripts/fleet/run $(DEVICES)

YEARS ?= 1000
SEED  ?= 1
simulate: ## the broker through YEARS device-years of faults, from SEED on
	SIMULATE_YEARS=$(YEARS) SIMULATE_SEED=$(SEED) go test -count=1 -timeout 30m -tags $(TAGS) -run '^TestSimulate$$' -v ./daemon/broker

mutate: ## does the simulation catch classic bugs?
	@scripts/setup mutate
	scripts/mutate

CUTS ?= 300
powercut: ## CUTS power cuts under the storage, on a file system of its own (root)
	@scripts/setup powercut
	CUTS=$(CUTS) go run ./scripts/powercut

package: dist/tvpassd-linux-armv7 dist/tvpassd-linux-arm64 dist/tvpassd-linux-amd64 ## .deb and .ipk for armhf, arm64 and amd64
	scripts/package/build dist $(VERSION) $(BUILD_DATE) armv7 arm64 amd64

reproducible: ## the same commit is the same binary, wherever it is built
	scripts/reproducible

e2e: ## the packages on a real systemd in a box, every foreign binary under an emulator (root, Debian)
	@scripts/setup e2e
	$(MAKE) --no-print-directory build cross
	scripts/e2e/native
	scripts/e2e/qemu-user

e2e-arm: ## the packages on ARM machines with their own kernel, under an emulator (root, Debian, half an hour)
	@scripts/setup e2e-arm
	$(MAKE) --no-print-directory build package
	scripts/e2e/arm armhf
	scripts/e2e/arm arm64

clean:
	rm -rf bin dist

# tvpassd. `make demo` shows it at work, `make test` proves it.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

# The same commit is the same binary wherever it is built: scripts/buildflags says
# how. VERSION, COMMIT and SOURCE_DATE_EPOCH override what it finds out.
TAGS    := $(shell scripts/buildflags tags)
GOBUILD  = $(TARGET) CGO_ENABLED=0 GOEXPERIMENT=$(shell scripts/buildflags goexperiment) \
	go build $(shell $(TARGET) VERSION='$(VERSION)' COMMIT='$(COMMIT)' \
	SOURCE_DATE_EPOCH='$(SOURCE_DATE_EPOCH)' scripts/buildflags)
ARCHES  := armv5 armv6 armv7 arm64 amd64 mipsle riscv64

.PHONY: help build cross test check demo report bench fuzz simulate mutate powercut \
	package release release-check reproducible e2e e2e-arm fleet clean

help: ## what can be made
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

build: ## the device binary and the simulator, for this system
	$(GOBUILD) -o bin/tvpassd ./cmd/tvpassd
	CGO_ENABLED=0 go build -trimpath -o bin/passsim ./cmd/passsim

CROSS := $(ARCHES:%=dist/tvpassd-linux-%)
.PHONY: $(CROSS)
$(CROSS): TARGET = GOOS=linux GOARCH=$(@:dist/tvpassd-linux-%=%)
$(filter %armv5 %armv6 %armv7,$(CROSS)): TARGET = GOOS=linux GOARCH=arm GOARM=$(@:dist/tvpassd-linux-armv%=%)
dist/tvpassd-linux-mipsle: TARGET = GOOS=linux GOARCH=mipsle GOMIPS=softfloat
$(CROSS):
	$(GOBUILD) -o $@ ./cmd/tvpassd

cross: $(CROSS) ## the device binary for every target

test: ## every test, with the race detector
	@scripts/setup test
	go test -race -parallel 8 -timeout 40m -tags $(TAGS) ./...
	cd scripts/examples/oauth2 && go test -race ./...

check: ## gofmt, vet, staticcheck, known vulnerabilities, the list of modules in the binary
	@scripts/setup check
	scripts/check

demo: ## a player signs a viewer in, in a temporary directory and without root
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
	SIMULATE_YEARS=$(YEARS) SIMULATE_SEED=$(SEED) \
		go test -count=1 -timeout 30m -tags $(TAGS) -run '^TestSimulate$$' -v ./daemon/broker

mutate: ## do the tests catch the bugs of scripts/mutations?
	@scripts/setup mutate
	scripts/mutate

CUTS ?= 300
powercut: ## CUTS power cuts under the storage, on a file system of its own (root)
	@scripts/setup powercut
	CUTS=$(CUTS) go run ./scripts/powercut

package: cross ## .deb, .rpm, .apk and .ipk of every target
	scripts/package/build dist $(ARCHES)

release: ## everything that a release publishes, in dist/release; KEY=FILE signs it
	KEY='$(KEY)' scripts/release

release-check: ## are two releases of HEAD the same, and does a signature by a throw-away key verify?
	go test -count=1 -tags $(TAGS),release -timeout 30m -run '^TestRelease$$' ./scripts/firmware

reproducible: ## the same commit is the same binary, wherever it is built
	scripts/reproducible

e2e: ## the packages on a real systemd in a box, every foreign binary under an emulator (root, Debian)
	@scripts/setup e2e
	$(MAKE) --no-print-directory build cross
	scripts/e2e/native
	scripts/e2e/packages
	scripts/e2e/init
	scripts/e2e/qemu-user

e2e-arm: ## the packages on ARM machines with their own kernel, under an emulator (root, Debian, half an hour)
	@scripts/setup e2e-arm
	$(MAKE) --no-print-directory build package
	scripts/e2e/arm armhf
	scripts/e2e/arm arm64

clean:
	rm -rf bin dist

# rstwhy is built, tested and checked from here; `make` alone prints the help,
# which is made from the `## ` comments behind the targets.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-builtin-rules

GO_NEEDED := $(shell awk '$$1 == "go" { print $$2 }' go.mod)
GO_SERIES := $(basename $(GO_NEEDED))
# Go's own installation and Debian's golang-X.Y-go put no command into the
# PATH, and Debian's plain users lack /usr/sbin.
export PATH := $(PATH):/usr/local/go/bin:/usr/lib/go-$(GO_SERIES)/bin:/usr/sbin:/sbin

# The version is set at link time, so go itself need not ask git, which refuses
# a tree of another user's (make as root in a user's clone).
export GOFLAGS := $(strip $(filter-out -buildvcs%,$(GOFLAGS)) -buildvcs=false)

# From git where the tree is a repository of its own (and not merely unpacked
# inside another one), else "unknown".
VERSION = $(shell test -z "$$(git rev-parse --show-prefix 2>&1)" && git describe --tags --always --dirty || echo unknown)
# The commit and its date, not the build's: the same commit gives the same bytes.
COMMIT  = $(shell test -z "$$(git rev-parse --show-prefix 2>&1)" && git rev-parse HEAD || echo unknown)
DATE    = $(shell test -z "$$(git rev-parse --show-prefix 2>&1)" && TZ=UTC git log -1 --date=format-local:%FT%TZ --format=%cd || echo unknown)
LDFLAGS = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.commitDate=$(DATE)

# What `make generate` writes. One clang makes the BPF objects, named by the
# go:generate line in internal/probe: another one may order the instructions
# or the BTF differently.
GENERATED := 'internal/probe/*_bpfel.*' 'internal/probe/*_bpfeb.*' docs/reference docs/zookeeper.md docs/privileges.md

# The tools that each target needs, as COMMAND-OR-FILE=PACKAGE; with A|B the
# first package that the distribution has is taken.
TEST_TOOLS     := javac=openjdk-17-jdk-headless|default-jdk-headless python3=python3 nft=nftables chromium=chromium|chromium-browser /usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf=fonts-dejavu-core /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring git=git mmdebstrap=mmdebstrap rpm=rpm strace=strace pkill=procps
RACE_TOOLS     := gcc=gcc /usr/include/stdio.h=libc6-dev
GENERATE_TOOLS := clang-19=clang-19 llvm-strip-19=llvm-19
GUEST_TOOLS    := mmdebstrap=mmdebstrap newuidmap=uidmap sqfstar=squashfs-tools
LINT_TOOLS     := shellcheck=shellcheck
VM_TOOLS       := qemu-system-x86_64=qemu-system-x86 qemu-system-aarch64=qemu-system-arm xz=xz-utils dpkg-deb=dpkg /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring

# Empty for root. A plain user needs sudo to load BPF programs and for apt-get.
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)
# Tests are compiled by the user and run by root, who finds the user's modules
# but keeps a build cache of his own: no file of root's in the user's.
AS_ROOT = $(if $(SUDO),-exec "$(SUDO) env RSTWHY_ROOT=1 CI=$${CI:-} 'PATH=$$PATH' 'GOFLAGS=$$GOFLAGS' GOTOOLCHAIN=$${GOTOOLCHAIN:-} GOMODCACHE=$$(go env GOMODCACHE)")

# $(call need,TARGET,TOOLS): says what is missing, and installs it.
define need
missing=()
for tool in $(foreach t,$(2),'$(t)'); do
	command -v "$${tool%%=*}" >/dev/null || test -e "$${tool%%=*}" || missing+=("$${tool#*=}")
done
if test $${#missing[@]} -gt 0; then
	if ! command -v apt-get >/dev/null; then
		echo "make $(1) needs the programs of these Debian packages, and there is no apt-get to install them: $${missing[*]}" >&2
		exit 1
	fi
	$(call need-root,make $(1))
	echo "make $(1) installs: $${missing[*]}"
	apt=($(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
	"$${apt[@]}" update </dev/null
	packages=()
	for choice in "$${missing[@]}"; do
		for package in $${choice//|/ }; do
			apt-cache show "$$package" >/dev/null 2>&1 && break
		done
		packages+=("$$package")
	done
	"$${apt[@]}" install -y --no-install-recommends "$${packages[@]}" </dev/null
fi
endef

# $(call need-root,WHAT): stops a plain user who has no sudo.
define need-root
if test -n "$(SUDO)" && ! command -v sudo >/dev/null; then
	echo "$(1) needs root, and there is no sudo: run it as root" >&2
	exit 1
fi
endef

.PHONY: help
help: ## print this help
	echo 'rstwhy: which process owns each TCP connection that is reset, and why'
	echo
	awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

.PHONY: check-go
check-go:
	fix="install Go $(GO_NEEDED) or later (see 'Download and install' at go.dev, or a package such as golang-$(GO_SERIES)-go from Debian's backports), put its bin directory first in PATH and run make again"
	if ! command -v go >/dev/null; then
		echo "rstwhy needs Go $(GO_NEEDED) or later, and no go command was found in PATH: $$fix" >&2
		exit 1
	fi
	found=$$(go version 2>/dev/null) || found=$$(cd / && GOTOOLCHAIN=local go version)
	found=$$(awk '{ sub(/^go/, "", $$3); print $$3 }' <<<"$$found")
	if test "$$(printf '%s\n' "$(GO_NEEDED)" "$$found" | sort -V | head -n 1)" != "$(GO_NEEDED)"; then
		echo "rstwhy needs Go $(GO_NEEDED) or later, and $$(command -v go) is Go $$found: $$fix" >&2
		exit 1
	fi

.PHONY: build
build: check-go ## build the static binary bin/rstwhy
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/rstwhy ./cmd/rstwhy

.PHONY: run
run: build ## build, and start `rstwhy trace` (sudo when not root); options: make run ARGS='--zk-port 10245'
	$(call need-root,rstwhy trace)
	exec $(SUDO) bin/rstwhy trace $(ARGS)

.PHONY: test
test: check-go ## install what the tests need, and run every test as root, live and ZooKeeper tests included
	$(call need,test,$(TEST_TOOLS))
	$(call need-root,make test)
	go build ./...
	echo 'make test runs every test as root: live resets on this kernel, and real ZooKeeper servers (Debian packages, fetched by the test)'
	# One package at a time: live tests count what they lose, so they must not
	# disturb one another.
	RSTWHY_ROOT=1 go test -p 1 -count=1 -timeout 30m $(AS_ROOT) ./...

.PHONY: test-unit
test-unit: check-go ## run the tests that need nothing: no root, no package, no network
	env -u CI -u RSTWHY_ROOT go test -short -count=1 -timeout 5m ./...

.PHONY: test-race
test-race: check-go ## run the tests of test-unit under the race detector
	$(call need,test-race,$(RACE_TOOLS))
	env -u CI -u RSTWHY_ROOT CGO_ENABLED=1 go test -race -short -count=1 -timeout 10m ./...

.PHONY: bench
bench: build ## measure events a second, cost in the kernel, and memory (as root, nine minutes); one table: make bench ARGS='-only start'
	$(call need-root,make bench)
	CGO_ENABLED=0 go build -trimpath -o bin/bench ./internal/bench
	CGO_ENABLED=0 go test -c -trimpath -o bin/pipeline.test ./internal/pipeline
	$(SUDO) bin/bench -rstwhy bin/rstwhy $(ARGS)

.PHONY: release
release: check-go ## make dist/ for amd64 and arm64: binaries, tar.gz, deb, rpm, SBOM, checksums
	VERSION='$(VERSION)' LDFLAGS='$(LDFLAGS)' deploy/release

.PHONY: test-vm
test-vm: check-go ## boot Debian's kernels, 5.10 to 7.x, amd64 and arm64, in QEMU, and run rstwhy and its root tests in each (over half an hour); docs/kernels.md anew: make test-vm ARGS=-write
	$(call need,test-vm,$(VM_TOOLS))
	$(build-vm)
	bin/vm matrix -ldflags '$(LDFLAGS)' $(ARGS)

.PHONY: test-vm-ci
test-vm-ci: check-go ## the same with some of the kernels and tests, in about five minutes; it says what it leaves out
	$(call need,test-vm-ci,$(VM_TOOLS))
	$(build-vm)
	bin/vm matrix -subset -ldflags '$(LDFLAGS)' $(ARGS)

.PHONY: test-guest
test-guest: release ## boot a whole Debian system with its own kernel, systemd, ZooKeeper and rstwhy's package; the tour and the ZooKeeper tests in it: make test-guest ARGS='-suite bookworm'
	$(call need,test-guest,$(VM_TOOLS) $(GUEST_TOOLS))
	CGO_ENABLED=0 go build -trimpath -o bin/vm ./internal/vm
	bin/vm system -deb dist/rstwhy_*_"$$(go env GOARCH)".deb $(ARGS)

# vm is the guest's process 1 too, so each guest's architecture has its own.
define build-vm
	CGO_ENABLED=0 go build -trimpath -o bin/vm ./internal/vm
	for arch in amd64 arm64; do
		CGO_ENABLED=0 GOARCH=$$arch go build -trimpath -o bin/vm-$$arch ./internal/vm
	done
endef

.PHONY: generate
generate: check-go ## make the BPF objects (with clang-19) and docs/reference anew
	$(call need,generate,$(GENERATE_TOOLS))
	go generate ./internal/probe
	go run ./internal/gen
	go run ./cmd/rstwhy man --markdown docs/reference/cli

.PHONY: check-generated
check-generated: generate ## make them anew, and fail if they differ from what is committed
	changed=$$(git status --porcelain --untracked-files=all -- $(GENERATED))
	if test -n "$$changed"; then
		git --no-pager diff --stat -- $(GENERATED)
		printf 'generated files differ from what is committed: run make generate with %s, look at the difference, and commit it:\n%s\n' "$$(clang-19 --version | head -n 1)" "$$changed" >&2
		exit 1
	fi

.PHONY: lint
lint: check-go ## go vet, staticcheck, gofmt, go mod tidy, shellcheck
	$(call need,lint,$(LINT_TOOLS))
	go vet ./...
	go vet -tags guest ./internal/guest ./cmd/rstwhy
	go tool staticcheck -checks inherit,ST1000 ./...
	unformatted=$$(gofmt -l cmd internal)
	if test -n "$$unformatted"; then
		printf 'not formatted, run gofmt -w on:\n%s\n' "$$unformatted" >&2
		exit 1
	fi
	go mod tidy -diff
	go -C deploy/tools mod tidy -diff
	shellcheck .ci/run deploy/release deploy/package-version deploy/provision deploy/*.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist cover.out

# ecapture. `make help` lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-print-directory
export PATH := $(HOME)/.cargo/bin:$(PATH):$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ecapture-tools/bin

PREFIX  ?= /usr/local
DESTDIR ?=

ARCH   := $(shell uname -m)
TARGET := $(ARCH)-unknown-linux-gnu
OUT     = $(or $(CARGO_TARGET_DIR),target)
STEP   := scripts/step
DEPS   := scripts/deps
# Probes need root; builds stay the user's own, also in `sudo make demo`.
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo -E)
AS_USER := $(if $(SUDO),,$(if $(filter-out root,$(SUDO_USER)),sudo -u $(SUDO_USER) -H))

# ---- the static binary: libbpf from its crate, libelf and zlib from the distribution

# Since elfutils 0.189 libelf.a may use zstd; pkg-config says whether this one does. Rust puts link arguments last, where it belongs.
LIBDIR    = $(shell pkg-config --variable=libdir libelf)
LIBZSTD   = $(patsubst -lzstd,-C link-arg=-lzstd,$(filter -lzstd,$(shell pkg-config --static --libs libelf)))
# elfutils 0.192 (Debian 13) left functions out of its libelf.a (sourceware bug 32293): there libbpf-sys builds its own libelf.
BROKEN    = $(shell nm $(LIBDIR)/libelf.a 2>/dev/null | awk '/[Tt] eu_search_tree_init/{d=1} /U eu_search_tree_init/{u=1} END{if(u&&!d)print 1}')
FEATURES  = static$(if $(BROKEN),$(,)libbpf-sys/vendored)
,        := ,
STATIC_ENV = RUSTFLAGS="-C target-feature=+crt-static $(if $(BROKEN),,$(LIBZSTD))" \
	LIBBPF_SYS_LIBRARY_PATH_$(subst -,_,$(TARGET))=$(LIBDIR)

all: deps ## build the static release binary, bin/ecapture (the default)
	$(STATIC_ENV) cargo build --profile dist --locked -p ecapture --features $(FEATURES) --target $(TARGET)
	@mkdir -p bin
	@install -m 755 $(OUT)/$(TARGET)/dist/ecapture bin/.ecapture.new && mv bin/.ecapture.new bin/ecapture
	@! ldd bin/ecapture 2>/dev/null | grep '=>' || { echo "bin/ecapture is not static" >&2; exit 1; }
	@ls -l bin/ecapture

nocore: all ## the same: one binary serves kernels with and without BTF

env: ## versions of the tools, and what is missing
	@$(DEPS) show

deps: ## install what the build needs
	@$(DEPS) install build rust

demo: ## build, then watch an HTTPS request on this machine in plaintext
	@$(DEPS) install demo
	@$(AS_USER) $(MAKE) all
	@testing/demo/run

# ---- tests

test: test-deps ## all checks and tests, and a run on Linux 5.10 and 6.1
	@$(MAKE) lint
	@$(STEP) "unit and property tests" cargo test --workspace --locked --quiet $(ROOTLESS)
	@$(MAKE) fuzz-fixed
	@$(MAKE) live
	@$(STEP) "static binary" $(MAKE) all
	@$(STEP) "files of the corpus, a few" $(CORPUS) fetch --ci
	@$(STEP) "inspect on them" $(CORPUS) grade --ci
	@$(MAKE) vm

test-all: test ## make test, and longer: more property cases, newer kernels, kernel TLS, large packages, advisories
	@$(DEPS) install packages
	@PROPTEST_CASES=10000 $(STEP) "property tests, 10,000 cases" cargo test --workspace --locked --release --quiet $(ROOTLESS)
	@$(STEP) "Linux 6.12 and 7.x" testing/vm/smoke 6.12 7.x
	@$(STEP) "SSL_sendfile with kernel TLS" testing/vm/sendfile/run
	@$(STEP) "more test programs" $(MAKE) -C testing/targets rustls $(if $(HAS_GO),go-versions)
	@$(STEP) "live tests, ignored ones too" $(LIVE) --include-ignored
	@$(MAKE) corpus
	@$(MAKE) advisories

test-deps:
	@$(DEPS) install build rust demo test vm deny fuzz

live: ## tests with real programs and real probes; need root
	@$(STEP) "test programs" $(MAKE) -C testing/targets all $(if $(HAS_GO),go)
	@$(if $(HAS_GO),,echo "no Go 1.22 or later: its tests are left out")
	@$(STEP) "live tests" $(LIVE)

# All tests but crates/ecapture/tests/live.
TEST_FILES = $(wildcard crates/*/tests/*.rs) $(patsubst %/main.rs,%,$(wildcard crates/*/tests/*/main.rs))
ROOTLESS   = --lib --bins $(patsubst %,--test %,$(filter-out live,$(basename $(notdir $(TEST_FILES)))))
HAS_GO     = $(shell go env GOVERSION 2>/dev/null | awk -F '[o.]' '$$2 == 1 && $$3 >= 22 { print 1 }')
# Built as the user, run as root.
RUNNER     = $(if $(SUDO),CARGO_TARGET_$(shell echo $(TARGET) | tr a-z- A-Z_)_RUNNER="$(SUDO)")
LIVE       = scripts/again env $(RUNNER) cargo test --locked --release -p ecapture --test live -- --test-threads=1 $(if $(HAS_GO),,--skip go::)

FUZZ_TARGETS = $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
# The timeout is in wall time: long enough for a busy machine.
FUZZ_LIMITS  = -timeout=60 -rss_limit_mb=1024 -malloc_limit_mb=64 -max_len=1048576 -verbosity=0
# One of FUZZ_TARGETS, from the inputs in a folder and those that once broke it.
FUZZ = $(STEP) "fuzz $(1)" cargo fuzz run -s none $(1) $(2)/$(1) $(wildcard fuzz/regressions/$(1)) -- $(FUZZ_LIMITS)
# About 30 s for each on a small machine.
FUZZ_RUNS_decode  = 300000
FUZZ_RUNS_inspect = 2000
fuzz-fixed: ## each fuzz target on its seeds, on what once broke it, and on inputs made of these: always the same ones
	@rm -rf fuzz/corpus/fixed && fuzz/seeds fuzz/corpus/fixed
	@$(foreach target,$(FUZZ_TARGETS),$(call FUZZ,$(target),fuzz/corpus/fixed) -seed=1 -runs=$(FUZZ_RUNS_$(target));)

FUZZ_SECONDS ?= 30
fuzz: ## each fuzz target for FUZZ_SECONDS (30) on new inputs; what breaks is in fuzz/artifacts, and belongs in fuzz/regressions
	@fuzz/seeds fuzz/corpus
	@$(foreach target,$(FUZZ_TARGETS),$(call FUZZ,$(target),fuzz/corpus) -max_total_time=$(FUZZ_SECONDS);)

CORPUS = testing/corpus/corpus
corpus: ## what is found in 100 files of packages, and docs/corpus.md; fetches 4 GB once
	@test -x bin/ecapture || $(MAKE) all
	@$(STEP) "files of the corpus" $(CORPUS) fetch
	@$(CORPUS) table > docs/.corpus.md && mv docs/.corpus.md docs/corpus.md
	@$(STEP) "inspect on them" $(CORPUS) grade

VM_KERNELS ?= 5.10 6.1
vm: ## the static binary on Linux 5.10 and 6.1, in QEMU
	@$(STEP) "Linux $(VM_KERNELS)" testing/vm/smoke $(VM_KERNELS)

lint: ## formatting, clippy, dependencies
	@$(STEP) "cargo fmt" cargo fmt --all --check
	@$(STEP) "clang-format" clang-format --dry-run $(FORMAT_STRICT) $(C_FILES)
	@$(STEP) "clippy" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	@$(STEP) "cargo deny" cargo deny --log-level error check licenses bans sources

advisories: ## known vulnerabilities in dependencies; needs a cargo-deny with default features, and the network
	@$(STEP) "advisories" cargo deny check advisories

format: ## format Rust and C
	cargo fmt --all
	clang-format -i $(C_FILES)

bench: ## micro benchmarks, then bench/run where there is one
	@$(DEPS) install build rust
	cargo bench --workspace --locked
	@if [ -x bench/run ]; then $(MAKE) all && bench/run; fi

C_FILES = $(shell find crates/ecapture/src/bpf testing/targets testing/vm -name build -prune -o -name '*.[ch]' -print)
# Versions of clang-format differ in small things: 14 decides, others only show what they would change.
FORMAT_STRICT = $(if $(findstring version 14.,$(shell clang-format --version)),-Werror)

# ---- install

install: ## copy bin/ecapture and its manual page to $(DESTDIR)$(PREFIX)
	@test -x bin/ecapture || { echo "bin/ecapture does not exist: run make first" >&2; exit 1; }
	install -D -m 755 bin/ecapture $(DESTDIR)$(PREFIX)/bin/ecapture
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	bin/ecapture man > $(DESTDIR)$(PREFIX)/share/man/man1/ecapture.1

uninstall: ## remove it again
	rm -f $(DESTDIR)$(PREFIX)/bin/ecapture $(DESTDIR)$(PREFIX)/share/man/man1/ecapture.1

clean: ## remove all that was built
	cargo clean
	$(MAKE) -C testing/targets clean
	rm -rf bin fuzz/target

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: all nocore env deps demo test test-all test-deps live fuzz fuzz-fixed corpus vm lint advisories format bench install uninstall clean help
.DEFAULT_GOAL := all

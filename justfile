# What is done with this repository, by name. `./justw NAME` installs what is missing first.

set positional-arguments

# List the recipes
[private]
default:
    @just --list --unsorted

# Run a whole cluster in one process: frontend on http://127.0.0.1:9999
dev *ARGS: dev-binary
    @exec "${CARGO_TARGET_DIR:-target}/debug/gcache" dev "$@"

[private]
dev-binary:
    @cargo build --bin gcache

# Start a throw-away PostgreSQL on loopback: its URL is the first line
pg *ARGS:
    @exec tests/postgres "$@"

# Run all tests but the long histories, or those that ARGS of nextest select
test *ARGS: oldest-release
    @# The feature lets the simulation make a driver's mistakes, to see that it finds them.
    @if [ $# -eq 0 ]; then set -- -E 'not test(thousands_of_histories)'; fi; \
        set -x; cargo nextest run --features simulation "$@"

[private]
test-all: oldest-release
    cargo nextest run --features simulation

# Build the executable of the oldest release that present nodes must live with, once
oldest-release:
    @tests/oldest-release

# Simulate SEEDS clusters from seed SEED on, as many wild ones and a tenth as many rollouts, optimised; one that breaks a promise tells how
sim SEEDS SEED="0":
    GCACHE_SIM_SEEDS="$1" GCACHE_SIM_SEED="$2" cargo test --locked --release --features simulation --test sim -- seed_breaks_a_promise --nocapture

# Verify N histories on real processes, with every fault in turn: changes of rows that are deleted or reset
histories N:
    GCACHE_HISTORIES="$1" cargo test --locked --features simulation --test it -- thousands_of_histories --nocapture

# Replace all voters of three nodes within seconds, N times in a row, under load
rollovers N:
    GCACHE_ROLLOVERS="$1" cargo test --locked --features simulation --test it -- all_voters_are_replaced --nocapture

# Run everything that must pass before a push
ci: fmt-check lint doc deny test-all counts

# Run the benchmarks, or those that ARGS select
bench *ARGS:
    cargo bench "$@"

# Count what the hot paths cost and compare it with what is kept; --bless keeps it
counts *ARGS:
    cargo bench --locked --quiet --bench counts -- "$@"

# Compare the processor time per request of two gcache executables that take turns: A B [ROUNDS]
turns *ARGS:
    @exec bench/turns "$@"

# Compare with nginx and memcached, groupcache and Redis on this machine
bench-rivals *ARGS:
    cargo bench --bench rivals -- "$@"

# Measure the commits and the idle load of three real nodes on this machine's disk
bench-control *ARGS:
    cargo bench --bench cluster -- control "$@"

# Measure how fast a cluster forms, heals and tells, with real processes that are killed
bench-faults *ARGS:
    cargo bench --bench cluster -- faults "$@"

# Watch clusters under load while nodes join, leave and die; NAMEs select scenarios
bench-moves *ARGS:
    cargo bench --bench cluster -- moves "$@"

# Format the code
fmt:
    cargo fmt --all

# Check the format
fmt-check:
    cargo fmt --all -- --check

# Check the code and the scripts for what a reviewer should not have to say
lint:
    @# By pattern: those that are only run when named are not among all benches.
    cargo clippy --locked --lib --bins --tests --bench '*' --features simulation -- -D warnings
    @if command -v shellcheck >/dev/null; then shellcheck justw .ci/run .cargo/c++ bench/turns tests/postgres tests/oldest-release; else echo "shellcheck is not installed: scripts are not checked"; fi

# Build the documentation; a broken link is an error
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --features simulation --no-deps --document-private-items

# Build for development
build:
    cargo build --locked --all-targets

# Build for production
release:
    cargo build --locked --release

# Check the dependencies: bans, licenses and sources
deny:
    cargo deny --locked check bans licenses sources

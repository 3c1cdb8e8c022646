# What a contributor runs. `just` alone lists it.

_list:
    @just --list --unsorted

# A mail domain on loopback ports to try things on
demo *arguments:
    cargo run --release -- demo {{arguments}}

# Lints and house rules, without running a test
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo run -q --locked -p xtask -- tidy

# Every test; installs the mail clients that it needs
test:
    tests/run

# What CI runs
ci:
    .ci/run

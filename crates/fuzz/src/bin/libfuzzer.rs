//! The long run: libFuzzer drives the target that `FUZZ_TARGET` names. See `README.md`.
#![no_main]

use std::sync::LazyLock;

use fuzz::Target;

#[allow(clippy::expect_used, reason = "there is nothing to run otherwise")]
static TARGET: LazyLock<Target> = LazyLock::new(|| {
    Target::named(&std::env::var("FUZZ_TARGET").unwrap_or_default()).expect("FUZZ_TARGET names a target")
});

libfuzzer_sys::fuzz_target!(|octets: &[u8]| (TARGET.run)(octets));

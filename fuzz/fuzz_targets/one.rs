//! One target under libFuzzer, chosen by the environment variable `TARGET`.

#![no_main]

use std::sync::LazyLock;

use onionscrape_fuzz::{Target, find};

static TARGET: LazyLock<Target> =
    LazyLock::new(|| find(&std::env::var("TARGET").unwrap_or_default()).expect("TARGET names a target"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));

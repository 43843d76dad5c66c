//! Making a body small and having it back: one of 57 kB and one of 10 MB, by itself and against the one before,
//! from which one number in twenty is different.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use onionscrape::compression::{Coding, Decoder, Dictionary, Gathered, encode};

fn page(length: usize, seed: usize) -> Bytes {
    let mut text = String::new();
    for n in 0.. {
        let value = n * 7 + if (n * 31 + seed).is_multiple_of(20) { seed } else { 0 };
        writeln!(text, "app_requests_total{{handler=\"/api/{}\",code=\"{}\"}} {value}", n / 9, n % 9)
            .unwrap();
        if text.len() >= length {
            break;
        }
    }
    text.into()
}

/// Decodes as a bridge does, which keeps the body for the next one.
fn decode(coding: Coding, known: Option<Arc<Dictionary>>, encoded: &Bytes) -> Option<Dictionary> {
    let (mut decoder, mut input, mut gathered) =
        (Decoder::new(coding, known), encoded.clone(), Gathered::default());
    while let Some(part) = decoder.next(&mut input).unwrap() {
        gathered.expect(decoder.announced().unwrap_or_default());
        gathered.push(&part);
    }
    assert!(decoder.is_at_end());
    gathered.finish()
}

fn compression(criterion: &mut Criterion) {
    for (name, length) in [("57 kB", 57_000), ("10 MB", 10_000_000)] {
        let (before, body) = (page(length, 1), page(length, 2));
        let known = Arc::new(Dictionary::new(before).unwrap());
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64)).sample_size(20);
        for (way, coding, known) in
            [("by itself", Coding::Zstd, None), ("against the one before", Coding::Dcz, Some(known))]
        {
            let encoded: Bytes = encode(&body, known.as_deref()).unwrap().into();
            println!("{name} {way}: {} bytes", encoded.len());
            group.bench_function(format!("encode {way}"), |bencher| {
                bencher.iter(|| black_box(encode(&body, known.as_deref())));
            });
            group.bench_function(format!("decode {way}"), |bencher| {
                bencher.iter(|| black_box(decode(coding, known.clone(), &encoded)));
            });
        }
    }
}

criterion_group!(benches, compression);
criterion_main!(benches);

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use prometheus_client::metrics::gauge::Gauge;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use zstd::zstd_safe::{CCtx, CParameter};

use super::*;

/// Metrics of which some are different for each seed.
fn page(lines: usize, seed: u64) -> Bytes {
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = String::new();
    for n in 0..lines {
        let more = if random.random_range(0..20) == 0 { random.random_range(0..1000) } else { 0 };
        let value = n * 7 + more;
        text += &format!("app_requests_total{{handler=\"/api/{}\",code=\"{}\"}} {value}\n", n / 9, n % 9);
    }
    text.into()
}

fn dictionary(body: &Bytes) -> Arc<Dictionary> {
    Arc::new(Dictionary::new(body.clone()).expect("long enough"))
}

/// What comes out of `encoded`, put in `step` bytes at a time.
fn decoded(mut decoder: Decoder, encoded: &[u8], step: usize) -> Result<Vec<u8>, Undecodable> {
    let mut body = Vec::new();
    for part in encoded.chunks(step) {
        let mut part = Bytes::copy_from_slice(part);
        while let Some(more) = decoder.next(&mut part)? {
            assert!(more.len() <= 64 << 10, "{} at once", more.len());
            body.extend_from_slice(&more);
        }
        assert!(part.is_empty());
    }
    if decoder.is_at_end() { Ok(body) } else { Err(Undecodable) }
}

#[test]
fn what_is_made_small_comes_out_as_it_was() {
    let (first, second) = (page(900, 1), page(900, 2));
    let known = dictionary(&first);
    let alone = encode(&second, None).expect("small");
    let against = encode(&second, Some(&known)).expect("smaller");
    assert!(against.len() * 3 < alone.len(), "{} of {}", against.len(), alone.len());
    for step in [1, 7, 39, 40, 41, 1 << 20] {
        let decoder = Decoder::new(Coding::Zstd, None);
        assert_eq!(decoded(decoder, &alone, step).as_deref(), Ok(&second[..]));
        let decoder = Decoder::new(Coding::Dcz, Some(known.clone()));
        assert_eq!(decoded(decoder, &against, step).as_deref(), Ok(&second[..]));
    }
}

#[test]
fn any_body_against_any_other_comes_out_as_it_was() {
    let mut random = StdRng::seed_from_u64(3);
    let mut made_small = [0; 2];
    for _ in 0..60 {
        let mut noise = |most: usize| {
            let mut bytes = vec![0; random.random_range(0..most)];
            // Few letters, so that some of it repeats, or all of them, so that nothing does.
            let letters = [4, 256][random.random_range(0..2)];
            bytes.fill_with(|| u8::try_from(random.random_range(0..letters)).expect("a byte"));
            bytes
        };
        let (one, other) = (noise(300_000), noise(3_000));
        let mut second = one.clone();
        let at = second.len() / 2;
        second.splice(at..at, other.iter().copied());
        for (known, body) in [(&one, &second), (&second, &one), (&other, &one), (&one, &other)] {
            let known = Dictionary::new(known.clone().into()).map(Arc::new);
            for known in [None, known] {
                let Some(encoded) = encode(body, known.as_deref()) else { continue };
                let coding = if known.is_some() { Coding::Dcz } else { Coding::Zstd };
                made_small[usize::from(known.is_some())] += 1;
                assert!(encoded.len() <= body.len() / 10 * 9);
                assert_eq!(decoded(Decoder::new(coding, known), &encoded, 4096).as_ref(), Ok(body));
            }
        }
    }
    assert!(made_small.iter().all(|count| *count > 5), "{made_small:?}");
}

#[test]
fn a_long_body_is_told_by_all_of_a_long_one() {
    let (first, second) = (page(180_000, 1), page(180_000, 2));
    assert!(first.len() > 9 << 20, "{} is more than a window", first.len());
    let known = dictionary(&first);
    let encoded = encode(&second, Some(&known)).expect("small");
    let alone = encode(&second, None).expect("small");
    assert!(encoded.len() * 3 < alone.len(), "{} of {}", encoded.len(), alone.len());
    let decoder = Decoder::new(Coding::Dcz, Some(known));
    assert_eq!(decoded(decoder, &encoded, 1 << 14).as_deref(), Ok(&second[..]));
    assert_eq!(decoded(Decoder::new(Coding::Zstd, None), &alone, 1 << 14).as_deref(), Ok(&second[..]));
}

#[test]
fn a_body_in_parts_comes_out_as_it_was() {
    let body = page(60_000, 1);
    for step in [100, 9_999, 1 << 20, 1 << 30] {
        let (mut encoder, mut encoded) = (StreamEncoder::new().expect("memory"), Vec::new());
        for part in body.chunks(step) {
            encoded.extend(encoder.push(part).expect("encoded"));
        }
        encoded.extend(encoder.finish().expect("encoded"));
        assert!(encoded.len() * 5 < body.len());
        assert_eq!(decoded(Decoder::new(Coding::Zstd, None), &encoded, 4096).as_deref(), Ok(&body[..]));
        encoded.pop();
        assert_eq!(decoded(Decoder::new(Coding::Zstd, None), &encoded, 4096), Err(Undecodable));
    }
}

#[test]
fn what_would_not_be_smaller_is_left_alone() {
    let mut noise = vec![0; 5000];
    StdRng::seed_from_u64(4).fill_bytes(&mut noise);
    assert_eq!(encode(&noise, None), None);
    assert_eq!(encode(&noise, Some(&dictionary(&page(900, 1)))), None);
    assert_eq!(encode(b"", None), None);
    assert_eq!(encode(b"up 1\n", None), None);
}

#[test]
fn what_was_changed_on_the_way_never_comes_out_whole() {
    let (first, second) = (page(300, 1), page(300, 2));
    let known = dictionary(&first);
    let mut random = StdRng::seed_from_u64(5);
    for (coding, encoded) in [
        (Coding::Zstd, encode(&second, None).expect("small")),
        (Coding::Dcz, encode(&second, Some(&known)).expect("small")),
    ] {
        let outcome = |encoded: &[u8]| decoded(Decoder::new(coding, Some(known.clone())), encoded, 512);
        for end in (0..encoded.len()).step_by(3) {
            assert_eq!(outcome(&encoded[..end]), Err(Undecodable), "{coding:?} cut at {end}");
        }
        for _ in 0..500 {
            let mut changed = encoded.clone();
            changed[random.random_range(0..encoded.len())] ^= 1 << random.random_range(0..8);
            let outcome = outcome(&changed);
            assert!(outcome.as_ref().map_or(true, |body| *body == second), "{coding:?}");
        }
        let more = [&encoded[..], b"more"].concat();
        assert_eq!(outcome(&more), Err(Undecodable));
    }
}

#[test]
fn the_dictionary_must_be_the_one_that_was_offered() {
    let (first, second, third) = (page(300, 1), page(300, 2), page(300, 3));
    let encoded = encode(&third, Some(&dictionary(&first))).expect("small");
    for offered in [None, Some(dictionary(&second))] {
        let outcome = decoded(Decoder::new(Coding::Dcz, offered), &encoded, 512);
        assert_eq!(outcome, Err(Undecodable));
    }
    // By the right name, and made with another: the checksum tells.
    let mut lie = encode(&third, Some(&dictionary(&second))).expect("small");
    lie[8..40].copy_from_slice(&dictionary(&first).digest().0);
    assert_eq!(decoded(Decoder::new(Coding::Dcz, Some(dictionary(&first))), &lie, 512), Err(Undecodable));
    assert_eq!(decoded(Decoder::new(Coding::Zstd, None), &third, 512), Err(Undecodable));
}

#[test]
fn a_window_is_no_larger_than_it_may_be() {
    let frame = |log: u32| {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::WindowLog(log)).expect("a window");
        // Without the size in the head, the window stands there.
        context.set_parameter(CParameter::ContentSizeFlag(false)).expect("no size");
        let mut frame = Vec::with_capacity(1 << 16);
        context.compress2(&mut frame, &vec![b'a'; 100 << 20]).expect("made");
        frame
    };
    let mut decoder = Decoder::new(Coding::Zstd, None);
    let _ = decoder.next(&mut encode(&page(900, 1), None).expect("small").into());
    assert_eq!(decoder.announced(), Some(page(900, 1).len() as u64));
    let of_a_large = frame(24);
    let of_the_largest = decoded(Decoder::new(Coding::Zstd, None), &frame(23), 1 << 10);
    assert_eq!(of_the_largest.map(|body| body.len()), Ok(100 << 20));
    assert_eq!(decoded(Decoder::new(Coding::Zstd, None), &of_a_large, 1 << 10), Err(Undecodable));
    assert_eq!((largest_window(0), largest_window(6 << 20)), (8 << 20, 8 << 20));
    assert_eq!((largest_window(8 << 20), largest_window(1 << 30)), (10 << 20, 128 << 20));
}

#[test]
fn a_gathered_body_is_the_dictionary_that_the_whole_is() {
    let body = page(300, 1);
    let mut gathered = Gathered::default();
    gathered.expect(u64::MAX);
    body.chunks(1000).for_each(|part| gathered.push(part));
    let gathered = gathered.finish().expect("a dictionary");
    let whole = dictionary(&body);
    assert_eq!((gathered.digest(), gathered.bytes()), (whole.digest(), whole.bytes()));

    let short = Bytes::from_static(b"up 1\n");
    assert!(Dictionary::new(short).is_none());
    let structured = [&[0x37, 0xa4, 0x30, 0xec][..], &body].concat();
    assert!(Dictionary::new(structured.into()).is_none());
    let mut long = Gathered::default();
    (0..17).for_each(|_| long.push(&vec![b'a'; 1 << 20]));
    assert!(long.finish().is_none());
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::try_from(*value).expect("a value"))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        headers.append(name, value);
    }
    headers
}

#[test]
fn what_an_asker_takes_is_understood() {
    let known = dictionary(&page(300, 1));
    let offered = available(known.digest()).expect("a value").to_str().expect("text").to_owned();
    let both = "accept-encoding";
    let of = |fields: &[(&'static str, &str)]| Accepted::of(&headers(fields));
    let (zstd, nothing) = (Accepted { zstd: true, dcz: None }, Accepted::default());
    assert_eq!(of(&[]), nothing);
    assert_eq!(of(&[(both, "gzip")]), nothing);
    assert_eq!(of(&[(both, "gzip, ZSTD;q=0.1")]), zstd);
    assert_eq!(of(&[(both, "zstd;q=0"), (both, "br")]), nothing);
    assert_eq!(of(&[(both, "zstd;q=x")]), nothing);
    assert_eq!(of(&[(both, "gzip"), (both, "zstd")]), zstd);
    assert_eq!(of(&[(both, "dcz, zstd")]), Accepted { zstd: true, dcz: Some(None) });
    let with = |dictionary: &str| of(&[(both, "dcz, zstd"), ("available-dictionary", dictionary)]).dcz;
    assert_eq!(with(&offered), Some(Some(known.digest())));
    for wrong in ["", ":", "::", ":AAAA:", &offered[1..], &offered.replace('=', ""), "?1"] {
        assert_eq!(with(wrong), Some(None), "{wrong}");
    }
    let two = [(both, "dcz"), ("available-dictionary", &offered), ("available-dictionary", &offered)];
    assert_eq!(of(&two).dcz, Some(None));
    // A dictionary that nobody wants to use.
    assert_eq!(of(&[(both, "zstd"), ("available-dictionary", &offered)]), zstd);

    for (said, allowed) in [
        ("gzip", true),
        ("identity;q=0", false),
        ("*;q=0", false),
        ("gzip, *;q=0, identity;q=0.5", true),
        ("gzip;q=0", true),
    ] {
        assert_eq!(is_identity_allowed(&headers(&[(both, said)])), allowed, "{said}");
    }
}

#[test]
fn an_answer_is_a_dictionary_for_its_own_path() {
    let said = use_as("/metrics").expect("a value");
    assert_eq!(said, "match=\"/metrics\"");
    let answer = headers(&[("use-as-dictionary", "match=\"/metrics\"")]);
    assert!(can_be_used(&answer, "/metrics") && !can_be_used(&answer, "/other"));
    let other = headers(&[("use-as-dictionary", "match=\"/metrics\", type=sketch")]);
    assert!(!can_be_used(&other, "/metrics") && !can_be_used(&HeaderMap::new(), "/metrics"));
    assert!(use_as("/a\"b").is_none());
}

fn of_length(kilobytes: usize, seed: u8) -> Arc<Dictionary> {
    // Nothing in it repeats, so that it is kept as it is.
    let mut bytes = vec![0; kilobytes << 10];
    StdRng::seed_from_u64(seed.into()).fill_bytes(&mut bytes);
    Arc::new(Dictionary::new(bytes.into()).expect("long enough"))
}

/// As whoever has made a body keeps it.
fn keep(shelf: &Shelf, body: &Arc<Dictionary>, past: Option<Digest>) -> bool {
    shelf.keep(shelf.stored(body.clone()), past)
}

fn replace(shelf: &Shelf, asked: u64, body: &Arc<Dictionary>) -> bool {
    shelf.replace(asked, shelf.stored(body.clone()))
}

#[test]
fn a_body_of_text_is_kept_in_less_memory_once_there_are_some_and_comes_back_as_it_was() {
    let taken = Gauge::default();
    let body = dictionary(&page(900, 1));
    let length = body.bytes().len() as i64;
    let shelf = Dictionaries::new(length as u64 * 6, taken.clone()).shelf();
    assert!(keep(&shelf, &body, None));
    assert_eq!(taken.get(), length, "a quarter of the room is for those as they are");
    assert!(replace(&shelf, 7, &body));
    assert!((length..2 * length).contains(&taken.get()), "{} for twice {length}", taken.get());
    for kept in [shelf.known(body.digest()), shelf.last(7)] {
        let kept = kept.expect("kept");
        assert_eq!((kept.digest(), kept.length()), (body.digest(), body.bytes().len()));
        assert_eq!(kept.open().expect("as it was").bytes(), body.bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_past_or_stale_make_room_and_no_others() {
    let taken = Gauge::default();
    let all = Dictionaries::new(10 << 10, taken.clone());
    let (one, other) = (all.shelf(), all.shelf());
    let [a, b, c, d] = [1, 2, 3, 4].map(|seed| of_length(4, seed));
    let digest = |of: &Arc<Dictionary>| of.digest();
    assert!(keep(&one, &a, None) && keep(&other, &b, None));
    assert!(!keep(&one, &c, None), "both are in use");
    assert!(one.known(digest(&b)).is_none(), "it is another exporter's");
    assert!(keep(&one, &c, Some(digest(&a))));
    assert!(one.known(digest(&a)).is_none() && one.known(digest(&c)).is_some());
    assert_eq!(taken.get(), 8 << 10);
    // What is used stays, what is not makes room.
    tokio::time::advance(Duration::from_secs(200)).await;
    assert!(other.known(digest(&b)).is_some());
    tokio::time::advance(Duration::from_secs(200)).await;
    assert!(keep(&other, &d, None));
    assert!(one.known(digest(&c)).is_none() && other.known(digest(&b)).is_some());
    assert!(!keep(&one, &of_length(11, 9), None), "more than there is at all");
    other.forget(digest(&b));
    assert_eq!(taken.get(), 4 << 10);
    drop(other);
    assert_eq!(taken.get(), 0);
}

#[test]
fn one_exporter_has_a_few_bodies() {
    let all = Dictionaries::new(1 << 30, Gauge::default());
    let shelf = all.shelf();
    let bodies: Vec<_> = (0..20).map(|seed| of_length(1, seed)).collect();
    // Further ones push none out that may yet be asked for, or none would ever be of use.
    let kept: Vec<_> = bodies.iter().map(|body| keep(&shelf, body, None)).collect();
    assert_eq!(kept, [vec![true; 8], vec![false; 12]].concat());
    // One that is the same again takes no second place.
    assert!(keep(&shelf, &bodies[7], Some(bodies[7].digest())));
    for body in &bodies[..7] {
        assert!(shelf.known(body.digest()).is_some());
    }
    // Whoever got the eighth would say so, and not have another.
    assert!(shelf.known(bodies[19].digest()).is_none());
    assert!(keep(&shelf, &bodies[8], None));
    let known = |body: &Arc<Dictionary>| shelf.known(body.digest()).is_some();
    assert!(known(&bodies[8]) && !known(&bodies[7]) && known(&bodies[0]));
}

#[test]
fn the_last_one_is_that_which_was_asked_for_in_the_same_way() {
    let taken = Gauge::default();
    let shelf = Dictionaries::new(1 << 20, taken.clone()).shelf();
    let [a, b, c] = [1, 2, 3].map(|seed| of_length(1, seed));
    assert!(replace(&shelf, 7, &a) && replace(&shelf, 8, &b) && replace(&shelf, 7, &c));
    let last = |asked: u64| shelf.last(asked).map(|last| last.digest());
    assert_eq!((last(7), last(8), last(9)), (Some(c.digest()), Some(b.digest()), None));
    assert_eq!(taken.get(), 2 << 10);
}

#[test]
fn gathering_has_a_bound_too() {
    let shelf = Dictionaries::new(10, Gauge::default()).shelf();
    let (mut one, mut other) = (shelf.room(), shelf.room());
    assert!(one.take(6) && other.take(4) && !one.take(1) && !other.take(usize::MAX));
    drop(other);
    assert!(one.take(4) && !one.take(1));
}

use super::*;
use crate::exporter::ExporterFailure;
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;

fn patterns(texts: &[&str]) -> Option<Patterns> {
    let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
    (!texts.is_empty()).then(|| Patterns::new(texts).expect("patterns"))
}

fn rules(keep: &[&str], drop: &[&str]) -> Arc<MetricFilter> {
    Arc::new(MetricFilter::new(patterns(keep), patterns(drop)).expect("a rule"))
}

/// What goes on of a text that arrives in pieces of `size`, and how many samples do not.
fn pass(rules: &Arc<MetricFilter>, text: &[u8], size: usize) -> Result<(String, u64), ExporterFailure> {
    let dropped = Counter::default();
    let mut filtering = Filtering::new(rules.clone(), dropped.clone());
    let mut passed = Vec::new();
    for piece in text.chunks(size.max(1)) {
        passed.extend_from_slice(&filtering.push(piece)?);
    }
    passed.extend_from_slice(&filtering.finish()?);
    Ok((String::from_utf8(passed).expect("UTF-8"), dropped.get()))
}

/// The same for every size of the pieces, which must not matter.
fn passed(keep: &[&str], drop: &[&str], text: &str) -> (String, u64) {
    let rules = rules(keep, drop);
    let whole = pass(&rules, text.as_bytes(), text.len()).expect("it can be filtered");
    for size in 1..20 {
        assert_eq!(pass(&rules, text.as_bytes(), size).expect("it can be filtered"), whole, "{size}");
    }
    whole
}

const CLASSIC: &str = "\
# HELP go_goroutines Goroutines.
# TYPE go_goroutines gauge
go_goroutines 7
# A comment.
# TYPE took_seconds histogram
# HELP took_seconds How long, with \\\\ and # in it.
took_seconds_bucket{le=\"1\",path=\"/{x} y\"} 1
took_seconds_bucket{le=\"+Inf\"} 2
took_seconds_sum 3
took_seconds_count 2
# TYPE rpc_seconds summary
rpc_seconds{quantile=\"0.5\"} 1
rpc_seconds_sum 1
rpc_seconds_count 1
# HELP asked_total Requests.
# TYPE asked_total counter
asked_total{code=\"200\"} 5 1700000000000
bare 1

bare_count 2
";

const OPEN: &str = "\
# TYPE asked counter
# HELP asked Requests.
asked_total{code=\"200\"} 5 # {trace=\"a b\"} 1
asked_created{code=\"200\"} 1.7e9
# HELP build What was built.
# TYPE build info
build_info{version=\"1\"} 1
# TYPE took_seconds histogram
# UNIT took_seconds seconds
took_seconds_bucket{le=\"+Inf\"} 2
took_seconds_created 1.7e9
# TYPE wait gaugehistogram
wait_bucket{le=\"+Inf\"} 2
wait_gsum 1
wait_gcount 2
# EOF
";

fn without(text: &str, dropped: impl Fn(&str) -> bool) -> String {
    text.split_inclusive('\n').filter(|line| !dropped(line)).collect()
}

#[test]
fn a_family_goes_as_a_whole_or_not_at_all() {
    for (family, samples) in [("took_seconds", 4), ("rpc_seconds", 3), ("asked_total", 1)] {
        let rest = without(CLASSIC, |line| line.contains(family));
        assert_eq!(passed(&[], &[family], CLASSIC), (rest, samples), "{family}");
    }
    for (family, samples) in [("asked", 2), ("build", 1), ("took_seconds", 2), ("wait", 3)] {
        let rest = without(OPEN, |line| line.contains(family));
        assert_eq!(passed(&[], &[family], OPEN), (rest, samples), "{family}");
    }
    let rest = without(CLASSIC, |line| line.starts_with("bare "));
    assert_eq!(passed(&[], &["bare"], CLASSIC), (rest.replace("\n\n", "\n"), 1));
}

#[test]
fn what_is_kept_is_the_rest() {
    let kept = without(CLASSIC, |line| !line.contains("took_seconds"));
    assert_eq!(passed(&["took_.*"], &[], CLASSIC), (kept.clone(), 7));
    assert_eq!(passed(&["took_.*", "rpc_.*"], &["rpc_.*"], CLASSIC), (kept, 7), "drop has the last word");
    assert_eq!(passed(&["nothing"], &[], OPEN), ("# EOF\n".into(), 8));
    assert_eq!(passed(&[".*"], &[], OPEN), (OPEN.into(), 0));
    assert_eq!(
        passed(&[], &["sket", "asked.", "took", ".*_bucket"], OPEN),
        (OPEN.into(), 0),
        "the whole name"
    );
    assert_eq!(passed(&[], &["a|asked|b"], OPEN).1, 2, "an alternative is inside what is anchored");
}

#[test]
fn a_counter_is_known_by_both_its_names_in_both_formats() {
    for name in ["asked", "asked_total"] {
        assert_eq!(passed(&[], &[name], CLASSIC).1, 1, "{name}");
        assert_eq!(passed(&[], &[name], OPEN).1, 2, "{name}");
        assert_eq!(passed(&[name], &[], OPEN).1, 6, "{name}");
    }
    assert_eq!(passed(&[], &["build_info"], OPEN).1, 1);
}

#[test]
fn names_in_quotes() {
    let text = "# TYPE \"my.metric\" histogram\n# HELP \"my.metric\" H\n{\"my.metric_bucket\",le=\"1\"} 1\n\
                {\"my.metric_sum\"} 1\nother{\"a.b\"=\"c\"} 1\n{ \"with \\\"quotes\\\"\" , x=\"y\"} 1\n";
    assert_eq!(passed(&[], &["my[.]metric"], text).0, text.split_inclusive('\n').skip(4).collect::<String>());
    assert_eq!(passed(&["other"], &[], text), ("other{\"a.b\"=\"c\"} 1\n".into(), 3));
    assert_eq!(passed(&[], &["with \"quotes\""], text).1, 1);
}

#[test]
fn layout_does_not_matter() {
    let text = "  # \t HELP   a\tHelp\r\n#TYPE a counter\r\n\ta\t1\r\n a {x=\"y\"} 1\r\nb 1";
    assert_eq!(passed(&[], &["a"], text), ("b 1".into(), 2));
    assert_eq!(passed(&[], &["b"], text), (text.strip_suffix("b 1").expect("b").into(), 1));
    assert_eq!(passed(&[], &["x"], ""), (String::new(), 0));
    assert_eq!(passed(&[], &["x"], "# HELP y Y"), ("# HELP y Y".into(), 0));
}

#[test]
fn what_cannot_be_told_apart_is_an_error() {
    let rules = rules(&[], &["x"]);
    for bad in [
        &b"\x0a\x1f\x0a\x0dgo_goroutines\x12"[..],
        b"a-b 1\n",
        b"<html>\n",
        b"{\"label\"=\"x\"} 1\n",
        b"{le=\"1\"} 1\n",
        b"{\"open\n",
        b"# TYPE\n",
        b"# HELP a\xff\n",
        b"\x1f\x8b\x08\x00",
    ] {
        let failed = pass(&rules, bad, 3).expect_err("no text");
        assert_eq!(failed, ExporterFailure::Unfilterable, "{}", bad.escape_ascii());
    }
}

#[test]
fn nothing_is_held_without_end() {
    const MIB: usize = 1 << 20;
    let rules = rules(&[], &["x"]);
    let line = |length: usize| format!("a{{b=\"{}\"}} 1\n", "c".repeat(length - 10));
    let fits = line(MIB);
    assert_eq!(pass(&rules, fits.as_bytes(), 5000), Ok((fits.clone(), 0)));
    assert_eq!(pass(&rules, line(MIB + 1).as_bytes(), 5000), Err(ExporterFailure::LongLine));
    assert_eq!(pass(&rules, line(MIB + 1).as_bytes(), 2 * MIB), Err(ExporterFailure::LongLine));
    assert_eq!(pass(&rules, &vec![b'a'; MIB + 1], 5000), Err(ExporterFailure::LongLine));
    let helps = "# HELP a Help.\n".repeat(MIB / 10);
    assert_eq!(pass(&rules, helps.as_bytes(), 5000), Err(ExporterFailure::LongLine));
}

#[test]
fn expressions_are_bounded_and_complete() {
    for (text, what) in [
        ("(", "unclosed group"),
        ("a)|(b", "unopened group"),
        ("(a{1000}){1000}", "it becomes larger than 1048576 bytes"),
        ("(?=a)", "look-around"),
    ] {
        let error = Patterns::check(text).expect_err(text);
        assert!(error.contains(what) && !error.contains('\n'), "{error}");
    }
    let many = vec!["a{9000}".to_owned(); 20];
    assert!(many.iter().all(|one| Patterns::check(one).is_ok()));
    assert!(Patterns::new(many).is_err(), "the bound is for all of them together");
}

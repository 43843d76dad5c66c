//! Hours and hops as pictures: SVG with geometry in attributes and colours by class, since the pages
//! allow no style of their own.

use std::fmt::Write as _;

use askama::filters::{Html, escape};

use crate::history::{BUCKET, BUCKETS, KEPT};
use crate::overview::{BucketOverview, ScrapeOverview};

/// Width of five minutes, in a row and on a target's own page.
const NARROW: usize = 2;
const WIDE: usize = 10;
/// Height of the line in a row, and of the strip below it.
const LINE: f64 = 17.0;
const STRIP: usize = 4;
/// Height of the pictures on a target's own page.
const TALL: f64 = 110.0;
const LOW: f64 = 36.0;
/// Width of a scrape with the gap after it, and the height of the longest.
const SCRAPE: usize = 13;
const BAR: usize = 11;
const HIGH: f64 = 60.0;

/// The five minutes at each place, the oldest first. Placed by their number: by the time of their first
/// scrape two could fall on one place.
fn places(history: &[BucketOverview]) -> Vec<Option<&BucketOverview>> {
    let mut places: Vec<Option<&BucketOverview>> = vec![None; BUCKETS];
    for bucket in history {
        if let Some(place) = places.iter_mut().rev().nth(bucket.parts_ago) {
            *place = Some(bucket);
        }
    }
    places
}

/// The last hours in a row of the table: how long half of the scrapes took, and below it whether they
/// were good.
pub(super) fn spark(history: &[BucketOverview]) -> String {
    if history.is_empty() {
        return String::new();
    }
    let places = places(history);
    let highest = medians(&places).fold(0.0, f64::max);
    let mut svg = open("spark", BUCKETS * NARROW, LINE as usize + 3 + STRIP);
    let line = line(&places, NARROW, LINE, highest);
    let _ = write!(svg, "<path class=\"line\" d=\"{line}\"/>");
    // Neighbours that are alike are drawn at once.
    let kind = |bucket: Option<&BucketOverview>| match bucket {
        None => "",
        Some(bucket) if bucket.failures == 0 => "good",
        Some(bucket) if bucket.failures < bucket.scrapes => "some",
        Some(_) => "bad",
    };
    let mut at = 0;
    for same in places.chunk_by(|a, b| kind(*a) == kind(*b)) {
        let class = kind(same[0]);
        // What failed stands higher, so that it is seen without colours.
        let height = match class {
            "good" => STRIP / 2,
            "some" => STRIP - 1,
            _ => STRIP,
        };
        if !class.is_empty() {
            rect(
                &mut svg,
                class,
                at * NARROW,
                LINE as usize + 3 + STRIP - height,
                same.len() * NARROW,
                height,
            );
        }
        at += same.len();
    }
    svg + "</svg>"
}

/// How long scrapes took in the last hours: the longest as bars, half of them as a line.
pub(super) fn latency(history: &[BucketOverview]) -> String {
    let places = places(history);
    let longest = places.iter().flatten().filter_map(|bucket| bucket.max_seconds).fold(0.0, f64::max);
    let mut svg = open("latency", BUCKETS * WIDE, TALL as usize);
    grid(&mut svg, TALL as usize);
    for (place, bucket) in places.iter().enumerate() {
        if let Some(max) = bucket.and_then(|bucket| bucket.max_seconds) {
            let height = (scaled(max, longest, TALL) as usize).max(1);
            rect(&mut svg, "longest", place * WIDE + 1, TALL as usize - height, WIDE - 2, height);
        }
    }
    let line = line(&places, WIDE, TALL, longest);
    let _ = write!(svg, "<path class=\"line\" d=\"{line}\"/>");
    svg + "</svg>"
}

/// Which share of the scrapes was good in the last hours; what failed hangs from above.
pub(super) fn success(history: &[BucketOverview]) -> String {
    let mut svg = open("success", BUCKETS * WIDE, LOW as usize);
    for (place, bucket) in places(history).into_iter().enumerate() {
        let Some(bucket) = bucket else { continue };
        let failed = f64::from(bucket.failures) / f64::from(bucket.scrapes.max(1));
        let mut bad = (failed * LOW) as usize;
        if bucket.failures > 0 {
            bad = bad.max(4);
        }
        if bad > 0 {
            rect(&mut svg, "bad", place * WIDE + 1, 0, WIDE - 2, bad);
        }
        if bad < LOW as usize {
            rect(&mut svg, "good", place * WIDE + 1, bad, WIDE - 2, LOW as usize - bad);
        }
    }
    svg + "</svg>"
}

/// One scrape as a bar of its hops.
pub(super) struct HopBar {
    /// In words.
    pub(super) title: String,
    failed: bool,
    /// Class and time in seconds, the first hop first.
    hops: Vec<(String, f64)>,
}

impl HopBar {
    /// Each hop of it in words, with the class of its colour.
    pub(super) fn legend(&self) -> Vec<(&str, String)> {
        self.hops.iter().map(|(hop, took)| (hop.as_str(), super::words::seconds(Some(*took)))).collect()
    }

    fn seconds(&self) -> f64 {
        self.hops.iter().map(|(_, took)| took).sum()
    }
}

/// The scrapes as bars, the latest last.
pub(super) fn hop_bars(scrapes: &[ScrapeOverview]) -> Vec<HopBar> {
    let bar = |scrape: &ScrapeOverview| {
        let time = scrape.at.get(11..19).unwrap_or_default();
        let took = super::words::seconds(Some(scrape.seconds));
        let mut title = format!("{time} UTC, {took}: ");
        let hops = scrape.hops.iter();
        let hops = hops.map(|(hop, took)| format!("{hop} {}", super::words::seconds(Some(*took))));
        title += &hops.collect::<Vec<_>>().join(", ");
        if let Some(failure) = &scrape.failure {
            let _ = write!(title, "; failed: {failure}");
        }
        HopBar { title, failed: scrape.failure.is_some(), hops: scrape.hops.clone() }
    };
    scrapes.iter().map(bar).collect()
}

/// The bars as a picture.
pub(super) fn hops(bars: &[HopBar]) -> String {
    let longest = bars.iter().map(HopBar::seconds).fold(0.0, f64::max);
    let mut svg = open("hops", KEPT * SCRAPE, HIGH as usize + 12);
    let _ = write!(svg, "<path class=\"grid\" d=\"M0 {0}.5H{1}\"/>", HIGH as usize + 11, KEPT * SCRAPE);
    let first = KEPT - bars.len().min(KEPT);
    for (place, bar) in bars.iter().take(KEPT).enumerate() {
        let x = (first + place) * SCRAPE;
        let _ = write!(svg, "<g><title>{}</title>", escaped(&bar.title));
        // All of the column shows the title.
        rect(&mut svg, "hover", x, 0, SCRAPE, HIGH as usize + 11);
        let mut below = 0.0;
        for (hop, took) in &bar.hops {
            let (from, to) = (scaled(below, longest, HIGH), scaled(below + took, longest, HIGH));
            below += took;
            let height = to - from;
            if height >= 0.3 {
                let y = HIGH + 11.0 - to;
                let _ = write!(
                    svg,
                    "<rect class=\"hop-{hop}\" x=\"{x}\" y=\"{y:.1}\" width=\"{BAR}\" height=\"{height:.1}\"/>"
                );
            }
        }
        if bar.failed {
            let (left, top) = (x + 2, HIGH + 1.0 - scaled(below, longest, HIGH));
            let _ = write!(svg, "<path class=\"cross\" d=\"M{left} {top:.1}l7 7m0-7l-7 7\"/>");
        }
        svg += "</g>";
    }
    svg + "</svg>"
}

/// As it may stand in a page: a device has had a say in it.
fn escaped(text: &str) -> String {
    // Writing to a String does not fail.
    escape(text, Html).map(|text| text.to_string()).unwrap_or_default()
}

fn medians<'a>(places: &'a [Option<&'a BucketOverview>]) -> impl Iterator<Item = f64> {
    places.iter().flatten().filter_map(|bucket| bucket.p50_seconds)
}

/// Half of the scrapes took no longer: a line that is broken where there were none.
fn line(places: &[Option<&BucketOverview>], width: usize, height: f64, highest: f64) -> String {
    let mut path = String::new();
    let mut drawn = false;
    for (place, bucket) in places.iter().enumerate() {
        let Some(median) = bucket.and_then(|bucket| bucket.p50_seconds) else {
            drawn = false;
            continue;
        };
        let (x, y) = (place * width + width / 2, 1.0 + height - scaled(median, highest, height));
        let _ = write!(path, "{}{x} {y:.0}", if drawn { 'L' } else { 'M' });
        if !drawn {
            // So that one alone is a dot.
            path += "h0";
        }
        drawn = true;
    }
    path
}

fn scaled(value: f64, highest: f64, height: f64) -> f64 {
    if highest > 0.0 { (value / highest).clamp(0.0, 1.0) * height } else { 0.0 }
}

/// A picture that words beside it say, too, so nothing of it is read out.
fn open(class: &str, width: usize, height: usize) -> String {
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
    )
}

/// A line at each hour.
fn grid(svg: &mut String, height: usize) {
    let hour = (3600 / BUCKET.as_secs()) as usize * WIDE;
    let lines: String = (1..6).map(|number| format!("M{} 0v{height}", number * hour)).collect();
    let _ = write!(svg, "<path class=\"grid\" d=\"{lines}\"/>");
}

fn rect(svg: &mut String, class: &str, x: usize, y: usize, width: usize, height: usize) {
    let _ =
        write!(svg, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>");
}

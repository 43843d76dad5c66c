//! The pages for people at `/` and `/target/NAME`: made here, readable without script, and kept up to
//! date with a little of it.
//!
//! - [`view`]: what of the fleet is asked for, and in which order;
//! - [`chart`]: hours and hops as pictures;
//! - [`words`]: times and shares as people read them;
//! - [`recipe`]: how to scrape an exporter by every surface;
//! - [`asset`]: style, script and icon.

pub mod asset;
mod chart;
mod recipe;
mod view;
mod words;

use std::time::SystemTime;

use askama::Template;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};
use onionscrape::http::{Body, page};

use crate::overview::{BridgeOverview, ExporterOverview, Overview, TargetOverview};
use asset::{ICON, SCRIPT, STYLE};
use chart::HopBar;
use recipe::{Recipe, recipes};
pub use recipe::{Surroundings, fleet_recipe, scheme_and_access};
use view::{Choice, Column, View};

/// What a page may do in a browser: load what comes from here, and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);
/// Seconds between two looks of the script, and how many more for each target: a large page is not made
/// all the time.
const EVERY: f64 = 3.0;
const EVERY_TARGET: f64 = 0.012;

/// The page with all targets, as `query` has them.
pub fn fleet(overview: &Overview, query: &str, around: &Surroundings) -> Response<Body> {
    html(render_fleet(overview, query, around, SystemTime::now()))
}

/// The page of one target.
pub fn target(bridge: &BridgeOverview, target: &TargetOverview, around: &Surroundings) -> Response<Body> {
    html(render_target(bridge, target, around, SystemTime::now()))
}

fn html(rendered: String) -> Response<Body> {
    let mut response = page("text/html; charset=utf-8", rendered);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What every page has.
struct Frame<'a> {
    bridge: &'a BridgeOverview,
    style: &'a str,
    script: &'a str,
    icon: &'a str,
    every: u32,
    refused_ago: String,
}

impl<'a> Frame<'a> {
    fn new(bridge: &'a BridgeOverview, targets: usize, now: SystemTime) -> Self {
        Self {
            bridge,
            style: STYLE.path(),
            script: SCRIPT.path(),
            icon: ICON.path(),
            every: (EVERY + EVERY_TARGET * targets as f64) as u32,
            refused_ago: words::ago(bridge.config_refused_at.as_deref(), now),
        }
    }
}

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage<'a> {
    frame: Frame<'a>,
    total: usize,
    choices: Vec<Choice>,
    columns: Vec<Column>,
    rows: Vec<Row<'a>>,
    search: &'a str,
    recipe: String,
}

#[derive(Template)]
#[template(path = "target.html")]
struct TargetPage<'a> {
    frame: Frame<'a>,
    row: Row<'a>,
    latency: String,
    success: String,
    longest: String,
    failures: String,
    exporters: Vec<Exporter<'a>>,
    /// True if there is a proxy to go through.
    proxied: bool,
}

/// A target as both pages show it.
struct Row<'a> {
    target: &'a TargetOverview,
    since: String,
    last_good: String,
    p50: String,
    p95: String,
    success: String,
    spark: String,
    /// Exporters that failed though the session is up.
    failing: Vec<&'a ExporterOverview>,
}

struct Exporter<'a> {
    exporter: &'a ExporterOverview,
    bars: Vec<HopBar>,
    picture: String,
    last: String,
    recipes: Vec<Recipe>,
    job: String,
}

impl<'a> Row<'a> {
    fn new(target: &'a TargetOverview, now: SystemTime) -> Self {
        Self {
            target,
            since: words::ago(Some(&target.since), now),
            last_good: words::ago(target.last_good_scrape.as_deref(), now),
            p50: words::seconds(target.latency_p50_seconds),
            p95: words::seconds(target.latency_p95_seconds),
            success: words::share(view::success(target)),
            spark: chart::spark(&target.history),
            failing: view::failing(target),
        }
    }

    fn lasted(&self) -> &str {
        self.since.trim_end_matches(" ago")
    }
}

fn render_fleet(overview: &Overview, query: &str, around: &Surroundings, now: SystemTime) -> String {
    let view = View::of(query);
    let rows = view.select(&overview.targets);
    let page = FleetPage {
        frame: Frame::new(&overview.bridge, overview.targets.len(), now),
        total: overview.targets.len(),
        choices: view.choices(&overview.targets),
        columns: view.columns(),
        rows: rows.into_iter().map(|target| Row::new(target, now)).collect(),
        search: &view.search,
        recipe: fleet_recipe(around),
    };
    // Writing to a String does not fail.
    page.render().unwrap_or_default()
}

fn render_target(
    bridge: &BridgeOverview,
    target: &TargetOverview,
    around: &Surroundings,
    now: SystemTime,
) -> String {
    let longest = target.history.iter().filter_map(|bucket| bucket.max_seconds).reduce(f64::max);
    let (scrapes, failures) = view::counted(target);
    let exporters = target.exporters.iter().map(|exporter| {
        let bars = chart::hop_bars(&exporter.scrapes);
        Exporter {
            exporter,
            picture: chart::hops(&bars),
            last: exporter.scrapes.last().map(|last| words::ago(Some(&last.at), now)).unwrap_or_default(),
            recipes: recipes(target, exporter, around),
            job: recipe::job(target, exporter, around),
            bars,
        }
    });
    let page = TargetPage {
        frame: Frame::new(bridge, 1, now),
        row: Row::new(target, now),
        latency: chart::latency(&target.history),
        success: chart::success(&target.history),
        longest: words::seconds(longest),
        failures: words::failures(scrapes, failures),
        exporters: exporters.collect(),
        proxied: around.proxy.is_some(),
    };
    page.render().unwrap_or_default()
}

#[cfg(test)]
mod tests;

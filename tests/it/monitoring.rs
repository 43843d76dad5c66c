//! What `monitoring/` offers to who runs Prometheus and Grafana: it is sound, and it asks for series
//! that the two programs have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::checkout::repository;
use crate::exporters::{Exporter, Manner};
use crate::http::{Scraper, scrape};
use crate::prometheus::Prometheus;
use crate::world::World;

/// Series that Prometheus itself writes for whatever it scrapes.
const OF_PROMETHEUS: [&str; 2] = ["up", "scrape_duration_seconds"];
/// Labels that Prometheus gives to every series, with values that are the operator's to choose.
const OF_A_JOB: [&str; 2] = ["job", "instance"];
/// Words of PromQL that a list of labels in parentheses follows.
const LABELS_FOLLOW: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words of PromQL that are no names of series.
const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];

fn folder() -> PathBuf {
    repository("monitoring")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
}

fn alerts() -> Vec<Rule> {
    let rules: Rules = serde_saphyr::from_str(&read("alerts.yml")).unwrap();
    let rules: Vec<_> = rules.groups.into_iter().flat_map(|group| group.rules).collect();
    assert!(rules.len() >= 15, "only {} alerts", rules.len());
    rules
}

/// Every query of the dashboard: of its panels, and of its variables.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    assert!(found.len() >= 40, "only {} queries", found.len());
    found
}

fn collect(of: &Value, found: &mut Vec<String>) {
    match of {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value) {
                    ("expr", Value::String(query)) => found.push(query.clone()),
                    // `label_values(SERIES, LABEL)` is Grafana's own.
                    ("query" | "definition", Value::String(query)) => {
                        if let Some(inside) = query.strip_prefix("label_values(") {
                            found.push(inside.rsplit_once(", ").unwrap().0.to_owned());
                        }
                    }
                    _ => collect(value, found),
                }
            }
        }
        _ => {}
    }
}

/// Prometheus' own tool, which has to be content.
pub fn promtool(arguments: &[&str]) {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).current_dir(folder());
    let said = block_in_place(|| promtool.output()).unwrap();
    assert!(said.status.success(), "{arguments:?}: {said:?}");
}

pub async fn rules_and_queries_are_sound(world: &World) {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
    let (tests, readme) = (read("alerts_test.yml"), read("README.md"));
    for Rule { alert, .. } in alerts() {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n");
        assert!(tests.contains(&fires), "no test has {alert} fire");
        assert!(readme.contains(&format!("| `{alert}` |")), "no line says what to do at {alert}");
    }

    // Grafana puts these in; a file of rules is how promtool is given single queries.
    let rules: Vec<_> = dashboard()
        .iter()
        .enumerate()
        .map(|(n, query)| {
            let query = query.replace("[$__rate_interval]", "[5m]").replace("[$__range]", "[6h]");
            json!({"record": format!("dashboard:{n}"), "expr": query})
        })
        .collect();
    let file = world.folder().join("dashboard.yml");
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
}

pub async fn every_series_exists(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["app", "agent"])]).await;
    // Families without a series are not written. After a session there is none such any more: values
    // of labels that are known beforehand are at 0 from the start.
    monitor.connected("backpack").await;
    let agent = scrape(&monitor.address("backpack", "agent")).await;
    assert_eq!((agent.status, agent.complete), (200, true), "{agent:?}");
    let mut there = Series::default();
    there.add(agent.text());
    there.add(&monitor.metrics().await);
    there.add(&OF_PROMETHEUS.map(|name| format!("{name} 1\n")).concat());

    let mut mistakes = Vec::new();
    for Rule { alert, expr } in alerts() {
        mistakes.extend(there.mistakes(&expr).into_iter().map(|mistake| format!("{alert}: {mistake}")));
    }
    for query in dashboard() {
        mistakes.extend(there.mistakes(&query).into_iter().map(|mistake| format!("{query}: {mistake}")));
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));

    // A name that is misspelt is found, wherever it stands.
    for (query, misspelt) in [
        ("sum(increase(onionscrape_scrape_request_total[5m])) > 0", "onionscrape_scrape_request_total"),
        ("up == 0 and on (instance) onionscape_ssh_sessions", "onionscape_ssh_sessions"),
        ("onionscrape_tor_blocked{kinds=\"offline\"} == 1", "kinds"),
        ("onionscrape_ssh_denied_total{request!~\"session|shel\"}", "shel"),
        ("sum by (targets) (onionscrape_target_connected)", "targets"),
    ] {
        let found = there.mistakes(query);
        assert!(found.len() == 1 && found[0].contains(misspelt), "{query}: {found:?}");
    }
}

pub async fn prometheus_gets_open_metrics_of_both_programs(world: &World) {
    // What Prometheus 2.42 sends.
    const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let device = world.device(&[]).await;
    let monitor = world.monitor(&[("backpack", &device, &["agent"])]).await;
    monitor.connected("backpack").await;
    let places = [monitor.bridge.admin().to_string(), monitor.address("backpack", "agent")];
    for place in &places {
        let mut scraper = Scraper::connect(place).await;
        let open = scraper.get("/metrics", &[("accept", ACCEPT)]).await;
        let kind = open.header("content-type");
        assert_eq!(kind, Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
        assert!(open.text().ends_with("\n# EOF\n") && open.complete, "{}", open.text());
        let classic = scraper.get("/metrics", &[]).await;
        assert_eq!(classic.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        check_classic(classic.text());
    }
    let jobs = places.each_ref().map(|place| {
        format!(
            "  - job_name: \"{place}\"\n    static_configs:\n      - targets: [\"{place}\"]\n        labels:\n          \
             instance: \"{place}\"\n"
        )
    });
    let config = format!("global:\n  scrape_interval: 1s\nscrape_configs:\n{}", jobs.concat());
    let prometheus = Prometheus::start(world, &config, &[]);
    for place in &places {
        prometheus.until_up(place, "").await;
    }
    let targets = prometheus.targets().await;
    assert!(targets.iter().all(|target| target["lastError"] == ""), "{targets:?}");
}

/// What `promtool check metrics` finds nothing wrong with.
fn check_classic(text: &str) {
    let mut command = Command::new(tornet::process::find("promtool").unwrap());
    command.args(["check", "metrics"]);
    if let Err(why) = block_in_place(|| tornet::process::run(&command, text)) {
        panic!("{why}\n{text}");
    }
}

/// The series that there are: their names, the labels that they have, and the values of these.
#[derive(Default)]
struct Series(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Series {
    /// Adds what a page in the classic text format has.
    fn add(&mut self, page: &str) {
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let known = self.0.entry(name.to_owned()).or_default();
            // No value of ours has a comma in it.
            for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
                let (label, value) = label.split_once('=').unwrap();
                known.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
            }
        }
    }

    /// What a query asks for that there is not.
    fn mistakes(&self, query: &str) -> Vec<String> {
        let (selectors, grouped_by) = parts(query);
        let mut mistakes = Vec::new();
        if selectors.is_empty() {
            mistakes.push("asks for nothing".to_owned());
        }
        for Selector { name, labels } in selectors {
            let Some(known) = self.0.get(name) else {
                mistakes.push(format!("there is no {name}"));
                continue;
            };
            for (label, values) in labels.into_iter().filter(|(label, _)| !OF_A_JOB.contains(label)) {
                let Some(known) = known.get(label) else {
                    mistakes.push(format!("{name} has no label {label}"));
                    continue;
                };
                // What Grafana puts in is not looked at.
                for value in values.split('|').filter(|value| !value.starts_with('$')) {
                    if !known.contains(value) {
                        mistakes.push(format!("{label} of {name} is never {value}"));
                    }
                }
            }
        }
        for label in grouped_by {
            if !OF_A_JOB.contains(&label) && !self.0.values().any(|known| known.contains_key(label)) {
                mistakes.push(format!("nothing has the label {label}"));
            }
        }
        mistakes
    }
}

/// A series that a query asks for, with the labels it must have; values as they are written.
struct Selector<'q> {
    name: &'q str,
    labels: Vec<(&'q str, &'q str)>,
}

/// The selectors of a PromQL query, and the labels that it groups and matches by. That the query is
/// well formed is promtool's to say.
fn parts(query: &str) -> (Vec<Selector<'_>>, Vec<&str>) {
    let (mut selectors, mut grouped_by) = (Vec::new(), Vec::new());
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_no_letter = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':';
        let (word, after) = rest.split_at(rest.find(is_no_letter).unwrap_or(rest.len()));
        let after = after.trim_start();
        let is_function = ["(", "by ", "without "].iter().any(|next| after.starts_with(next));
        let left = if word.is_empty() {
            let after = &rest[first.len_utf8()..];
            match first {
                '"' => after.split_once('"').unwrap().1,
                '[' => after.split_once(']').unwrap().1,
                _ => after,
            }
        } else if LABELS_FOLLOW.contains(&word) {
            let (labels, after) = after.strip_prefix('(').unwrap().split_once(')').unwrap();
            grouped_by.extend(labels.split(',').map(str::trim).filter(|label| !label.is_empty()));
            after
        } else if is_function || OPERATORS.contains(&word) || word.starts_with(|c: char| c.is_ascii_digit()) {
            after
        } else if let Some(after) = after.strip_prefix('{') {
            let (labels, after) = after.split_once('}').unwrap();
            let labels = labels.split(',').map(|label| {
                let (name, value) = label.split_once('"').unwrap();
                (name.trim().trim_end_matches(['=', '~', '!']), value.trim_end().trim_end_matches('"'))
            });
            selectors.push(Selector { name: word, labels: labels.collect() });
            after
        } else {
            selectors.push(Selector { name: word, labels: Vec::new() });
            after
        };
        rest = left.trim_start();
    }
    (selectors, grouped_by)
}

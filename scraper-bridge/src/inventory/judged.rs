//! What is taken of an inventory. A device may be somebody else's by now, so nothing in it is believed
//! that could name another target, another address, or be without end.

use std::collections::{BTreeMap, HashSet};
use std::mem::take;

use hyper::StatusCode;
use onionscrape::pairing::{Inventory, Item, VERSION, is_label};
use onionscrape::schedule::{Schedule, prometheus};

use super::Reply;
use crate::discovery::OURS;

/// Most exporters that are taken from a device.
const MAX_EXPORTERS: usize = 64;
/// Most labels of one exporter that are taken from a device, and the longest value in letters.
const MAX_LABELS: usize = 32;
const MAX_VALUE: usize = 200;

/// Why an inventory, or something in it, is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The body is larger than an inventory can be.
    TooLarge,
    /// It is not of the expected form, or there is none.
    Malformed,
    /// It is of another version.
    Version,
    /// It has too many exporters.
    TooManyExporters,
    /// Two of its exporters have one name.
    SameName,
    /// A label that a device cannot set.
    Label,
    /// The value of a label is too long.
    LabelValue,
    /// A label more than an exporter may have.
    TooManyLabels,
    /// An interval or a timeout that is none.
    Schedule,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::TooLarge,
        Self::Malformed,
        Self::Version,
        Self::TooManyExporters,
        Self::SameName,
        Self::Label,
        Self::LabelValue,
        Self::TooManyLabels,
        Self::Schedule,
    ];

    /// Its value of the metrics label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::TooManyExporters => "too_many_exporters",
            Self::SameName => "same_name",
            Self::Label => "label",
            Self::LabelValue => "label_value",
            Self::TooManyLabels => "too_many_labels",
            Self::Schedule => "schedule",
        }
    }

    /// What it says in the log, of a whole inventory.
    fn what(self) -> &'static str {
        match self {
            Self::TooLarge => "it is too large",
            Self::Version => "it is of another version; use releases that fit each other",
            Self::TooManyExporters => "it has too many exporters",
            Self::SameName => "two exporters have one name",
            _ => "it is not of the expected form",
        }
    }
}

/// Why no inventory is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub reason: Refusal,
    /// What a person should know.
    pub what: String,
}

impl From<Refusal> for Refused {
    fn from(reason: Refusal) -> Self {
        Self { reason, what: format!("the device's inventory cannot be used: {}", reason.what()) }
    }
}

/// The inventory in a reply, with only in it what a device may say, and how often something was left out.
///
/// # Errors
/// Says why there is none that can be used.
pub fn parse(reply: &Reply) -> Result<(Inventory, BTreeMap<Refusal, u64>), Refused> {
    if reply.status != StatusCode::OK {
        let what = format!("the device does not say what it has: status {}", reply.status.as_u16());
        return Err(Refused { reason: Refusal::Malformed, what });
    }
    let inventory: Inventory = serde_json::from_slice(&reply.body).map_err(|_| Refusal::Malformed)?;
    Ok(judge(inventory)?)
}

/// What is taken of an inventory, and how often something was left out.
///
/// # Errors
/// When none of it is taken.
pub fn judge(mut inventory: Inventory) -> Result<(Inventory, BTreeMap<Refusal, u64>), Refusal> {
    if inventory.version != VERSION {
        return Err(Refusal::Version);
    }
    if inventory.exporters.len() > MAX_EXPORTERS {
        return Err(Refusal::TooManyExporters);
    }
    let names: HashSet<_> = inventory.exporters.iter().map(|exporter| &exporter.name).collect();
    if names.len() != inventory.exporters.len() {
        return Err(Refusal::SameName);
    }
    let mut left_out = BTreeMap::new();
    for item in &mut inventory.exporters {
        restrict(item, |why| *left_out.entry(why).or_default() += 1);
    }
    Ok((inventory, left_out))
}

fn restrict(item: &mut Item, mut leave_out: impl FnMut(Refusal)) {
    for (name, value) in take(&mut item.labels) {
        if !is_label(&name) || OURS.contains(&name.as_str()) {
            leave_out(Refusal::Label);
        } else if value.chars().count() > MAX_VALUE || name.len() > MAX_VALUE {
            leave_out(Refusal::LabelValue);
        } else if item.labels.len() >= MAX_LABELS {
            leave_out(Refusal::TooManyLabels);
        } else {
            item.labels.insert(name, value.chars().filter(|letter| !letter.is_control()).collect());
        }
    }
    let asked = Schedule::asked(item.scrape_interval.as_deref(), item.scrape_timeout.as_deref());
    let schedule = asked.unwrap_or_else(|_| {
        leave_out(Refusal::Schedule);
        None
    });
    item.scrape_interval = schedule.map(|schedule| prometheus(schedule.interval));
    item.scrape_timeout = schedule.and_then(|schedule| schedule.timeout).map(prometheus);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(exporters: serde_json::Value) -> Reply {
        let body = serde_json::json!({"version": 1, "exporters": exporters}).to_string();
        Reply { status: StatusCode::OK, revision: None, body: body.into() }
    }

    fn one(more: serde_json::Value) -> (Item, BTreeMap<Refusal, u64>) {
        let mut item = serde_json::json!({"name": "node", "path": "/metrics"});
        item.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
        let (mut inventory, left_out) = parse(&reply([item].into())).expect("an inventory");
        (inventory.exporters.remove(0), left_out)
    }

    #[test]
    fn a_device_names_its_labels_and_nobody_elses() {
        let (item, left_out) = one(serde_json::json!({"labels": {
            "room": "attic", "instance": "other", "job": "other", "exporter": "other",
            "__address__": "169.254.169.254:80", "__metrics_path__": "/secret",
            "1st": "no", "a-b": "no", "": "no", "lines": "a\nb\u{7}",
            "long": "x".repeat(MAX_VALUE + 1),
        }}));
        let taken: Vec<_> = item.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(taken, [("lines", "ab"), ("room", "attic")]);
        assert_eq!(left_out, [(Refusal::Label, 8), (Refusal::LabelValue, 1)].into());
    }

    #[test]
    fn ten_thousand_labels_are_thirty_two() {
        let labels: serde_json::Map<_, _> =
            (0..10_000).map(|number| (format!("l{number}"), "x".into())).collect();
        let (item, left_out) = one(serde_json::json!({"labels": labels}));
        assert_eq!(item.labels.len(), MAX_LABELS);
        assert_eq!(left_out, [(Refusal::TooManyLabels, 10_000 - MAX_LABELS as u64)].into());
    }

    #[test]
    fn a_schedule_is_brought_within_bounds_or_left_out() {
        let asked = |interval: &str, timeout: &str| {
            let (item, left_out) =
                one(serde_json::json!({"scrape_interval": interval, "scrape_timeout": timeout}));
            (item.scrape_interval, item.scrape_timeout, left_out)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(asked("1m", "5m"), (text("60s"), text("60s"), BTreeMap::new()));
        assert_eq!(asked("1ns", "1ns"), (text("1s"), text("1s"), BTreeMap::new()));
        for (interval, timeout) in [("30s", "\n\"}"), ("__address__", "10s"), ("", "")] {
            assert_eq!(asked(interval, timeout), (None, None, [(Refusal::Schedule, 1)].into()));
        }
    }

    #[test]
    fn some_inventories_are_not_taken_at_all() {
        let why = |reply: &Reply| parse(reply).expect_err("refused").reason;
        let item = |name: &str| serde_json::json!({"name": name, "path": "/"});
        let many: Vec<_> = (0..=MAX_EXPORTERS).map(|number| item(&format!("e{number}"))).collect();
        assert_eq!(why(&reply(many.into())), Refusal::TooManyExporters);
        assert_eq!(why(&reply([item("a"), item("a")].into())), Refusal::SameName);
        assert_eq!(why(&reply([item("A/../b")].into())), Refusal::Malformed, "no name");
        let newer = r#"{"version": 2, "exporters": []}"#;
        assert_eq!(why(&Reply { body: newer.into(), ..reply([(); 0].into()) }), Refusal::Version);
        let nothing = Reply { status: StatusCode::NOT_FOUND, ..reply([(); 0].into()) };
        assert_eq!(why(&nothing), Refusal::Malformed);
    }
}

//! What of the fleet is asked for, and in which order: what stands in the page's address.

use std::cmp::Ordering;

use crate::overview::{ExporterOverview, TargetOverview};

/// Longest search, in letters.
const LONGEST_SEARCH: usize = 200;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    by: By,
    descending: bool,
    only: Only,
    pub(super) search: String,
}

/// A column to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    State,
    Name,
    Since,
    LastGood,
    P50,
    P95,
    Success,
}

/// Which targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    All,
    Up,
    Trouble,
}

/// The head of a column.
pub(super) struct Column {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    /// For `aria-sort`.
    pub(super) sorted: &'static str,
    pub(super) href: String,
    pub(super) numeric: bool,
}

/// A link to some of the targets.
pub(super) struct Choice {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) count: usize,
    pub(super) chosen: bool,
    pub(super) href: String,
}

const COLUMNS: [(By, &str, &str, bool); 7] = [
    (By::State, "state", "State", false),
    (By::Name, "name", "Target", false),
    (By::Since, "since", "Since", true),
    (By::LastGood, "last", "Last good", true),
    (By::P50, "p50", "p50", true),
    (By::P95, "p95", "p95", true),
    (By::Success, "success", "Success", true),
];
const CHOICES: [(Only, &str, &str); 3] =
    [(Only::All, "all", "All"), (Only::Up, "up", "Up"), (Only::Trouble, "trouble", "In trouble")];

impl View {
    /// What a query asks for; what is not understood is passed over.
    pub(super) fn of(query: &str) -> Self {
        let mut view = Self { by: By::State, descending: false, only: Only::All, search: String::new() };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "sort" => {
                    let found = COLUMNS.iter().find(|column| column.1 == value);
                    view.by = found.map_or(view.by, |column| column.0);
                }
                "order" => view.descending = value == "desc",
                "only" => {
                    let found = CHOICES.iter().find(|choice| choice.1 == value);
                    view.only = found.map_or(view.only, |choice| choice.0);
                }
                "q" => view.search = value.chars().take(LONGEST_SEARCH).collect(),
                _ => {}
            }
        }
        view
    }

    /// The targets that are asked for, in order.
    pub(super) fn select<'a>(&self, targets: &'a [TargetOverview]) -> Vec<&'a TargetOverview> {
        let words: Vec<String> = self.search.split_whitespace().map(str::to_lowercase).collect();
        let is_found = |target: &&TargetOverview| words.iter().all(|word| mentions(target, word));
        let mut found: Vec<_> =
            targets.iter().filter(|target| self.only.has(target)).filter(is_found).collect();
        found.sort_by(|a, b| {
            let order = self.by.compare(a, b);
            let order = if self.descending { order.reverse() } else { order };
            // What has no number comes last, whichever way.
            self.by.lacks(a).cmp(&self.by.lacks(b)).then(order).then_with(|| a.name.cmp(&b.name))
        });
        found
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        let column = |(by, key, title, numeric): (By, &'static str, &'static str, bool)| {
            let (sorted, descending) = match (by == self.by, self.descending) {
                (true, false) => ("ascending", true),
                (true, true) => ("descending", false),
                (false, _) => ("none", false),
            };
            let href = Self { by, descending, search: self.search.clone(), ..*self }.href();
            Column { key, title, sorted, href, numeric }
        };
        COLUMNS.map(column).into()
    }

    pub(super) fn choices(&self, targets: &[TargetOverview]) -> Vec<Choice> {
        let choice = |(only, key, title): (Only, &'static str, &'static str)| {
            let count = targets.iter().filter(|target| only.has(target)).count();
            let href = Self { only, search: self.search.clone(), ..*self }.href();
            Choice { key, title, count, chosen: only == self.only, href }
        };
        CHOICES.map(choice).into()
    }

    /// The address of the page that shows this; what is usual is left out.
    fn href(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if self.by != By::State {
            let key = COLUMNS.iter().find(|column| column.0 == self.by).map_or("state", |column| column.1);
            query.append_pair("sort", key);
        }
        if self.descending {
            query.append_pair("order", "desc");
        }
        if self.only != Only::All {
            let key = CHOICES.iter().find(|choice| choice.0 == self.only).map_or("all", |choice| choice.1);
            query.append_pair("only", key);
        }
        if !self.search.is_empty() {
            query.append_pair("q", &self.search);
        }
        let query = query.finish();
        if query.is_empty() { "/".to_owned() } else { format!("/?{query}") }
    }
}

impl By {
    fn compare(self, a: &TargetOverview, b: &TargetOverview) -> Ordering {
        let numbers = |of: fn(&TargetOverview) -> Option<f64>| {
            of(a).unwrap_or_default().total_cmp(&of(b).unwrap_or_default())
        };
        match self {
            Self::State => rank(a).cmp(&rank(b)),
            Self::Name => a.name.cmp(&b.name),
            // The shortest time first, so the latest.
            Self::Since => b.since.cmp(&a.since),
            Self::LastGood => b.last_good_scrape.cmp(&a.last_good_scrape),
            Self::P50 => numbers(|target| target.latency_p50_seconds),
            Self::P95 => numbers(|target| target.latency_p95_seconds),
            Self::Success => numbers(success),
        }
    }

    fn lacks(self, target: &TargetOverview) -> bool {
        match self {
            Self::State | Self::Name | Self::Since => false,
            Self::LastGood => target.last_good_scrape.is_none(),
            Self::P50 | Self::P95 => target.latency_p50_seconds.is_none(),
            Self::Success => success(target).is_none(),
        }
    }
}

impl Only {
    fn has(self, target: &TargetOverview) -> bool {
        let well = target.up && failing(target).is_empty();
        match self {
            Self::All => true,
            Self::Up => well,
            Self::Trouble => !well,
        }
    }
}

/// The worst first.
fn rank(target: &TargetOverview) -> usize {
    let states = ["refused", "waiting", "blocked", "connecting"];
    let down = states.iter().position(|state| *state == target.state);
    down.unwrap_or(if failing(target).is_empty() { states.len() + 1 } else { states.len() })
}

/// True if the word stands in something that the page says of the target.
fn mentions(target: &TargetOverview, word: &str) -> bool {
    let own = [Some(&target.name), Some(&target.state), target.why.as_ref()];
    let exporters =
        target.exporters.iter().flat_map(|exporter| [Some(&exporter.name), exporter.failure.as_ref()]);
    own.into_iter().chain(exporters).flatten().any(|text| text.to_lowercase().contains(word))
}

/// The exporters that failed last though there is a session.
pub(super) fn failing(target: &TargetOverview) -> Vec<&ExporterOverview> {
    if !target.up {
        return Vec::new();
    }
    // A failure for want of a session is over when there is one.
    target.exporters.iter().filter(|exporter| exporter.remedy.is_some()).collect()
}

/// Scrapes and failures of the last hours.
pub(super) fn counted(target: &TargetOverview) -> (u64, u64) {
    target.history.iter().fold((0, 0), |(scrapes, failures), bucket| {
        (scrapes + u64::from(bucket.scrapes), failures + u64::from(bucket.failures))
    })
}

/// The share of good scrapes in the last hours.
pub(super) fn success(target: &TargetOverview) -> Option<f64> {
    match counted(target) {
        (0, _) => None,
        (scrapes, failures) => Some((scrapes - failures) as f64 / scrapes as f64),
    }
}

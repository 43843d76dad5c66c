//! Processor time of all processes of a way for a scrape, and bytes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use super::page::{Page, table};
use super::sample::{Ratio, Samples};
use super::usage::{self, CpuTimes};
use super::wire::Connection;
use crate::Failure;
use crate::stage::Stage;

/// A way whose cost is to be known.
pub struct Payer<'a> {
    /// Its line in the table.
    pub title: &'static str,
    /// A connection over which a scrape has gone.
    pub connection: Connection,
    /// Makes another one, after a scrape that failed.
    pub again: Box<dyn Fn() -> Result<Connection, Failure> + 'a>,
    /// What runs for it, by name; what these processes started counts with them.
    pub programs: Vec<(&'static str, u32)>,
    /// The process on the monitor whose connections carry it, and the ports that they lead to.
    pub carrier: (u32, HashSet<u16>),
}

/// What one way costs, in groups by block.
pub struct Cost {
    /// Milliseconds of processor time for a scrape, by program.
    pub by_program: Vec<Samples>,
    /// The same of all of them.
    pub cpu: Samples,
    /// The same where scrapes are as far apart as in life.
    pub cpu_apart: Samples,
    /// Milliseconds of such a scrape.
    pub apart: Samples,
    /// Bytes of a body, as Prometheus gets it.
    pub body: usize,
    /// Bytes to the monitor for a scrape.
    pub received: Samples,
    /// Bytes from the monitor for a scrape.
    pub sent: Samples,
    /// All scrapes; what one costs that failed is not counted.
    pub outcome: Outcome,
}

impl Cost {
    /// Nothing yet.
    const fn new() -> Self {
        Self {
            by_program: Vec::new(),
            cpu: Samples::new(),
            cpu_apart: Samples::new(),
            apart: Samples::new(),
            body: 0,
            received: Samples::new(),
            sent: Samples::new(),
            outcome: Outcome::new(),
        }
    }
}

/// Has the ways take turns, so many blocks of so many scrapes, one scrape right after the other; then so many
/// times one scrape of each as far apart as in life: what changed meanwhile is what bytes are spent on, and what
/// was at hand then is not any more.
///
/// # Errors
/// When a way cannot be had any more, or the system does not tell; a scrape that fails is counted.
pub fn costs(
    payers: &mut [Payer<'_>],
    (blocks, block, apart): (usize, usize, usize),
    stage: &Stage,
) -> Result<Vec<Cost>, Failure> {
    let mut costs: Vec<_> = payers.iter().map(|_| Cost::new()).collect();
    let ways = payers.len();
    for number in 0..blocks {
        for at in (0..ways).map(|way| (way + number) % ways) {
            let (payer, cost) = (&mut payers[at], &mut costs[at]);
            stage.say(format!("block {} of {blocks}, {}", number + 1, payer.title));
            processor(payer, cost, block)?;
        }
    }
    for number in 0..=apart {
        let began = Instant::now();
        for at in (0..ways).map(|way| (way + number) % ways) {
            let (payer, cost) = (&mut payers[at], &mut costs[at]);
            stage.say(format!("scrape {number} of {apart}, {} s apart, {}", INTERVAL.as_secs(), payer.title));
            let single = single(payer, cost)?;
            // The first one comes right after the blocks.
            if let Some(single) = single.filter(|_| number > 0) {
                cost.apart.time(single.took);
                cost.cpu_apart.time(single.processor);
                cost.received.push(single.carried[0] as f64);
                cost.sent.push(single.carried[1] as f64);
            }
        }
        if number < apart {
            super::pause(INTERVAL.saturating_sub(began.elapsed()))?;
        }
    }
    Ok(costs)
}

/// What a block of scrapes takes of processors.
fn processor(payer: &mut Payer<'_>, cost: &mut Cost, block: usize) -> Result<(), Failure> {
    // Blocks of different ways at one time are compared with each other, so one that fails leaves its place empty.
    cost.cpu.next_group();
    let of = |payer: &Payer<'_>| -> Vec<CpuTimes> {
        payer.programs.iter().map(|(_, pid)| CpuTimes::now(&[*pid])).collect()
    };
    let before = of(payer);
    for _ in 0..block {
        if scrape(payer, cost)?.is_none() {
            return Ok(());
        }
    }
    let after = of(payer);
    cost.by_program.resize_with(before.len(), Samples::default);
    let mut sum = 0.0;
    for ((before, after), samples) in before.iter().zip(&after).zip(&mut cost.by_program) {
        let spent = after.since(before).as_secs_f64() * 1000.0 / block as f64;
        samples.push(spent);
        sum += spent;
    }
    cost.cpu.push(sum);
    Ok(())
}

/// One scrape; returns the size of its body, and nothing if it failed.
fn scrape(payer: &mut Payer<'_>, cost: &mut Cost) -> Result<Option<usize>, Failure> {
    let size = cost.outcome.time(|| payer.connection.scrape());
    if size.is_none() {
        payer.connection = (payer.again)()?;
    }
    Ok(size)
}

/// What came of one scrape.
struct Single {
    took: Duration,
    /// Processor time until a little after the answer: other ways have processes in common with this one, so that what
    /// is done between two scrapes is nobody's.
    processor: Duration,
    /// Bytes to the monitor and from it, in the same time.
    carried: [u64; 2],
}

/// One scrape; nothing if it failed.
fn single(payer: &mut Payer<'_>, cost: &mut Cost) -> Result<Option<Single>, Failure> {
    let (pid, ports) = payer.carrier.clone();
    let pids: Vec<_> = payer.programs.iter().map(|(_, pid)| *pid).collect();
    let (carried, spent, began) = (usage::carried(pid, &ports)?, CpuTimes::now(&pids), Instant::now());
    let scraped = scrape(payer, cost)?;
    let took = began.elapsed();
    let Some(body) = scraped else { return Ok(None) };
    cost.body = body;
    // What is on its way belongs to this scrape.
    super::pause(SETTLE)?;
    let processor = CpuTimes::now(&pids).since(&spent);
    Ok(Some(Single { took, processor, carried: usage::carried(pid, &ports)?.since(&carried) }))
}

/// Adds the costs as a table, with ratios to the first line.
pub fn show(page: &mut Page, payers: &[Payer<'_>], costs: &[Cost]) {
    let mut table = table(&[
        "",
        "CPU ms a scrape",
        "CPU / first",
        "of these",
        "CPU ms, 15 s apart",
        "ms, 15 s apart",
        "ms / first",
        "body",
        "TCP bytes in",
        "TCP bytes out",
    ]);
    for (payer, cost) in payers.iter().zip(costs) {
        page.scrapes(&format!("cost, {}", payer.title), &cost.outcome);
        let parts = payer.programs.iter().zip(&cost.by_program);
        let parts: Vec<_> = parts.map(|((name, _), own)| format!("{name} {:.2}", own.mean())).collect();
        let to_first = |of: fn(&Cost) -> &Samples| {
            let ratio = costs.first().map(|first| Ratio::of(of(cost), of(first), 50.0).to_string());
            ratio.unwrap_or_default()
        };
        table.add_row([
            payer.title.to_owned(),
            format!("{:.2}", cost.cpu.percentile(50.0)),
            to_first(|cost| &cost.cpu),
            parts.join(", "),
            format!("{:.1}", cost.cpu_apart.mean()),
            format!("{:.1}", cost.apart.percentile(50.0)),
            to_first(|cost| &cost.apart),
            cost.body.to_string(),
            format!("{:.0}", cost.received.percentile(50.0)),
            format!("{:.0}", cost.sent.percentile(50.0)),
        ]);
    }
    page.table(&table);
}

/// How far apart scrapes are in life; the table's head says so, too.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// How long after an answer bytes are counted.
pub const SETTLE: Duration = Duration::from_millis(300);

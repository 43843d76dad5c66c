//! What a warm scrape costs over Tor.

use super::ground::Ground;
use super::page::Page;
use super::payer::{INTERVAL, Payer, SETTLE, costs, show};
use super::sample::Ratio;
use super::sizes::Sizes;
use super::way::{Source, Way};
use crate::Failure;
use crate::stage::Stage;

/// Measures.
///
/// # Errors
/// When a way cannot be had any more; a scrape that fails is counted.
pub fn measure(ground: &Ground, page: &mut Page, sizes: &Sizes) -> Result<(), Failure> {
    let circuit = ground.circuit()?;
    let rivals = &ground.rivals;
    let (tor, sshd) = (rivals.tor.process().pid(), rivals.sshd.process().pid());
    let [with_ssh, without_ssh] =
        [&rivals.with_ssh, &rivals.without_ssh].map(|service| service.process().pid());
    let (ours, migrating) = (ground.chain.bridge.pid(), ground.migrating.process.pid());
    let relays = ground.relay_ports();
    let programs = [
        (
            vec![
                ("ssh and socat", circuit.forwarding.ssh.pid()),
                ("tor", tor),
                ("tor on the device", with_ssh),
                ("sshd", sshd),
            ],
            tor,
        ),
        (vec![("tor", tor), ("tor on the device", without_ssh)], tor),
        (vec![("scraper-bridge", ours), ("target-agent", ground.chain.agent.pid())], ours),
        (vec![("scraper-bridge", migrating), ("tor on the device", with_ssh), ("sshd", sshd)], migrating),
    ];
    let mut payers: Vec<_> = Way::ALL
        .into_iter()
        .zip(circuit.kept(Source::Node)?)
        .zip(programs)
        .map(|((way, connection), (programs, carrier))| Payer {
            title: way.title(),
            connection,
            again: Box::new({
                let circuit = &circuit;
                move || circuit.up(way, Source::Node)
            }),
            programs,
            carrier: (carrier, relays.clone()),
        })
        .collect();
    let stage = Stage::begin(format!("cost: {} scrapes each", sizes.blocks * sizes.block));
    let costs = costs(&mut payers, (sizes.blocks, sizes.block, sizes.apart), &stage)?;
    stage.done();
    page.section(
        "What a scrape of node_exporter costs, over Tor",
        &format!(
            "CPU: {} blocks of {} scrapes of each way, one right after the other, without delay; that of all threads \
             of all processes of the way (`/proc/PID/task/TID/schedstat`), not of relays and the exporter. The rest is \
             of {} scrapes {} s apart, each until {} ms after the answer: the mean of the processor time, and medians of \
             what the scrape takes and of what TCP carried for the monitor from relays (`in`) and to them (`out`; \
             `ss`): cells, TLS, and what else was on those connections then.",
            sizes.blocks,
            sizes.block,
            sizes.apart,
            INTERVAL.as_secs(),
            SETTLE.as_millis()
        ),
    );
    show(page, &payers, &costs);
    let [recipe, _, ours, ..] = costs.as_slice() else { return Ok(()) };
    page.ratio(
        "CPU of bridge and agent for a scrape, one right after the other",
        "(a)",
        1.0,
        Ratio::of(&ours.cpu, &recipe.cpu, 50.0),
    );
    Ok(())
}

//! The bridge: keeps a warm SSH session to each target and offers its exporters to Prometheus.
//!
//! In reading order:
//! - [`command`]: the command line;
//! - [`config`]: the configuration file;
//! - [`bridge`]: everything tied together;
//! - [`fleet`]: the targets that are kept, and their listeners;
//! - [`offer`]: where an exporter is offered;
//! - [`auto_port`]: ports that the bridge gives out itself;
//! - [`descriptors`]: whether the system allows as many as targets need;
//! - [`reload`]: reading the configuration again;
//! - [`target`]: the owner of a target's session, the only state machine here;
//! - [`dial`]: a byte stream to a target's SSH server, through Tor or where a target says so by TCP;
//! - [`healing`]: what is done when the monitor's own network fails;
//! - [`session`]: SSH over that stream;
//! - [`reverse`]: devices that come by themselves, with a stock `ssh -R`;
//! - [`succession`]: keys and addresses that devices announced in place of theirs;
//! - [`inventory`]: what a device tells of itself;
//! - [`pool`]: kept-alive HTTP connections in a session;
//! - [`scrape`]: one scrape, under one deadline;
//! - [`hops`]: where a scrape's time goes;
//! - [`surface`]: ways in besides a port for each exporter;
//! - [`history`]: the last scrapes of a target;
//! - [`overview`]: how the targets are;
//! - [`status`]: the same as a table;
//! - [`targets`]: which targets there are, whether or not a bridge runs;
//! - [`page`]: the same in a browser;
//! - [`discovery`]: exporters as Prometheus' service discovery has them;
//! - [`failure`]: why a scrape failed, and what Prometheus is told;
//! - [`remedy`]: what a person can do about it;
//! - [`admin`]: what the bridge tells of itself;
//! - [`metrics`]: what it counts;
//! - [`pairing`]: a ticket becomes a target;
//! - [`probe`]: one scrape by hand;
//! - [`doctor`]: every hop to a target, until one that does not work.

// It panics where nobody reads; `onionscrape::outln` does not.
#![deny(clippy::print_stdout)]

pub mod admin;
pub mod auto_port;
pub mod bridge;
pub mod command;
pub mod config;
pub mod descriptors;
pub mod dial;
pub mod discovery;
pub mod doctor;
pub mod failure;
pub mod fleet;
pub mod healing;
pub mod history;
pub mod hops;
pub mod inventory;
pub mod metrics;
pub mod offer;
pub mod overview;
pub mod page;
pub mod pairing;
pub mod pool;
pub mod probe;
pub mod reload;
pub mod remedy;
pub mod reverse;
pub mod scrape;
pub mod session;
pub mod status;
pub mod succession;
pub mod surface;
pub mod target;
pub mod targets;

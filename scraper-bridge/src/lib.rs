//! The bridge: keeps a warm SSH session to each target and offers its exporters to Prometheus.
//!
//! In reading order:
//! - [`command`]: the command line;
//! - [`config`]: the configuration file;
//! - [`bridge`]: everything tied together;
//! - [`fleet`]: the targets that are kept, and their listeners;
//! - [`reload`]: reading the configuration again;
//! - [`target`]: the owner of a target's session, the only state machine here;
//! - [`dial`]: a byte stream to a target's SSH server;
//! - [`session`]: SSH over that stream;
//! - [`succession`]: keys and addresses that devices announced in place of theirs;
//! - [`inventory`]: what a device tells of itself;
//! - [`pool`]: kept-alive HTTP connections in a session;
//! - [`scrape`]: one scrape, under one deadline;
//! - [`surface`]: ways in besides a port for each exporter;
//! - [`history`]: the last scrapes of a target;
//! - [`overview`]: how the targets are;
//! - [`status`]: the same as a table;
//! - [`discovery`]: exporters as Prometheus' service discovery has them;
//! - [`failure`]: why a scrape failed, and what Prometheus is told;
//! - [`remedy`]: what a person can do about it;
//! - [`admin`]: what the bridge tells of itself;
//! - [`metrics`]: what it counts;
//! - [`pairing`]: a ticket becomes a target;
//! - [`probe`]: one scrape by hand;
//! - [`doctor`]: every hop to a target, until one that does not work.

pub mod admin;
pub mod bridge;
pub mod command;
pub mod config;
pub mod dial;
pub mod discovery;
pub mod doctor;
pub mod failure;
pub mod fleet;
pub mod history;
pub mod inventory;
pub mod metrics;
pub mod overview;
pub mod pairing;
pub mod pool;
pub mod probe;
pub mod reload;
pub mod remedy;
pub mod scrape;
pub mod session;
pub mod status;
pub mod succession;
pub mod surface;
pub mod target;

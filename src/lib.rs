//! What `target-agent` and `scraper-bridge` share, and only that.
//!
//! In reading order:
//! - [`address`]: names and addresses as people write them;
//! - [`config`]: configuration files, with every mistake in them found at once;
//! - [`files`]: files that hold secrets, and the state directory;
//! - [`disturbance`]: what happens to a machine under a running program;
//! - [`healing`]: what is done about it;
//! - [`tor`]: arti, one client for a program and a dialler for each onion service;
//! - [`ssh`]: algorithms, keys, and a channel as a byte stream;
//! - [`ticket`]: the one line that pairs a device with a bridge;
//! - [`pairing`]: what the two programs say to each other then, and of their exporters;
//! - [`schedule`]: how often an exporter is to be scraped;
//! - [`http`]: serving, refusing, and passing a message on;
//! - [`compression`]: bodies made small against the one before;
//! - [`tls`]: TLS with exporters;
//! - [`metrics`]: a program's own metrics as text;
//! - [`logs`]: lines on standard error;
//! - [`doctor`]: finding out which hop does not work;
//! - [`lifecycle`]: starting, telling of oneself, stopping;
//! - [`sandbox`]: the kernel's fence around the program;
//! - [`watchdog`]: proving to systemd that the program gets on;
//! - [`output`]: what commands print;
//! - [`command`]: what both command lines have in common.

pub mod address;
pub mod command;
pub mod compression;
pub mod config;
pub mod disturbance;
pub mod doctor;
pub mod files;
pub mod healing;
pub mod http;
pub mod lifecycle;
pub mod logs;
pub mod metrics;
pub mod output;
pub mod pairing;
pub mod sandbox;
pub mod schedule;
pub mod ssh;
pub mod ticket;
pub mod tls;
pub mod tor;
pub mod watchdog;

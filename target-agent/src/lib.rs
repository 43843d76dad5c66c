//! The agent: publishes a device's exporters as an onion service that speaks SSH and nothing else.
//!
//! In reading order:
//! - [`command`]: the command line;
//! - [`config`]: the configuration file, or what holds without one;
//! - [`identity`]: the onion address and the host key, known without a network;
//! - [`agent`]: everything tied together;
//! - [`reload`]: reading the configuration again;
//! - [`access`]: who may come in, and where to;
//! - [`transfer`]: taking an identity over, and keeping a copy of it;
//! - [`rotation`]: changing it with an overlap;
//! - [`invitation`]: making tickets;
//! - [`bridges`]: the list of who may come in, and taking one from it;
//! - [`publication`]: the onion services kept up, for whoever may find them;
//! - [`onion`]: an onion service, from a rendezvous to a byte stream;
//! - [`ssh`]: the SSH server on that stream, and the two kinds of channel it opens;
//! - [`enrolment`]: a ticket in exchange for a bridge's own keys;
//! - [`forward`]: the other way to answer, by passing bytes to the device's own `sshd`;
//! - [`exporter`]: HTTP to exporters, and what of their metrics travels;
//! - [`exporters`]: those that there are at this moment;
//! - [`host`]: the built-in one;
//! - [`status`]: whether the device can be reached, decided by dialling it;
//! - [`outside`]: the onion service dialled from outside;
//! - [`control`]: what a running agent tells the program's other commands;
//! - [`overview`]: how it is, for `status`;
//! - [`doctor`]: every hop from here to a bridge's view of it, until one that does not work;
//! - [`healing`]: what is done when it cannot, or may not;
//! - [`admin`]: what the agent tells of itself;
//! - [`metrics`]: what it counts.

// It panics where nobody reads; `onionscrape::outln` does not.
#![deny(clippy::print_stdout)]

pub mod access;
pub mod admin;
pub mod agent;
pub mod bridges;
pub mod command;
pub mod config;
pub mod control;
pub mod doctor;
pub mod enrolment;
pub mod exporter;
pub mod exporters;
pub mod forward;
pub mod healing;
pub mod host;
pub mod identity;
pub mod invitation;
pub mod metrics;
pub mod onion;
pub mod outside;
pub mod overview;
pub mod publication;
pub mod reload;
pub mod rotation;
pub mod ssh;
pub mod status;
pub mod transfer;

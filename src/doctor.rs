//! Finding out, hop by hop, why something does not work: what the doctors of both programs share.
//!
//! In reading order:
//! - [`Finding`]: what one hop is like, and what to do about it;
//! - [`Findings`]: whoever is told of them as they are made, over a control socket too;
//! - [`Report`]: how they are shown;
//! - [`examine_network`]: the hops from this machine to Tor;
//! - [`examine_page`]: what an exporter gives.

mod finding;
mod network;
mod page;
mod report;
mod told;

pub use finding::{Finding, Outcome};
pub use network::examine_network;
pub use page::examine_page;
pub use report::{Marks, Report};
pub use told::{FINDINGS, Findings, Receiver, findings_of, page_of};

//! Ways in for Prometheus besides a port for each exporter. They lead to configured names and to
//! nothing else; deadline, caps, errors and metrics are those of the scrape behind them.
//!
//! - [`path`]: paths on the admin listener;
//! - [`proxy`]: a forward proxy.

pub mod path;
pub mod proxy;

use hyper::StatusCode;
use onionscrape::http::Answer;

use crate::metrics::{Metrics, Surface, SurfaceRefusal};

/// Counts a request that leads nowhere, and says so.
fn refuse(
    metrics: &Metrics,
    surface: Surface,
    why: SurfaceRefusal,
    status: StatusCode,
    words: &str,
) -> Answer {
    metrics.surface_refused(surface, why);
    Answer::new(status, words)
}

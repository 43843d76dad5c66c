//! Requests that no surface leads anywhere.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// A way in that takes names from requests.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Surface {
    /// Paths on the admin listener.
    Path,
    /// The forward proxy.
    Proxy,
}

/// Why a request leads nowhere.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum SurfaceRefusal {
    /// No target of that name is configured.
    UnknownTarget,
    /// The target has no such exporter.
    UnknownExporter,
    /// The exporter cannot be had in this way.
    NotAllowed,
    /// It is not a request for this surface at all.
    BadRequest,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RefusalLabel {
    surface: &'static str,
    reason: &'static str,
}

impl RefusalLabel {
    fn new(surface: Surface, reason: SurfaceRefusal) -> Self {
        let surface = match surface {
            Surface::Path => "path",
            Surface::Proxy => "proxy",
        };
        let reason = match reason {
            SurfaceRefusal::UnknownTarget => "unknown_target",
            SurfaceRefusal::UnknownExporter => "unknown_exporter",
            SurfaceRefusal::NotAllowed => "not_allowed",
            SurfaceRefusal::BadRequest => "bad_request",
        };
        Self { surface, reason }
    }
}

/// Counts them; every known label value begins at 0.
#[derive(Clone, Debug)]
pub(super) struct Refusals(pub(super) Family<RefusalLabel, Counter>);

impl Default for Refusals {
    fn default() -> Self {
        let family = Family::default();
        for surface in [Surface::Path, Surface::Proxy] {
            for reason in [
                SurfaceRefusal::UnknownTarget,
                SurfaceRefusal::UnknownExporter,
                SurfaceRefusal::NotAllowed,
                SurfaceRefusal::BadRequest,
            ] {
                drop(family.get_or_create(&RefusalLabel::new(surface, reason)));
            }
        }
        Self(family)
    }
}

impl Refusals {
    pub(super) fn count(&self, surface: Surface, reason: SurfaceRefusal) {
        self.0.get_or_create(&RefusalLabel::new(surface, reason)).inc();
    }
}

//! Requests that no surface leads anywhere.

use onionscrape::http::Refusal;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// A way in.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Surface {
    /// The ports of exporters.
    Port,
    /// The sockets of exporters.
    Socket,
    /// Paths on the admin listener.
    Path,
    /// The forward proxy.
    Proxy,
    /// The admin listener itself.
    Admin,
}

impl Surface {
    const ALL: [Self; 5] = [Self::Port, Self::Socket, Self::Path, Self::Proxy, Self::Admin];

    fn label(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Socket => "socket",
            Self::Path => "path",
            Self::Proxy => "proxy",
            Self::Admin => "admin",
        }
    }
}

/// Why a request leads nowhere.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum SurfaceRefusal {
    /// No target of that name is configured.
    UnknownTarget,
    /// The target has no such exporter.
    UnknownExporter,
    /// The exporter cannot be had in this way, or what is asked for is off.
    NotAllowed,
    /// It is not a request for this surface at all.
    BadRequest,
    /// It was meant for another listener.
    WrongHost,
    /// A page from elsewhere had a browser send it.
    CrossSite,
    /// It has no password, or a wrong one.
    NoPassword,
}

impl SurfaceRefusal {
    const ALL: [Self; 7] = [
        Self::UnknownTarget,
        Self::UnknownExporter,
        Self::NotAllowed,
        Self::BadRequest,
        Self::WrongHost,
        Self::CrossSite,
        Self::NoPassword,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::UnknownTarget => "unknown_target",
            Self::UnknownExporter => "unknown_exporter",
            Self::NotAllowed => "not_allowed",
            Self::BadRequest => "bad_request",
            Self::WrongHost => "wrong_host",
            Self::CrossSite => "cross_site",
            Self::NoPassword => "no_password",
        }
    }
}

impl From<Refusal> for SurfaceRefusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed => Self::BadRequest,
            Refusal::WrongHost => Self::WrongHost,
            Refusal::CrossSite => Self::CrossSite,
            Refusal::NoPassword => Self::NoPassword,
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RefusalLabel {
    surface: &'static str,
    reason: &'static str,
}

impl RefusalLabel {
    fn new(surface: Surface, reason: SurfaceRefusal) -> Self {
        let (surface, reason) = (surface.label(), reason.label());
        Self { surface, reason }
    }
}

/// Counts them; every known label value begins at 0.
#[derive(Clone, Debug)]
pub(super) struct Refusals(pub(super) Family<RefusalLabel, Counter>);

impl Default for Refusals {
    fn default() -> Self {
        let family = Family::default();
        for surface in Surface::ALL {
            for reason in SurfaceRefusal::ALL {
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

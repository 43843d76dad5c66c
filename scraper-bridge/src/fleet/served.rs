//! What answers at the place of an exporter's own.

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::{Request, Response};
use onionscrape::http::{Body, HostNames, Listener, Web, serve_public};
use tracing::info;

use super::{Kept, Surroundings};
use crate::metrics::Surface;
use crate::offer::Listening;
use crate::scrape::Scraper;

impl Kept {
    /// Has the exporter of this number answer there, and lists it so.
    pub(super) fn serve(
        &mut self,
        index: usize,
        planned: Listening,
        listener: Listener,
        around: &Surroundings,
    ) {
        let scraper = self.scrapers[index].clone();
        let place = planned.of(&listener);
        // Files have owners and modes instead of names, passwords and TLS.
        let (kind, names, web) = match &place {
            Listening::Port(address) => {
                (Surface::Port, HostNames::of(*address, &around.host_names), around.web.clone())
            }
            Listening::Socket(_) | Listening::Nowhere => (Surface::Socket, HostNames::any(), Web::plain()),
        };
        let refused = around.metrics.refusals_of(kind);
        let url = place.url(web.scheme());
        info!(target = %self.target.config.name, exporter = %scraper.exporter().name, url, "listening");
        self.listening[index] = place;
        self.tasks.spawn(serve_public(listener, names, web, refused, surface(scraper), self.stop.clone()));
    }
}

/// A listener's handler, for one exporter.
fn surface(
    scraper: Scraper,
) -> impl Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync + 'static {
    move |request| {
        let scraper = scraper.clone();
        Box::pin(async move { scraper.answer(request).await })
    }
}

//! What an agent is offered so that its answer is small: codings, and a body that it may tell this one by.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::iter;
use std::sync::Arc;

use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, RANGE};
use hyper::{HeaderMap, Method, Request};
use onionscrape::compression::{
    AVAILABLE_DICTIONARY, Coding, Dictionary, Shelf, Stored, USE_AS_DICTIONARY, available, can_be_used,
    is_identity_allowed,
};

use crate::config::{ExporterConfig, Way};

/// What one request offers.
pub(super) struct Offer {
    shelf: Arc<Shelf>,
    /// What is asked for and in which form, in short: another is another body.
    asked: u64,
    dictionary: Option<Stored>,
    path: String,
}

/// What an agent made of an offer.
pub(super) struct Taken {
    /// How its body is to be read.
    pub(super) coding: Coding,
    /// What it may be told by.
    pub(super) dictionary: Option<Arc<Dictionary>>,
    /// Where that is, and the body itself may be kept for the next one.
    pub(super) shelf: Arc<Shelf>,
    /// What it is kept as, if it may be.
    pub(super) kept_as: Option<u64>,
}

impl Offer {
    /// What can be offered with this request, if anything: only an agent understands it, and who asks must
    /// take the body as it is.
    pub(super) fn new<B>(
        exporter: &ExporterConfig,
        request: &Request<B>,
        shelf: &Arc<Shelf>,
    ) -> Option<Self> {
        let headers = request.headers();
        let is_whole = *request.method() == Method::GET && !headers.contains_key(RANGE);
        let is_askers_own = headers.contains_key(AVAILABLE_DICTIONARY);
        if exporter.way != Way::Name || !is_whole || is_askers_own || !is_identity_allowed(headers) {
            return None;
        }
        let mut asked = DefaultHasher::new();
        request.uri().query().hash(&mut asked);
        headers.get_all(ACCEPT).iter().for_each(|accepted| accepted.hash(&mut asked));
        let asked = asked.finish();
        let dictionary = shelf.last(asked);
        Some(Self { shelf: shelf.clone(), asked, dictionary, path: exporter.path.clone() })
    }

    /// The request with the offer.
    pub(super) fn put_on<B>(&self, request: &Request<B>) -> Request<()> {
        let mut offering = Request::new(());
        *offering.method_mut() = request.method().clone();
        *offering.uri_mut() = request.uri().clone();
        *offering.headers_mut() = request.headers().clone();
        let headers = offering.headers_mut();
        // What was asked for stays: an agent that does not compress passes all of it on to the exporter, and
        // some of those read the first line only.
        let own = headers.get_all(ACCEPT_ENCODING).iter().map(HeaderValue::as_bytes);
        let all: Vec<_> = iter::once(&b"dcz, zstd"[..]).chain(own).collect();
        // What is made of parts of a header is good in a header.
        if let Ok(all) = HeaderValue::from_bytes(&all.join(&b", "[..])) {
            headers.insert(ACCEPT_ENCODING, all);
        }
        if let Some(digest) = self.dictionary.as_ref().and_then(|known| available(known.digest())) {
            headers.insert(AVAILABLE_DICTIONARY, digest);
        }
        offering
    }

    /// What became of it, by the head of the answer, from which it is taken out. Nothing if the body is
    /// to go on as it comes.
    pub(super) fn taken_by(&self, headers: &mut HeaderMap) -> Option<Taken> {
        let is_to_be_kept = can_be_used(headers, &self.path);
        headers.remove(USE_AS_DICTIONARY);
        let mut codings = headers.get_all(CONTENT_ENCODING).iter();
        let coding = codings.next().filter(|_| codings.next().is_none()).and_then(Coding::of)?;
        headers.remove(CONTENT_ENCODING);
        let kept_as = is_to_be_kept.then_some(self.asked);
        let dictionary = self.dictionary.as_ref().filter(|_| coding == Coding::Dcz).and_then(Stored::open);
        Some(Taken { coding, dictionary, shelf: self.shelf.clone(), kept_as })
    }
}
